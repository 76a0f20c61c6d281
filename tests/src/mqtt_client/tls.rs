//! The client side of TLS: version 1.3, a client certificate, no resumption.

use anyhow::Context;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// The authorities that servers are checked against, parsed once and shared by every client.
#[derive(Debug, Clone)]
pub struct Trust(Arc<WebPkiServerVerifier>);

impl Trust {
    /// Trusts the certificates of `ca_pem`.
    pub fn from_pem(ca_pem: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Self(WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build()?))
    }
}

/// Returns the TLS configuration of one client.
pub fn client_config(trust: &Trust, chain_pem: &str, key_pem: &str) -> anyhow::Result<Arc<ClientConfig>> {
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().context("client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).context("client key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(trust.0.clone())
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
