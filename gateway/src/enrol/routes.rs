//! The paths, and what is read out of a request before anything is decided.

use super::answer::Refused;
use super::bootstrap::Bootstrap;
use super::certs_only;
use super::credential::{self, Peer};
use super::desk::{Desk, Enrolment};
use super::limits::{BODY_BYTES_MAX, BODY_MAX};
use super::rate::Limiter;
use super::revocations::Revocations;
use crate::pki::CertificateRequest;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout;
use wardline_proto::refusal::Refusal;

const PKCS10: &str = "application/pkcs10";
const PKCS7: &str = "application/pkcs7-mime";
const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";

/// What the paths share.
pub(super) struct Site {
    pub(super) desk: Desk,
    pub(super) limiter: Limiter,
    pub(super) bootstrap: Bootstrap,
    pub(super) revocations: Arc<Revocations>,
    /// Root and issuing certificate, as they are sent.
    pub(super) authorities: String,
}

/// Makes the paths. Each request carries its [`Peer`] as an extension.
pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/.well-known/est/cacerts", get(cacerts))
        .route("/.well-known/est/simpleenroll", post(enrol))
        .route("/.well-known/est/simplereenroll", post(renew))
        .route("/crl", get(|State(site): State<Arc<Site>>| async move { site.revocations.response() }))
        .route("/bootstrap", get(bootstrap))
        .layer(middleware::from_fn_with_state(site.clone(), limit))
        .with_state(site)
}

/// Rates come before anything is read.
async fn limit(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match site.limiter.take(peer.address, Instant::now()) {
        Ok(()) => next.run(request).await,
        Err(seconds) => site.refuse(&peer, request.uri().path(), Refused::too_many(seconds)),
    }
}

async fn cacerts(State(site): State<Arc<Site>>) -> Response {
    pkcs7(PKCS7, site.authorities.clone())
}

async fn bootstrap(State(site): State<Arc<Site>>) -> Response {
    match site.bootstrap.document(&site.desk.authority) {
        Ok(document) => ([(header::CONTENT_TYPE, "application/jose")], document).into_response(),
        Err(error) => {
            tracing::error!(%error, "the authority does not sign");
            Refused::from(Refusal::EnrolUnavailable).into_response()
        }
    }
}

async fn enrol(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let issued = async {
        site.desk.auditor.guard().map_err(|_broken| Refusal::CannotAudit)?;
        let basic = credential::basic(&headers)?;
        let serial_number = credential::serial_number(&headers)?;
        if basic.secret_sha256.is_none() && peer.chain.is_empty() {
            return Err(Refused::from(Refusal::EnrolCredential));
        }
        let request = read(&headers, body).await?;
        Ok(site.desk.enrol(Enrolment { peer: &peer, basic, serial_number, request }).await?)
    };
    let issued = issued.await;
    site.answer(&peer, &target("simpleenroll", &headers), issued)
}

async fn renew(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let issued = async {
        site.desk.auditor.guard().map_err(|_broken| Refusal::CannotAudit)?;
        if peer.chain.is_empty() {
            return Err(Refused::from(Refusal::IdentityMissing));
        }
        let request = read(&headers, body).await?;
        Ok(site.desk.renew(&peer, &request).await?)
    };
    let issued = issued.await;
    site.answer(&peer, "simplereenroll", issued)
}

impl Site {
    fn answer(&self, peer: &Peer, target: &str, issued: Result<Vec<u8>, Refused>) -> Response {
        let encoded = issued.and_then(|der| {
            certs_only::message([der.as_slice()]).map_err(|error| {
                tracing::error!(%error, "an issued certificate does not encode");
                Refusal::EnrolUnavailable.into()
            })
        });
        match encoded {
            Ok(message) => pkcs7(CERTS_ONLY, message),
            Err(refused) => self.refuse(peer, target, refused),
        }
    }

    /// Counts and audits a refusal. One that cannot be audited is not told either: nothing is served then (AUD-1).
    fn refuse(&self, peer: &Peer, target: &str, refused: Refused) -> Response {
        self.desk.metrics.refused(refused.refusal);
        let audited = self.desk.auditor.refused(&self.desk.actor(peer), refused.refusal, target);
        let told = if audited.is_ok() { refused } else { Refusal::CannotAudit.into() };
        told.into_response()
    }
}

/// What a refusal was about. Names are what the requester wrote: they prove nothing, and a secret is not among them.
fn target(path: &str, headers: &HeaderMap) -> String {
    let Ok(basic) = credential::basic(headers) else { return path.to_owned() };
    let user = basic.user.chars().filter(|c| c.is_ascii_graphic()).take(64).collect::<String>();
    let claim = basic.secret_sha256.as_deref().and_then(|sum| sum.get(..16)).unwrap_or("none");
    format!("{path} as {user:?} claim {claim}")
}

/// Reads a PKCS#10 request in base64 (RFC 7030, 4.2.1).
async fn read(headers: &HeaderMap, body: Body) -> Result<CertificateRequest, Refused> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(PKCS10) {
        return Err(Refused::with_status(Refusal::EnrolRequest, StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let mut base64 = match timeout(BODY_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body.to_vec(),
        Ok(Err(_past_the_bound)) => {
            return Err(Refused::with_status(Refusal::EnrolRequest, StatusCode::PAYLOAD_TOO_LARGE));
        }
        Err(_elapsed) => {
            return Err(Refused::with_status(Refusal::EnrolRequest, StatusCode::REQUEST_TIMEOUT));
        }
    };
    base64.retain(|byte| !byte.is_ascii_whitespace());
    let der = STANDARD.decode(base64).map_err(|_garbage| Refusal::EnrolRequest)?;
    Ok(CertificateRequest::from_der(&der)?)
}

fn pkcs7(kind: &'static str, message: String) -> Response {
    let headers = [(header::CONTENT_TYPE.as_str(), kind), ("content-transfer-encoding", "base64")];
    (headers, message).into_response()
}
