//! Our revocation list as others fetch it: made anew when somebody is revoked, and at half of its life.

use crate::front::now_us;
use crate::pki::{Authority, CRL_LIFE, PkiError, RevokedSerial};
use arc_swap::{ArcSwap, ArcSwapOption};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct List {
    revoked: Vec<RevokedSerial>,
    made_at_us: i64,
    der: Bytes,
}

/// The list in force.
pub struct Revocations {
    list: ArcSwapOption<List>,
    /// When the registry last confirmed it.
    checked_at: ArcSwap<Instant>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { list: ArcSwapOption::empty(), checked_at: ArcSwap::from_pointee(Instant::now()) }
    }
}

impl Revocations {
    /// Signs a new list when the revoked are others than in the one in force, or that one is at half of its life.
    pub(super) fn update(
        &self,
        authority: &Authority,
        mut revoked: Vec<RevokedSerial>,
    ) -> Result<(), PkiError> {
        revoked.sort();
        let (now_us, current) = (now_us(), self.list.load());
        let half_us = i64::try_from(CRL_LIFE.whole_microseconds() / 2).unwrap_or(i64::MAX);
        let stands = current
            .as_ref()
            .is_some_and(|list| list.revoked == revoked && now_us - list.made_at_us < half_us);
        if !stands {
            let der = authority.crl(&revoked, now_us)?.into();
            self.list.store(Some(Arc::new(List { revoked, made_at_us: now_us, der })));
        }
        self.checked_at.store(Instant::now().into());
        Ok(())
    }

    /// Returns for how long the list has not been compared with the registry.
    pub fn age(&self) -> Duration {
        self.checked_at.load().elapsed()
    }

    /// Answers `GET /crl` (RFC 5280, 4.2.1.13).
    pub fn response(&self) -> Response {
        match &*self.list.load() {
            Some(list) => {
                ([(header::CONTENT_TYPE, "application/pkix-crl")], list.der.clone()).into_response()
            }
            None => (StatusCode::SERVICE_UNAVAILABLE, "no list yet\n").into_response(),
        }
    }
}
