//! The server side of TLS: built whole from files, swapped live.
//!
//! [`LiveTls`] holds one set of configurations, made from one reading of the files: for MQTT, for gRPC, for HTTPS. A
//! set is taken as a whole or not at all; the last good one stays.

mod live;

pub use live::{LiveTls, TlsMetrics};

use crate::files::{FileError, PkiFiles};
use crate::imported::ImportedCrls;
use crate::not_after_s;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
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
    File(#[from] FileError),
    /// A file does not hold what it should.
    #[error("pki/{0}: {1}")]
    Pem(&'static str, rustls_pki_types::pem::Error),
    /// The client authorities make no verifier.
    #[error("pki/ca.pem: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// Key and certificate do not fit each other, or the certificate is not usable.
    #[error("pki/server.pem: {0}")]
    Certificate(#[from] rustls::Error),
    /// The new file has expired and the one in force has not, or it is older.
    #[error("pki/{0} has expired, or is older than the one in force")]
    Worse(&'static str),
}

/// What the files say, decoded and checked.
struct Files {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
    crls: ImportedCrls,
    server_not_after_s: i64,
}

impl Files {
    fn read(pki: &PkiFiles) -> Result<Self, TlsError> {
        let pem = |name: &'static str| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            let text = pki.read(name)?;
            let all = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>();
            all.map_err(|error| TlsError::Pem(name, error))
        };
        let (chain, authorities) = (pem("server.pem")?, pem("ca.pem")?);
        let key = PrivateKeyDer::from_pem_slice(pki.read("server.key")?.as_bytes())
            .map_err(|error| TlsError::Pem("server.key", error))?;
        let crls = match pki.read_optional("crl.pem")? {
            Some(text) => ImportedCrls::load(&text, &authorities)?,
            None => ImportedCrls::default(),
        };
        let server_not_after_s = chain.first().map_or(Err(FileError::Decode("server.pem")), |leaf| {
            not_after_s(leaf).ok_or(FileError::Decode("server.pem"))
        })?;
        Ok(Self { chain, key, authorities, crls, server_not_after_s })
    }

    /// Refuses what is worse than what is in force. What has expired there too holds nothing else up.
    fn check_against(&self, in_force: &Self, now_s: i64) -> Result<(), TlsError> {
        if self.server_not_after_s <= now_s && now_s < in_force.server_not_after_s {
            return Err(TlsError::Worse("server.pem"));
        }
        if self.crls.are_worse_than(&in_force.crls, now_s) {
            return Err(TlsError::Worse("crl.pem"));
        }
        Ok(())
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone())?;
        }
        Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?)
    }

    /// Client certificate required; for MQTT, and with `alpn` for gRPC.
    fn required(&self, tls12: bool, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let mut config = self.config(tls12, self.verifier()?)?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.session_storage = ServerSessionMemoryCache::new(RESUMABLE_SESSIONS_MAX);
        // One ticket is enough for a device that reconnects, and each costs a session's memory and handshake time.
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    /// Client certificate taken when there is one, of ours or of a manufacturer. Nothing is resumed: a certificate is
    /// verified in each connection, against the authorities of that moment.
    fn optional(
        &self,
        tls12: bool,
        manufacturers: &[CertificateDer<'static>],
    ) -> Result<ServerConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone())?;
        }
        let (_taken, refused) = roots.add_parsable_certificates(manufacturers.iter().cloned());
        if refused > 0 {
            tracing::warn!(refused, "manufacturer authorities that do not read");
        }
        // A list of all authorities would tell everybody whose devices are here.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .clear_root_hint_subjects()
            .allow_unauthenticated()
            .build()?;
        let mut config = self.config(tls12, verifier)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn config(&self, tls12: bool, verifier: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, TlsError> {
        let versions: &[&rustls::SupportedProtocolVersion] = if tls12 {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        } else {
            &[&rustls::version::TLS13]
        };
        Ok(ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
