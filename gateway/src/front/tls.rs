//! The server side of TLS: built whole from files, swapped live.

use crate::pki::{PkiDir, PkiError};
use arc_swap::ArcSwap;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// Sessions whose resumption is remembered. Tickets are stateful: small, and gone with the process.
const RESUMABLE_SESSIONS_MAX: usize = 4096;

/// Says why a TLS configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] PkiError),
    /// A file does not hold what it should.
    #[error("pki/{0}: {1}")]
    Pem(&'static str, rustls_pki_types::pem::Error),
    /// The client authorities make no verifier.
    #[error("pki/ca.pem: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// Key and certificate do not fit each other, or the certificate is not usable.
    #[error("pki/server.pem: {0}")]
    Certificate(#[from] rustls::Error),
}

/// Builds the configuration: client certificate required, TLS 1.3, and 1.2 when asked for.
pub fn server_config(pki: &PkiDir, tls12: bool) -> Result<ServerConfig, TlsError> {
    let pem = |name| CertificateDer::pem_slice_iter(name).collect::<Result<Vec<_>, _>>();
    let (chain, authorities) = (pki.read("server.pem")?, pki.read("ca.pem")?);
    let chain = pem(chain.as_bytes()).map_err(|error| TlsError::Pem("server.pem", error))?;
    let key = PrivateKeyDer::from_pem_slice(pki.read("server.key")?.as_bytes())
        .map_err(|error| TlsError::Pem("server.key", error))?;
    let mut roots = RootCertStore::empty();
    for authority in pem(authorities.as_bytes()).map_err(|error| TlsError::Pem("ca.pem", error))? {
        roots.add(authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let versions: &[&rustls::SupportedProtocolVersion] =
        if tls12 { &[&rustls::version::TLS13, &rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.session_storage = ServerSessionMemoryCache::new(RESUMABLE_SESSIONS_MAX);
    // One ticket is enough for a device that reconnects, and each costs a session's memory and handshake time.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// The configuration in force; each accept takes the newest.
pub struct LiveTls {
    pki: PkiDir,
    tls12: bool,
    current: ArcSwap<ServerConfig>,
}

impl LiveTls {
    /// Loads the configuration.
    pub fn load(pki: PkiDir, tls12: bool) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(server_config(&pki, tls12)?);
        Ok(Self { pki, tls12, current })
    }

    /// Returns the configuration in force.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Loads the files again. The last good configuration stays when they make none. Live sessions go on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let next = server_config(&self.pki, self.tls12)?;
        self.current.store(Arc::new(next));
        Ok(())
    }
}
