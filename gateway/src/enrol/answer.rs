//! What is answered when it is not a certificate: a status, and a line of text that begins with a stable code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use wardline_proto::refusal::Refusal;

/// How long to wait before trying again what could not be recorded, seconds.
const UNAVAILABLE_RETRY_S: u64 = 5;

/// A refusal on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Why.
    pub(super) refusal: Refusal,
    status: StatusCode,
    retry_after_s: Option<u64>,
}

impl Refused {
    /// Takes the status that is not the refusal's usual one.
    pub(super) fn with_status(refusal: Refusal, status: StatusCode) -> Self {
        Self { status, ..refusal.into() }
    }

    /// Too many requests.
    pub(super) fn too_many(retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Refusal::EnrolRate.into() }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::EnrolCredential | Refusal::IdentityMissing => StatusCode::UNAUTHORIZED,
            Refusal::EnrolRequest | Refusal::EnrolProof | Refusal::EnrolKey => StatusCode::BAD_REQUEST,
            Refusal::EnrolRate => StatusCode::TOO_MANY_REQUESTS,
            Refusal::EnrolUnavailable | Refusal::CannotAudit => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        };
        let retry_after_s = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(UNAVAILABLE_RETRY_S);
        Self { refusal, status, retry_after_s }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let text = format!("{} {}\n", self.refusal, words(self.refusal));
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        if self.refusal == Refusal::EnrolCredential {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"wardline\""));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::EnrolCredential => "no claim that is known, and no factory certificate that may enrol",
        Refusal::EnrolClaimUsed => "the claim has been used for another key",
        Refusal::EnrolClaimExpired => "the claim has expired",
        Refusal::EnrolClaimRevoked => "the claim has been revoked",
        Refusal::EnrolRequest => {
            "send one PKCS#10 request, DER in base64, as application/pkcs10; the user is a device id"
        }
        Refusal::EnrolProof => "the request is not signed by its key",
        Refusal::EnrolKey => "keys are P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits",
        Refusal::EnrolWish => "the request asks for another identity or for an authority's rights",
        Refusal::EnrolRate => "too many requests",
        Refusal::EnrolSerial => "the factory certificate's serial number may not enrol",
        Refusal::EnrolDevice => "the credential is not for this device, or the device is not active",
        Refusal::EnrolUnavailable => "not recorded now, so nothing was issued",
        Refusal::CannotAudit => "cannot audit, so nothing was issued",
        Refusal::IdentityMissing => "no certificate of a device of this gateway",
        Refusal::IdentityRevoked => "the certificate is revoked",
        Refusal::IdentityExpired => "the certificate is not in force",
        Refusal::IdentityUnknown => "the device is not registered or not active",
        Refusal::IdentityCrlExpired => "the revocation list of the certificate's authority has expired",
        _ => "refused",
    }
}
