//! The device's own key: P-256, made here, kept 0600, never sent.

use super::error::EdgeError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use wardline_proto::DeviceId;
use wardline_proto::refusal::Refusal;

/// A key pair.
pub(crate) struct DeviceKeyPair(KeyPair);

impl DeviceKeyPair {
    /// Makes a new one.
    pub(crate) fn generate() -> Result<Self, EdgeError> {
        KeyPair::generate().map(Self).map_err(|_| wrong("this machine gives no random numbers"))
    }

    /// Reads one back.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, EdgeError> {
        KeyPair::from_pem(pem).map(Self).map_err(|_| wrong("key.pem is not a private key"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The bits of its public half, as a certificate of it holds them.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.0.der_bytes()
    }

    /// Makes the base64 PKCS#10 request of RFC 7030, 4.2.1. The gateway decides what the certificate says; the name
    /// is there for whoever reads the request.
    pub(crate) fn request(&self, device: &DeviceId) -> Result<String, EdgeError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, device.as_str());
        let request = params.serialize_request(&self.0).map_err(|_| wrong("the key cannot sign"))?;
        Ok(STANDARD.encode(request.der()))
    }
}

fn wrong(problem: &str) -> EdgeError {
    EdgeError::reject(Refusal::EdgeFolder, problem)
}
