//! The HTTPS port: accepts, serves each connection, keeps lists up to date, drains.

use super::EnrolError;
use super::bootstrap::Bootstrap;
use super::certs_only;
use super::credential::Peer;
use super::desk::Desk;
use super::limits::{CONNECTION_MAX, DRAIN_MAX, EnrolOptions, GATHER, HEAD_BYTES_MAX, HEAD_MAX, LOOK, TLS};
use super::metrics::EnrolMetrics;
use super::rate::Limiter;
use super::revocations::Revocations;
use super::routes::{Site, router};
use crate::access::Directory;
use crate::audit::Auditor;
use crate::front::{LiveTls, now_us};
use crate::pki::{Authority, PkiDir, PkiError, RevokedSerial, server_hosts};
use crate::tls_listener::{CertificateRefused, TlsListener, TlsSocket};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use wardline_store::{Store, StoreError};

/// What the service is made of.
pub struct EnrolParts {
    /// The authority's folder.
    pub pki: PkiDir,
    /// The port's side of TLS.
    pub tls: Arc<LiveTls>,
    /// Who may connect.
    pub directory: Arc<Directory>,
    /// Writes refusals.
    pub auditor: Arc<Auditor>,
    /// The registry.
    pub store: Store,
    /// Its counters.
    pub metrics: EnrolMetrics,
    /// Port of MQTT, for the default list of fronts.
    pub mqtt_port: u16,
}

/// Enrolment, ready to run.
pub struct EnrolService {
    site: Arc<Site>,
    port: TlsListener,
}

impl EnrolService {
    /// Makes the service on a bound listener.
    pub fn new(options: EnrolOptions, on: TcpListener, parts: EnrolParts) -> Result<Self, EnrolError> {
        let EnrolParts { pki, tls, directory, auditor, store, metrics, mqtt_port } = parts;
        let mut authority = Authority::load(&pki)?;
        authority.set_crl_url(options.crl_url);
        let (root_pem, issuing_pem) = (pki.read("root.pem")?, pki.read("issuing.pem")?);
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes())
            .map_err(|_pem| PkiError::Decode("root.pem"))?;
        let authorities =
            certs_only::message([root.as_ref(), authority.certificate_der()]).map_err(EnrolError::Encode)?;
        let host = server_hosts(&pki)?.into_iter().next().unwrap_or_else(|| "localhost".to_owned());
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let own_port = on.local_addr().map_or(0, |address| address.port());
        let fronts =
            if options.fronts.is_empty() { vec![format!("{host}:{mqtt_port}")] } else { options.fronts };
        let est = options.url.unwrap_or_else(|| format!("https://{host}:{own_port}"));
        let bootstrap = Bootstrap { fronts, est, ca_pem: format!("{root_pem}{issuing_pem}") };
        let source = tls.clone();
        let refused = certificate_refused(metrics.clone(), auditor.clone());
        let port = TlsListener::new(on, Arc::new(move || source.est()), TLS, metrics.tls.clone(), refused);
        let (authority, manufacturers) = (Arc::new(authority), Arc::default());
        let desk = Desk { authority, tls, directory, auditor, store, manufacturers, metrics };
        let limiter = Limiter::new(options.per_source, options.overall, Instant::now());
        let revocations = Arc::default();
        let site = Site { desk, limiter, bootstrap, revocations, authorities };
        Ok(Self { site: Arc::new(site), port })
    }

    /// Returns our revocation list, to be served elsewhere too.
    pub fn revocations(&self) -> Arc<Revocations> {
        self.site.revocations.clone()
    }

    /// Serves until `stop` is true; then answers what was asked and closes.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Self { site, mut port } = self;
        let router = router(site.clone());
        let mut connections = JoinSet::new();
        let mut told = stop.clone();
        let mut tend = pin!(tend(site));
        loop {
            tokio::select! {
                _gone = told.wait_for(|stop| *stop) => break,
                () = &mut tend => {}
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(panicked = error.is_panic(), "a connection's task failed");
                    }
                }
                socket = port.accept() => {
                    connections.spawn(serve(socket, router.clone(), stop.clone()));
                }
            }
        }
        drop(port);
        if timeout(DRAIN_MAX, async { while connections.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("connections of the HTTPS port did not end in time");
        }
    }
}

/// Returns what counts and audits a certificate that TLS refused: it proves nobody, so it has no actor.
fn certificate_refused(metrics: EnrolMetrics, auditor: Arc<Auditor>) -> CertificateRefused {
    Arc::new(move |refusal| {
        metrics.refused(refusal);
        if auditor.refused("", refusal, "https handshake").is_err() {
            tracing::error!(%refusal, "a refusal could not be audited");
        }
    })
}

async fn serve(socket: TlsSocket, router: Router, mut stop: watch::Receiver<bool>) {
    let chain = socket.session().peer_certificates().unwrap_or_default().into();
    let peer = Peer { address: socket.peer().ip(), chain };
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let whole = async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _gone = stop.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    match timeout(CONNECTION_MAX, whole).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Err(_elapsed) => tracing::debug!("a connection lived too long"),
    }
}

/// Keeps manufacturers and revocation list as the registry has them. Never ends.
async fn tend(site: Arc<Site>) {
    let mut changes = site.desk.directory.changes();
    let mut look = interval(LOOK);
    loop {
        if let Err(error) = refresh(&site).await {
            tracing::warn!(%error, "the HTTPS port's lists are not up to date; going on with what is known");
        }
        tokio::select! {
            _at = look.tick() => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
                sleep(GATHER).await;
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Tls(#[from] crate::front::TlsError),
    #[error("signing the list did not finish")]
    Unfinished,
}

async fn refresh(site: &Arc<Site>) -> Result<(), RefreshError> {
    let manufacturers = site.desk.store.list_manufacturer_cas().await?;
    if let Some(roots) = site.desk.manufacturers.replace(manufacturers) {
        tracing::info!(count = roots.len(), "manufacturers' authorities loaded");
        site.desk.tls.set_manufacturers(roots)?;
    }
    let revoked = site.desk.store.revoked_certificates(now_us()).await?;
    let entry = |row: wardline_store::registry::RevokedCertificate| RevokedSerial {
        serial: row.serial,
        revoked_at_us: row.revoked_at_us,
        compromised_at_us: row.compromised_at_us,
    };
    let revoked = revoked.into_iter().map(entry).collect();
    let site = site.clone();
    let signed = tokio::task::spawn_blocking(move || site.revocations.update(&site.desk.authority, revoked));
    Ok(signed.await.map_err(|_panicked| RefreshError::Unfinished)??)
}
