//! Certificates: the authority that `wardline init` makes, and what it issues.
//!
//! ```text
//! pki/root.{pem,key}       root authority, P-256, 10 years; its key is needed only to renew the issuing one
//! pki/issuing.{pem,key}    issuing authority, path length 0; its SAN URI names the trust domain
//! pki/ca.pem               root and issuing: what clients and the front trust
//! pki/server.{pem,key}     the gateway's own certificate with its chain
//! pki/crl.pem              optional: revocation lists of other authorities in ca.pem
//! ```
//! An identity is the SAN URI alone (SEC-1); names in a subject mean nothing. Keys are 0600.

mod authority;
mod crl;
mod files;
mod read;
mod request;
mod signer;

pub use authority::{Authority, Issued, Profile, trust_domain};
pub use crl::{CRL_LIFE, RevokedSerial};
pub use files::{PkiDir, write_identity};
pub use read::{server_hosts, subject_serial_number};
pub use request::{CertificateRequest, RequestKey, sha256};
pub use signer::{FileSigner, SignError, Signer};
pub use wardline_access::{ImportedCrls, not_after_s};

use std::path::PathBuf;
use wardline_access::FileError;

/// Says why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The folder holds an authority already; it is never overwritten.
    #[error("{} holds an authority already", .0.display())]
    Exists(PathBuf),
    /// A certificate or key does not read, or could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The issuing certificate does not name a trust domain.
    #[error("the issuing certificate names no trust domain (a SAN URI spiffe://TRUST-DOMAIN)")]
    TrustDomain,
    /// A file does not hold what its name says.
    #[error("pki/{0} does not decode, or does not fit the files beside it")]
    Decode(&'static str),
    /// A file was not taken.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Random,
}
