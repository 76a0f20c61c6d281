//! Enrolment: how a device gets its certificate, over HTTPS (EST, RFC 7030), and what a device needs to begin with.
//!
//! ```text
//! GET  /.well-known/est/cacerts          root and issuing certificate            nobody needs to be anybody
//! POST /.well-known/est/simpleenroll     claim (HTTP Basic) or factory certificate (TLS)
//! POST /.well-known/est/simplereenroll   the device's current certificate (TLS)
//! GET  /crl                              our revocation list, DER
//! GET  /bootstrap                        where the fronts are, signed (JWS, ES256)
//! ```
//! **Invariant:** of a request only key and proof are used; who the certificate is for follows from the credential
//! (SEC-1). **Invariant:** a certificate is recorded, with its audit entry, before it is given out: what exists can be
//! revoked (AUD-1). A claim, or a serial number of a manufacturer's list, certifies one key; asking again with that key
//! gets the same certificate. `docs/onboarding.md` tells it to device makers.

mod answer;
mod bootstrap;
mod certs_only;
mod credential;
mod desk;
mod limits;
mod manufacturers;
mod metrics;
mod rate;
mod revocations;
mod routes;
mod service;

pub use limits::EnrolOptions;
pub use metrics::EnrolMetrics;
pub use revocations::Revocations;
pub use service::{EnrolParts, EnrolService};

use crate::pki::PkiError;

/// Says why enrolment cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The authority's files.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The authority's certificates cannot be put into an answer.
    #[error("certificates of pki/ do not encode: {0}")]
    Encode(cms::cert::x509::der::Error),
}
