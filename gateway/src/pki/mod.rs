//! Certificates: the authority that `wardline init` makes, and what it issues.
//!
//! ```text
//! pki/root.{pem,key}       root authority, P-256, 10 years; its key is needed only to renew the issuing one
//! pki/issuing.{pem,key}    issuing authority, path length 0; its SAN URI names the trust domain
//! pki/ca.pem               root and issuing: what clients and the front trust
//! pki/server.{pem,key}     the gateway's own certificate with its chain
//! ```
//! An identity is the SAN URI alone (SEC-1); names in a subject mean nothing. Keys are 0600.

mod authority;
mod files;

pub use authority::{Authority, Issued, Profile, trust_domain};
pub use files::{PkiDir, write_identity};

use std::path::PathBuf;

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
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Random,
}
