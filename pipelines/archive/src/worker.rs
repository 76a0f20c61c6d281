//! The archive worker: journal in, committed files out, exactly once (ACK-1, ARC-1).
//!
//! One rule makes it crash-safe: everything between two commits is derived from the journal. Files are durable before
//! the transaction that names them; a crash, or a failure that is worth another try, goes back to the committed
//! position and derives again. Files of a commit that never was are swept.
//!
//! On error: `Retry` waits and starts a new session, `Fatal` ends the worker. On shutdown: commits what it has taken
//! and ends; what it has not read stays in the journal.

use crate::bucket::BucketError;
use crate::error::{ArchiveError, ErrorKind};
use crate::files::{Files, claim};
use crate::handle::{ArchiveHandle, Progress, Requests};
use crate::keys::ArchiveKeys;
use crate::metrics::ArchiveMetrics;
use crate::notices::QuarantineNotice;
use crate::options::ArchiveOptions;
use crate::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wardline_journal::{Journal, KeyError, KeyPurpose, Keyring, Sealer, Source};
use wardline_store::Store;
use wardline_store::catalog::Catalog;
use wardline_store::cluster::Claim;

/// What a session works with.
pub(crate) struct Parts {
    pub(crate) options: ArchiveOptions,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) store: Store,
    pub(crate) catalog: Catalog,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) keys: Arc<ArchiveKeys>,
    pub(crate) metrics: Arc<ArchiveMetrics>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) notices: Option<mpsc::Sender<QuarantineNotice>>,
}

impl Parts {
    /// Seals what the archive keeps for itself.
    pub(crate) fn sealer(&self) -> Result<Sealer, KeyError> {
        Sealer::new(self.keyring.clone(), KeyPurpose::State, None)
    }
}

/// A refusal so long after the one before it is a first one.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Tenants whose keys are refused, each since when, and when last. Bound: a tenant of the registry each.
#[derive(Debug, Default)]
struct Refusals(BTreeMap<String, (Instant, Instant)>);

impl Refusals {
    /// Takes the word of an error. Returns tenants that it refuses, and that have been refused for so long: they are
    /// held back.
    fn hear(&mut self, error: &ArchiveError, patience: Duration) -> BTreeSet<String> {
        self.0.retain(|_, (_, last)| last.elapsed() < FORGIVEN);
        let ArchiveError::KeysOf { tenants, .. } = error else { return BTreeSet::new() };
        let now = Instant::now();
        let mut long = BTreeSet::new();
        for tenant in tenants {
            let (first, last) = self.0.entry(tenant.clone()).or_insert((now, now));
            *last = now;
            if now - *first >= patience {
                long.insert(tenant.clone());
            }
        }
        long
    }
}

/// The archive worker.
pub struct ArchiveService {
    parts: Parts,
}

impl std::fmt::Debug for ArchiveService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveService").field("options", &self.parts.options).finish_non_exhaustive()
    }
}

impl ArchiveService {
    /// Makes a worker. It does nothing before [`run`](Self::run).
    pub fn new(
        options: ArchiveOptions,
        journal: Journal,
        store: Store,
        keyring: Arc<Keyring>,
        metrics: Arc<ArchiveMetrics>,
    ) -> Self {
        let keys = Arc::new(ArchiveKeys::new(keyring.clone()));
        let (progress, _) = watch::channel(Progress::default());
        let requests = Arc::new(Requests::default());
        let catalog = Catalog::new(store.clone());
        let parts = Parts {
            options,
            source: Arc::new(journal),
            store,
            catalog,
            keyring,
            keys,
            metrics,
            requests,
            progress,
            notices: None,
        };
        Self { parts }
    }

    /// Tells of quarantined frames after the commit that holds them.
    #[must_use]
    pub fn with_notices(mut self, notices: mpsc::Sender<QuarantineNotice>) -> Self {
        self.parts.notices = Some(notices);
        self
    }

    /// Archives one partition under a claim, among other workers that archive others. Its journal is then what comes
    /// over the bus. Give it a journal to make, and this to replace it.
    #[must_use]
    pub fn for_partition(mut self, source: Arc<dyn Source>, claim: Claim) -> Self {
        self.parts.source = source;
        self.parts.catalog = Catalog::of_partition(self.parts.store.clone(), claim);
        self
    }

    /// Returns a handle.
    pub fn handle(&self) -> ArchiveHandle {
        ArchiveHandle { progress: self.parts.progress.subscribe(), requests: self.parts.requests.clone() }
    }

    /// Asks the place of the files once, before anything is served. An error is one that no waiting mends; that a
    /// bucket is away is told, and the worker waits for it.
    pub async fn probe(&self) -> Result<(), ArchiveError> {
        let asked = match Files::of(&self.parts.options)? {
            Files::Folder(_) => Ok(()),
            Files::Bucket(bucket) => claim(&bucket, &self.parts.catalog).await,
        };
        match asked {
            Err(ArchiveError::Bucket(error @ BucketError::Away(..))) => {
                self.parts.metrics.store_away.set(1);
                tracing::error!(%error, "the archive waits; the front goes on into the journal");
                Ok(())
            }
            asked => asked,
        }
    }

    /// Archives until `shutdown` turns true or its sender is gone.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), ArchiveError> {
        let mut pause = self.parts.options.retry_min;
        let (mut refusals, mut refused) = (Refusals::default(), BTreeSet::new());
        loop {
            let before = self.parts.progress.borrow().next_offset;
            let mut stop = shutdown.clone();
            let drained = async {
                stopped(&mut stop).await;
                tokio::time::sleep(self.parts.options.drain_max).await;
            };
            let ended = tokio::select! {
                ended = Session::run(&self.parts, &refused, &mut shutdown) => ended,
                () = drained => {
                    tracing::warn!("what was being archived is left to the next start");
                    return Ok(());
                }
            };
            let error = match ended {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Fatal => return Err(error),
                Err(error) => error,
            };
            self.parts.metrics.retries.inc();
            if self.parts.progress.borrow().next_offset > before {
                pause = self.parts.options.retry_min;
            }
            refused = refusals.hear(&error, self.parts.options.hold_after);
            if let ArchiveError::KeysOf { .. } | ArchiveError::Key(KeyError::Away(_) | KeyError::Refused(_)) =
                error
            {
                tracing::error!(%error, ?pause, "the archive waits for its keys; the front goes on into the journal");
            } else if matches!(error, ArchiveError::Bucket(_)) {
                self.parts.metrics.store_away.set(1);
                tracing::error!(%error, ?pause, "the archive waits; the front goes on into the journal");
            } else {
                tracing::warn!(%error, ?pause, "archive goes back to its committed position");
            }
            if stopped_within(pause, &mut shutdown).await {
                return Ok(());
            }
            pause = (pause * 2).min(self.parts.options.retry_max);
        }
    }
}

/// Waits for `pause`, or for the shutdown: true.
async fn stopped_within(pause: Duration, shutdown: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(pause, stopped(shutdown)).await.is_ok()
}

/// Waits for the shutdown.
pub(crate) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _sender_is_gone = shutdown.wait_for(|stop| *stop).await.is_err();
}

/// Reads the clock, unix microseconds. The archive uses it for bookkeeping only, never in a row.
pub(crate) fn now_us() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}
