//! The configurations in force, and how they change while sessions go on.

use super::{Files, TlsError};
use crate::front::now_us;
use crate::pki::PkiDir;
use arc_swap::ArcSwap;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use wardline_proto::refusal::Refusal;
use wardline_store::registry::Serial;

/// How often the files' times are looked at.
const WATCH: Duration = Duration::from_secs(2);
const WATCHED: [&str; 4] = ["server.pem", "server.key", "ca.pem", "crl.pem"];

/// One set, made from one reading of the files.
struct Set {
    files: Files,
    mqtt: Arc<ServerConfig>,
    grpc: Arc<ServerConfig>,
    ours: Arc<dyn ClientCertVerifier>,
}

impl Set {
    fn new(files: Files, tls12: bool) -> Result<Self, TlsError> {
        Ok(Self {
            mqtt: Arc::new(files.required(tls12, &[])?),
            grpc: Arc::new(files.required(tls12, &[b"h2"])?),
            ours: files.verifier()?,
            files,
        })
    }
}

/// Length and time of each file; `None` for one that is not there.
type Stamps = [Option<(u64, SystemTime)>; WATCHED.len()];

/// What changes together.
struct Changing {
    manufacturers: Vec<CertificateDer<'static>>,
    loaded: Stamps,
}

/// The configurations in force; each accept takes the newest.
pub struct LiveTls {
    pki: PkiDir,
    tls12: bool,
    current: ArcSwap<Set>,
    est: ArcSwap<ServerConfig>,
    changing: Mutex<Changing>,
    changed: watch::Sender<u64>,
    metrics: TlsMetrics,
}

impl LiveTls {
    /// Loads the configurations. What has expired is taken: there is nothing better.
    pub fn load(pki: PkiDir, tls12: bool) -> Result<Self, TlsError> {
        let loaded = stamps(&pki);
        let set = Set::new(Files::read(&pki)?, tls12)?;
        let live = Self {
            est: ArcSwap::from_pointee(set.files.optional(tls12, &[])?),
            current: ArcSwap::from_pointee(set),
            changing: Mutex::new(Changing { manufacturers: Vec::new(), loaded }),
            changed: watch::Sender::new(0),
            metrics: TlsMetrics::default(),
            pki,
            tls12,
        };
        live.observe(&mut Told::default());
        Ok(live)
    }

    /// Returns the configuration of the MQTT port.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load().mqtt.clone()
    }

    /// Returns the configuration of the gRPC port: as MQTT's, with ALPN `h2`.
    pub fn grpc(&self) -> Arc<ServerConfig> {
        self.current.load().grpc.clone()
    }

    /// Returns the configuration of the HTTPS port: a client certificate is taken when there is one, also of a
    /// registered manufacturer, and proves no more than that its key is there.
    pub fn est(&self) -> Arc<ServerConfig> {
        self.est.load_full()
    }

    /// Verifies that a chain ends in one of our own client authorities, now. What the HTTPS port takes need not.
    pub fn verify_ours(&self, chain: &[CertificateDer<'_>]) -> Result<(), Refusal> {
        let (leaf, intermediates) = chain.split_first().ok_or(Refusal::IdentityMissing)?;
        let ours = self.current.load().ours.clone();
        let verified = ours.verify_client_cert(leaf, intermediates, UnixTime::now());
        verified.map(drop).map_err(|_not_ours| Refusal::IdentityMissing)
    }

    /// Refuses a verified chain by the imported revocation lists (SEC-2).
    pub fn screen(&self, chain: &[CertificateDer<'_>]) -> Result<(), Refusal> {
        let leaf = chain.first().ok_or(Refusal::IdentityMissing)?;
        self.current.load().files.crls.screen(leaf, now_us().div_euclid(1_000_000))
    }

    /// Says whether an imported revocation list names a serial.
    pub fn revokes(&self, serial: &Serial) -> bool {
        self.current.load().files.crls.names(serial)
    }

    /// Follows reloads.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Loads the files again. The last good configurations stay when they make none, or when they hold something that
    /// has expired. Live sessions go on; those that a new revocation list names are cut by whoever follows
    /// [`changes`](Self::changes).
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        changing.loaded = stamps(&self.pki);
        let files = Files::read(&self.pki)?;
        files.check_current(now_us().div_euclid(1_000_000))?;
        let est = files.optional(self.tls12, &changing.manufacturers)?;
        let set = Set::new(files, self.tls12)?;
        self.est.store(Arc::new(est));
        self.current.store(Arc::new(set));
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Replaces the manufacturers whose factory certificates the HTTPS port takes.
    pub fn set_manufacturers(&self, manufacturers: Vec<CertificateDer<'static>>) -> Result<(), TlsError> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let est = self.current.load().files.optional(self.tls12, &manufacturers)?;
        changing.manufacturers = manufacturers;
        self.est.store(Arc::new(est));
        Ok(())
    }

    /// Returns the gauges of what expires.
    pub fn metrics(&self) -> &TlsMetrics {
        &self.metrics
    }

    /// Watches the files and what expires until it is told to stop.
    ///
    /// Files are loaded when their times have changed and then stood still for one look: key and certificate are two
    /// files, and are replaced one after the other.
    pub async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        let (mut seen, mut told) = (stamps(&self.pki), Told::default());
        let mut tick = tokio::time::interval(WATCH);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                _ = tick.tick() => {}
            }
            let (live, before) = (self.clone(), seen);
            let looked = tokio::task::spawn_blocking(move || live.look(&before)).await;
            let (now, reloaded) = looked.map_err(|error| error.to_string())?;
            seen = now;
            match reloaded {
                Some(Ok(())) => {
                    told = Told::default();
                    tracing::info!("certificates loaded again");
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "certificates not usable; the last good ones stay");
                }
                None => {}
            }
            self.observe(&mut told);
        }
    }

    fn look(&self, before: &Stamps) -> (Stamps, Option<Result<(), TlsError>>) {
        let now = stamps(&self.pki);
        let loaded = self.changing.lock().unwrap_or_else(PoisonError::into_inner).loaded;
        let due = now == *before && now != loaded;
        (now, due.then(|| self.reload()))
    }

    /// Sets the gauges, and tells once of what is close to its end and once of what has expired.
    fn observe(&self, told: &mut Told) {
        let (set, now_s) = (self.current.load(), now_us().div_euclid(1_000_000));
        self.metrics.set(What::ServerCertificate, set.files.server_not_after_s - now_s);
        let Some(expires_at_s) = set.files.crls.expires_at_s() else {
            self.metrics.expires_seconds.remove(&Label { what: What::ImportedCrl });
            return;
        };
        let left_s = expires_at_s - now_s;
        self.metrics.set(What::ImportedCrl, left_s);
        if left_s <= 0 && !std::mem::replace(&mut told.expired, true) {
            tracing::error!("pki/crl.pem has expired: its authority's certificates are refused");
        } else if left_s > 0 && set.files.crls.is_ageing(now_s) && !std::mem::replace(&mut told.ageing, true)
        {
            tracing::warn!(left_s, "pki/crl.pem expires soon; then its authority's certificates are refused");
        }
    }
}

#[derive(Default)]
struct Told {
    ageing: bool,
    expired: bool,
}

fn stamps(pki: &PkiDir) -> Stamps {
    WATCHED.map(|name| {
        let metadata = std::fs::metadata(pki.path(name)).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    ServerCertificate,
    ImportedCrl,
}

impl EncodeLabelValue for What {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let name = match self {
            Self::ServerCertificate => "server_certificate",
            Self::ImportedCrl => "imported_crl",
        };
        name.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    what: What,
}

/// Gauges of what expires.
#[derive(Debug, Clone, Default)]
pub struct TlsMetrics {
    expires_seconds: Family<Label, Gauge>,
}

impl TlsMetrics {
    /// Registers `wardline_tls_expires_seconds`; below 0 is expired, absent is not there.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("wardline_tls");
        let help = "Seconds until the server certificate or the imported revocation list expires";
        registry.register("expires_seconds", help, self.expires_seconds.clone());
    }

    fn set(&self, what: What, seconds: i64) {
        self.expires_seconds.get_or_create(&Label { what }).set(seconds);
    }
}
