//! Our revocation list as others fetch it: made anew when somebody is revoked, and at half of its life.

use crate::front::now_us;
use crate::pki::{Authority, CRL_LIFE, PkiError, RevokedSerial};
use arc_swap::ArcSwapOption;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::sync::Arc;

struct List {
    revoked: Vec<RevokedSerial>,
    made_at_us: i64,
    der: Bytes,
}

/// The list in force.
#[derive(Default)]
pub struct Revocations(ArcSwapOption<List>);

impl Revocations {
    /// Signs a new list when the revoked are others than in the one in force, or that one is at half of its life.
    pub(super) fn update(
        &self,
        authority: &Authority,
        mut revoked: Vec<RevokedSerial>,
    ) -> Result<(), PkiError> {
        revoked.sort();
        let (now_us, current) = (now_us(), self.0.load());
        let half_us = i64::try_from(CRL_LIFE.whole_microseconds() / 2).unwrap_or(i64::MAX);
        let stands = current
            .as_ref()
            .is_some_and(|list| list.revoked == revoked && now_us - list.made_at_us < half_us);
        if stands {
            return Ok(());
        }
        let der = authority.crl(&revoked, now_us)?.into();
        self.0.store(Some(Arc::new(List { revoked, made_at_us: now_us, der })));
        Ok(())
    }

    /// Answers `GET /crl` (RFC 5280, 4.2.1.13).
    pub fn response(&self) -> Response {
        match &*self.0.load() {
            Some(list) => {
                ([(header::CONTENT_TYPE, "application/pkix-crl")], list.der.clone()).into_response()
            }
            None => (StatusCode::SERVICE_UNAVAILABLE, "no list yet\n").into_response(),
        }
    }
}
