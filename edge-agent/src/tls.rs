//! The agent's certificate: who it is, and the TLS configuration that proves it.
//!
//! A folder holds `cert.pem` (leaf first, then the issuing certificate), `key.pem` and `ca.pem` (whom to trust as a
//! gateway). The identity is the leaf's SAN URI and nothing else (SEC-1).

use crate::onboard::Certificate;
use rustls::RootCertStore;
use rustls::client::{ClientConfig, Resumption};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use wardline_proto::{DeviceKey, Identity};

/// Says why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or not PEM.
    #[error("{file}: {error}")]
    File {
        /// Name of the file.
        file: &'static str,
        /// What is wrong with it.
        error: rustls_pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{0} holds no certificate")]
    Empty(&'static str),
    /// The leaf does not parse or a trust anchor is unusable.
    #[error("a certificate cannot be read")]
    Certificate,
    /// The leaf's SAN URI does not name a device.
    #[error("cert.pem names no device: its SAN URI must be spiffe://TRUST-DOMAIN/tenant/T/device/D")]
    NoDevice,
    /// The certificate was replaced by another device's.
    #[error("cert.pem now names another device than the spool's")]
    OtherDevice,
    /// Key and certificate do not fit, or TLS 1.3 is not to be had.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
}

/// What the folder proves.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) device: DeviceKey,
    pub(crate) leaf: Certificate,
    pub(crate) config: Arc<ClientConfig>,
}

/// Reads `cert.pem` and `key.pem` of one folder and `ca.pem` of another, or the same.
pub(crate) fn load(identity: &Path, trust: &Path) -> Result<Credentials, TlsError> {
    let (chain, key) = pair(identity)?;
    let leaf = chain.first().ok_or(TlsError::Empty("cert.pem"))?;
    let device = device_of(leaf)?;
    let leaf = Certificate::read(leaf).ok_or(TlsError::Certificate)?;
    let config = configure(certificates(trust, "ca.pem")?, Some((chain, key)))?;
    Ok(Credentials { device, leaf, config })
}

/// Makes the configuration of a first request: with the maker's certificate or with none.
pub(crate) fn before_enrolment(
    trust: impl IntoIterator<Item = CertificateDer<'static>>,
    factory: Option<&Path>,
) -> Result<Arc<ClientConfig>, TlsError> {
    configure(trust, factory.map(pair).transpose()?)
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(dir: &Path) -> Result<Pair, TlsError> {
    let chain = certificates(dir, "cert.pem")?;
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem"))
        .map_err(|error| TlsError::File { file: "key.pem", error })?;
    Ok((chain, key))
}

fn configure(
    trust: impl IntoIterator<Item = CertificateDer<'static>>,
    identity: Option<Pair>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in trust {
        roots.add(certificate).map_err(|_| TlsError::Certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    // Each configuration is of one connection: kept tickets would only hold memory.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn certificates(dir: &Path, file: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(dir.join(file)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| TlsError::File { file, error })?;
    if certificates.is_empty() { Err(TlsError::Empty(file)) } else { Ok(certificates) }
}

/// Reads the device from the leaf. More than one URI is refused: which of them is meant is not ours to guess.
pub(crate) fn device_of(leaf: &CertificateDer<'_>) -> Result<DeviceKey, TlsError> {
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| TlsError::Certificate)?;
    let mut uris = leaf.valid_uri_names();
    let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(TlsError::NoDevice) };
    let domain =
        uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).map(|(domain, _)| domain);
    let domain = domain.filter(|domain| !domain.is_empty()).ok_or(TlsError::NoDevice)?;
    match Identity::from_uri(uri, domain) {
        Ok(Identity::Device(device)) => Ok(device),
        _ => Err(TlsError::NoDevice),
    }
}
