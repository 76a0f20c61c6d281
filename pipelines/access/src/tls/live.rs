//! The configurations in force, and how they change while sessions go on.

use super::{Files, TlsError};
use crate::files::PkiFiles;
use crate::now_us;
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

/// How often the files' times are looked at. A list of revoked certificates is in force within three looks, the time of
/// loading it and of cutting (SEC-2).
const WATCH: Duration = Duration::from_millis(500);
const _: () = assert!(3 * WATCH.as_millis() <= 1_500);
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
    pki: PkiFiles,
    tls12: bool,
    current: ArcSwap<Set>,
    est: ArcSwap<ServerConfig>,
    changing: Mutex<Changing>,
    changed: watch::Sender<u64>,
    metrics: TlsMetrics,
}

impl LiveTls {
    /// Loads the configurations. What has expired is taken: there is nothing better.
    pub fn load(pki: impl Into<PkiFiles>, tls12: bool) -> Result<Self, TlsError> {
        let pki = pki.into();
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

    /// Loads the files again. The last good configurations stay when they make none, or when they hold something worse.
    /// Live sessions go on; those that a new revocation list names are cut by whoever follows
    /// [`changes`](Self::changes). Tells what became of it.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = self.load_again();
        match &loaded {
            Ok(()) => tracing::info!("certificates loaded again"),
            Err(error) => {
                let code = Refusal::TlsFiles.code();
                tracing::error!(%code, %error, "certificates not usable; the last good ones stay");
            }
        }
        self.metrics.files_refused.set(i64::from(loaded.is_err()));
        loaded
    }

    fn load_again(&self) -> Result<(), TlsError> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        changing.loaded = stamps(&self.pki);
        let files = Files::read(&self.pki)?;
        files.check_against(&self.current.load().files, now_us().div_euclid(1_000_000))?;
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
            let (now, is_new) = looked.map_err(|error| error.to_string())?;
            seen = now;
            if is_new {
                told = Told::default();
            }
            self.observe(&mut told);
        }
    }

    /// Loads what has changed and stood still; says whether it was taken.
    fn look(&self, before: &Stamps) -> (Stamps, bool) {
        let now = stamps(&self.pki);
        let loaded = self.changing.lock().unwrap_or_else(PoisonError::into_inner).loaded;
        (now, now == *before && now != loaded && self.reload().is_ok())
    }

    /// Sets the gauges, and tells once of what is close to its end and once of what has expired.
    fn observe(&self, told: &mut Told) {
        let (set, now_s) = (self.current.load(), now_us().div_euclid(1_000_000));
        self.metrics.set(What::ServerCertificate, set.files.server_not_after_s - now_s);
        let Some(expires_at_s) = set.files.crls.expires_at_s() else {
            self.metrics.expires_seconds.remove(&Label { what: What::ImportedCrl });
            self.metrics.crl_ageing.set(0);
            return;
        };
        let (left_s, is_ageing) = (expires_at_s - now_s, set.files.crls.is_ageing(now_s));
        self.metrics.set(What::ImportedCrl, left_s);
        self.metrics.crl_ageing.set(i64::from(is_ageing));
        if left_s <= 0 && !std::mem::replace(&mut told.expired, true) {
            let code = Refusal::IdentityCrlExpired.code();
            tracing::error!(%code, "pki/crl.pem has expired: its authority's certificates are refused");
        } else if left_s > 0 && is_ageing && !std::mem::replace(&mut told.ageing, true) {
            tracing::warn!(left_s, "pki/crl.pem expires soon; then its authority's certificates are refused");
        }
    }
}

#[derive(Default)]
struct Told {
    ageing: bool,
    expired: bool,
}

fn stamps(pki: &PkiFiles) -> Stamps {
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
    files_refused: Gauge,
    crl_ageing: Gauge,
}

impl TlsMetrics {
    /// Registers `wardline_tls_expires_seconds` (below 0 is expired, absent is not there), `wardline_tls_files_refused`
    /// and `wardline_tls_crl_ageing`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("wardline_tls");
        let help = "Seconds until the server certificate or the imported revocation list expires";
        registry.register("expires_seconds", help, self.expires_seconds.clone());
        let help = "1 when the files on disk are not usable and those loaded before are in force";
        registry.register("files_refused", help, self.files_refused.clone());
        let help = "1 when the imported revocation list has a fifth of its life left, or none";
        registry.register("crl_ageing", help, self.crl_ageing.clone());
    }

    fn set(&self, what: What, seconds: i64) {
        self.expires_seconds.get_or_create(&Label { what }).set(seconds);
    }
}
