//! What signs: a key in a file now; one in a security module is another [`Signer`].

use super::{PkiDir, PkiError};
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use std::sync::Arc;

/// Says why a signature was not made.
#[derive(Debug, thiserror::Error)]
#[error("signer: {0}")]
pub struct SignError(pub String);

/// Holds a private key and signs with it; the key itself never leaves.
///
/// A key pair of NIST P-256: certificates, revocation lists and bootstrap documents are signed with ECDSA and SHA-256.
pub trait Signer: Send + Sync {
    /// Returns the public point, uncompressed (SEC 1, 2.3.3): 65 bytes.
    fn public_point(&self) -> &[u8];

    /// Signs a message; the signature is an ASN.1 `Ecdsa-Sig-Value` (RFC 3279, 2.2.3).
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A key in a PEM file that only its owner may read.
pub struct FileSigner(KeyPair);

impl FileSigner {
    /// Reads a key of the `pki` folder. Refuses one that is not of P-256.
    pub fn load(dir: &PkiDir, name: &'static str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(&dir.read(name)?)?;
        if key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
            Ok(Self(key))
        } else {
            Err(PkiError::Decode(name))
        }
    }
}

impl Signer for FileSigner {
    fn public_point(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        SigningKey::sign(&self.0, message).map_err(|error| SignError(error.to_string()))
    }
}

/// Lets certificates be made with any signer.
#[derive(Clone)]
pub(super) struct Key(pub(super) Arc<dyn Signer>);

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_told_by_the_signer| rcgen::Error::RemoteKeyError)
    }
}
