//! The worker: journal in, durable alert events out.
//!
//! ```text
//! wait for durable -> read a batch, decode, decide -> commit events, state, position (one transaction) -> wake
//! ```
//! A batch that decided something is committed at once; one that did not, within the checkpoint interval. What is
//! not committed is decided again after a crash, with the same ids. On an error of the journal or the database the
//! worker says so and tries again; it ends only at shutdown, when another engine took over its name, or when its
//! own checkpoint cannot be read.

mod checkpoint;
mod core;

use self::checkpoint::Checkpoints;
use self::core::{Core, Stepped};
use crate::feed::{AlertFeed, Rings};
use crate::metrics::{AlertMetrics, Skipped};
use crate::orders::Orders;
use crate::progress::{Progress, TICK_US, now_us};
use crate::rules::{Rules, RulesError};
use crate::seal::Sealers;
use crate::wards::Wards;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wardline_journal::{Growth, Journal, KeyError, Keyring, Offset, Source};
use wardline_store::alerts::AlertCommitError;
use wardline_store::bell::{Bell, Matter};
use wardline_store::cluster::Claim;
use wardline_store::{Store, StoreError};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Name under which the default engine keeps its checkpoint.
pub const CONSUMER: &str = "alert";

/// The worker's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertOptions {
    /// A rules file in the place of Wardline's own rules.
    pub rules: Option<PathBuf>,
    /// Name of the checkpoint.
    pub consumer: String,
    /// How long a decision-free checkpoint may wait.
    pub checkpoint_interval: Duration,
    /// How far behind the journal the engine may be before it raises an alert about itself.
    pub lag_max: Duration,
    /// Most devices that are watched, at most [`crate::limits::DEVICES_MAX`].
    pub devices_max: usize,
}

impl Default for AlertOptions {
    fn default() -> Self {
        Self {
            rules: None,
            consumer: CONSUMER.into(),
            checkpoint_interval: Duration::from_secs(1),
            lag_max: Duration::from_secs(10),
            devices_max: crate::limits::DEVICES_MAX,
        }
    }
}

/// Says why the worker cannot start or ended.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// The rules are not valid.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The checkpoint could not be read from the database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The checkpoint does not open, or nothing can be sealed.
    #[error("alarm engine state: {0}")]
    Key(#[from] KeyError),
    /// The opened checkpoint does not decode.
    #[error("alarm engine state does not decode")]
    Damaged(#[from] prost::DecodeError),
    /// Another engine has taken over.
    #[error(transparent)]
    Fenced(AlertCommitError),
    /// The engine's thread ended.
    #[error("the alarm engine stopped")]
    Stopped,
}

/// Feeds the engine from the journal.
pub struct AlertWorker {
    options: AlertOptions,
    rules: Arc<Rules>,
    source: Arc<dyn Source>,
    claim: Option<Claim>,
    store: Store,
    sealers: Arc<Sealers>,
    metrics: Arc<AlertMetrics>,
    progress: Arc<Progress>,
    changed: watch::Sender<u64>,
    wards: Wards,
}

impl AlertWorker {
    /// Makes a worker; reads and checks the rules.
    pub fn new(
        options: AlertOptions,
        journal: Journal,
        store: Store,
        keyring: Arc<Keyring>,
        metrics: Arc<AlertMetrics>,
    ) -> Result<Self, AlertError> {
        let rules = Arc::new(options.rules.as_deref().map_or_else(Rules::defaults, Rules::load)?);
        Ok(Self {
            options,
            rules,
            source: Arc::new(journal),
            claim: None,
            store,
            sealers: Arc::new(Sealers::new(keyring)),
            metrics,
            progress: Arc::new(Progress::new()),
            changed: watch::Sender::new(0),
            wards: Wards::default(),
        })
    }

    /// Returns what subscribers read.
    pub fn feed(&self) -> AlertFeed {
        AlertFeed {
            store: self.store.clone(),
            sealers: self.sealers.clone(),
            changed: self.changed.clone(),
            progress: self.progress.clone(),
            wards: self.wards.clone(),
            rings: Rings::default(),
            rules: self.rules.clone(),
        }
    }

    /// Returns the rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes the place of a worker that ended: whoever reads its feed reads this one's events too.
    #[must_use]
    pub fn in_place_of(mut self, feed: &AlertFeed) -> Self {
        self.sealers = feed.sealers.clone();
        self.changed = feed.changed.clone();
        self.progress = feed.progress.clone();
        self.wards = feed.wards.clone();
        self
    }

    /// Decides on the alarms of one partition under a claim, among other workers that decide on others. Its journal is
    /// then what comes over the bus.
    #[must_use]
    pub fn for_partition(mut self, source: Arc<dyn Source>, claim: Claim) -> Self {
        self.options.consumer = format!("{}/{}", self.options.consumer, claim.share.partition);
        self.progress = self.progress.part(source.growth());
        (self.source, self.claim) = (source, Some(claim));
        self
    }

    /// Runs until `shutdown` turns true; commits what was decided before it returns.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), AlertError> {
        let consumer = self.options.consumer.clone();
        let rules = Rules::clone(&self.rules);
        let mut checkpoints = Checkpoints::new(self.store.clone(), self.sealers.clone(), consumer, rules)
            .with(self.source.clone(), self.claim.clone());
        let (engine, position, raised) = checkpoints.load().await?;
        let engine = engine.with_devices_max(self.options.devices_max);
        let mut core = Box::new(Core::new(engine, self.source.clone(), position, raised));
        let mut growth = self.source.growth();
        let mut committed = Instant::now();
        let (mut orders, mut bell) = (Orders::default(), self.store.bell(Matter::Orders));
        tracing::info!(offset = core.next().get(), devices = core.devices(), "alarm engine started");
        loop {
            self.progress.beat();
            let stopping = *shutdown.borrow();
            let lag_max_us = i64::try_from(self.options.lag_max.as_micros()).unwrap_or(i64::MAX);
            self.ask(&mut orders, &mut bell, &mut core).await;
            let stepped;
            (core, stepped) = step(core, lag_max_us).await?;
            self.count(&core, &stepped);
            let due = core.is_due() || committed.elapsed() >= self.options.checkpoint_interval;
            if core.has_decided() || (core.is_dirty() && (due || stopping)) {
                self.commit(&mut checkpoints, &mut core, &mut shutdown).await?;
                committed = Instant::now();
            }
            self.progress.reached(core.decided_up_to_us());
            self.progress.at(core.next().get());
            self.metrics
                .lag_ms
                .set(self.progress.lag_ms().map_or(0, |lag| i64::try_from(lag).unwrap_or(i64::MAX)));
            if stopping && (stepped.caught_up || stepped.failed) {
                return Ok(());
            }
            if stepped.caught_up || stepped.failed {
                wait(&mut growth, core.next(), &mut shutdown).await;
            }
        }
    }

    /// Asks the store which overrides there are, when that was a while ago or it is told of another one. Without an
    /// answer the engine goes no further than what it knows.
    async fn ask(&self, orders: &mut Orders, bell: &mut Bell, core: &mut Core) {
        // Of a wall clock that was set back the journal knows nothing: it never waits for it, and nor does this.
        let time_us = now_us().max(self.source.promise_time(0).unwrap_or_default());
        if !orders.is_old(time_us, || bell.has_rung()) {
            return;
        }
        match orders.refresh(&self.store, time_us).await {
            Ok(changed) => core.know(changed.then(|| Arc::new(orders.clone())), orders.good_until_us()),
            Err(error) => {
                self.metrics.commit_failures.inc();
                tracing::error!(%error, "overrides cannot be read, trying again");
                tokio::time::sleep(RETRY_FIRST).await;
            }
        }
    }

    fn count(&self, core: &Core, stepped: &Stepped) {
        self.metrics.records.inc_by(stepped.records);
        self.metrics.skip(Skipped::Poison, stepped.poison);
        self.metrics.add(stepped.before, stepped.after);
        self.metrics.devices.set(i64::try_from(core.devices()).unwrap_or(i64::MAX));
    }

    /// Commits what was decided, however often it takes; subscribers are woken only then (ALR-1).
    async fn commit(
        &self,
        checkpoints: &mut Checkpoints,
        core: &mut Core,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), AlertError> {
        let decided = core.take();
        let mut pause = RETRY_FIRST;
        let commit = checkpoints.seal(&decided)?;
        loop {
            match checkpoints.commit(&commit).await {
                Ok(()) => break,
                Err(fenced @ (AlertCommitError::Fenced { .. } | AlertCommitError::Taken { .. })) => {
                    return Err(AlertError::Fenced(fenced));
                }
                Err(AlertCommitError::Store(error)) => {
                    self.metrics.commit_failures.inc();
                    tracing::error!(%error, "alert commit failed, trying again");
                    if *shutdown.borrow() {
                        return Err(error.into());
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        self.source.release(decided.next);
        self.metrics.commits.inc();
        let now_us = now_us();
        for event in &decided.events {
            self.metrics.event_latency.observe((now_us - event.caused_us).max(0) as f64 / 1e6);
        }
        if !decided.events.is_empty() {
            self.metrics.events.inc_by(decided.events.len() as u64);
            self.changed.send_modify(|n| *n += 1);
        }
        Ok(())
    }
}

/// Runs one step off the runtime: reading and deciding block.
async fn step(mut core: Box<Core>, lag_max_us: i64) -> Result<(Box<Core>, Stepped), AlertError> {
    let run = move || {
        let stepped = core.step(now_us(), lag_max_us);
        (core, stepped)
    };
    tokio::task::spawn_blocking(run).await.map_err(|_| AlertError::Stopped)
}

/// Waits for records after `next`, the tick or the end.
async fn wait(growth: &mut Growth, next: Offset, shutdown: &mut watch::Receiver<bool>) {
    let tick = tokio::time::sleep(Duration::from_micros(TICK_US as u64));
    let grown = async {
        loop {
            if growth.end() > next || growth.changed().await.is_err() {
                break;
            }
        }
        // A closed log brings nothing more: leave it to the tick.
        if growth.end() <= next {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = tick => {}
        () = grown => {}
        _ = shutdown.changed() => {}
    }
}

#[cfg(test)]
mod tests;
