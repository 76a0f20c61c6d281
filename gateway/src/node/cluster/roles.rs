//! What a lease is for: the archive or the alarm engine of one partition, fed from the bus.

use super::begun::Begun;
use super::leases::{Leases, Work};
use super::metrics::Lines;
use super::pulse::Pulse;
use super::{ALERT, ARCHIVE, Cluster, OUTBOX, ROLES, TRIM, WATCH, WEBHOOKS, trim};
use crate::alert_service::Webhooks;
use crate::audit::relay::Relay;
use crate::node::{NodeError, Parts, Role, TaskKind};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use wardline_alert::{AlertDesk, AlertFeed, AlertMetrics, AlertWorker, Watchdog, WatchdogOptions};
use wardline_archive::{ArchiveMetrics, ArchiveService};
use wardline_bus::flow::{Checkpoint, Resend};
use wardline_bus::{Belt, Bus, Feed, FeedStats, FrontId, Number, Position};
use wardline_journal::{Growth, Offset, Sealer};
use wardline_proto::PartitionId;
use wardline_store::Store;
use wardline_store::cluster::{Claim, LeaseRow};

/// Wishes on their way to the database; one that finds no room is made again.
const WISHES_MAX: usize = 16;
/// How long work may not move before it is cut off: longer than any wait of it, and than a merge of files.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same of what decides on alarms, at least: longer than a turn of it takes on a machine with too much to do.
const ALARM_PATIENCE_MIN: Duration = Duration::from_secs(10);
/// How often the engines' leases are looked at.
const LISTEN: Duration = Duration::from_secs(1);

/// What every partition's work begins with.
#[derive(Clone)]
struct Line {
    store: Store,
    bus: Bus,
    sealer: Arc<Sealer>,
    lines: Lines,
}

impl Cluster {
    /// Takes part in a role.
    fn hold(
        &self,
        parts: &mut Parts,
        (kind, role, partitions): (TaskKind, &'static str, u16),
        patience: Option<Duration>,
        work: Work,
    ) {
        let begun = if ROLES.contains(&role) { self.beginning.of(role) } else { Begun::default() };
        let leases = Leases {
            store: parts.store.clone(),
            role,
            partitions,
            holder: self.holder.clone(),
            lease: self.options.lease(),
            patience,
            work,
            begun,
        };
        parts.tasks.spawn(kind, |stop| leases.run(stop));
    }

    /// Archives partitions.
    pub(in crate::node) async fn archive(&self, parts: &mut Parts) -> Result<(), NodeError> {
        let metrics = Arc::new(ArchiveMetrics::default());
        metrics.register(parts.registry.sub_registry_with_prefix("wardline"));
        let mut options = parts.options.archive.clone();
        options.dir = parts.data.archive();
        // What it has taken may wait for so long before it is written.
        let patience = PATIENCE.max(options.flush_interval * 2);
        let (line, journal, keyring) = (self.line(parts), parts.journal.clone(), parts.keyring.clone());
        let (probed, shown) = (options.clone(), metrics.clone());
        let probe = ArchiveService::new(probed, journal.clone(), line.store.clone(), keyring.clone(), shown);
        probe.probe().await?;
        let work: Work = Arc::new(move |claim, stop, pulse| {
            let (options, metrics) = (options.clone(), metrics.clone());
            let service =
                ArchiveService::new(options, journal.clone(), line.store.clone(), keyring.clone(), metrics);
            let line = line.clone();
            Box::pin(async move {
                let worked = |belt, claim, stop| async move {
                    let service = service.for_partition(Arc::new(belt), claim);
                    service.run(stop).await.map_err(|error| error.to_string())
                };
                line.work(claim, stop, worked, pulse).await
            })
        });
        self.hold(parts, (TaskKind::Archive, ARCHIVE, self.options.partitions), Some(patience), work);
        let (bus, store) = (self.bus.clone(), parts.store.clone());
        let work: Work = Arc::new(move |_claim, stop, pulse: Pulse| {
            Box::pin(pulse.over(trim::run(bus.clone(), store.clone(), stop)))
        });
        self.hold(parts, (TaskKind::Archive, TRIM, 1), Some(PATIENCE), work);
        Ok(())
    }

    /// Decides on the alarms of partitions, when the node has that role; tells subscribers of all.
    pub(in crate::node) async fn alert(
        &self,
        parts: &mut Parts,
    ) -> Result<(AlertFeed, Arc<AlertMetrics>), NodeError> {
        let metrics = Arc::new(AlertMetrics::default());
        metrics.register(&mut parts.registry);
        let (options, journal) = (parts.options.alert.clone(), parts.journal.clone());
        let (keyring, told) = (parts.keyring.clone(), metrics.clone());
        let line = self.line(parts);
        let make = move || {
            let (journal, store) = (journal.clone(), line.store.clone());
            AlertWorker::new(options.clone(), journal, store, keyring.clone(), told.clone())
        };
        let worker = make()?;
        let feed = worker.feed();
        let follower = feed.clone();
        parts.tasks.spawn(TaskKind::AlertWatch, |stop| async move {
            follower.follow(stop).await;
            Ok(())
        });
        if !parts.options.roles.has(Role::Alert) {
            return Ok((feed, metrics));
        }
        self.watch(parts, &worker, metrics.clone());
        self.webhooks(parts, feed.clone(), metrics.clone()).await?;
        let (line, shared) = (self.line(parts), feed.clone());
        let work: Work = Arc::new(move |claim, stop, pulse| {
            let (line, worker) = (line.clone(), make().map(|worker| worker.in_place_of(&shared)));
            Box::pin(async move {
                let worker = worker.map_err(|error| error.to_string())?;
                let worked = |belt, claim, stop| async move {
                    let worker = worker.for_partition(Arc::new(belt), claim);
                    worker.run(stop).await.map_err(|error| error.to_string())
                };
                line.work(claim, stop, worked, pulse).await
            })
        });
        self.hold(
            parts,
            (TaskKind::Alert, ALERT, self.options.partitions),
            Some(self.alarm_patience()),
            work,
        );
        Ok((feed, metrics))
    }

    /// Lets time act on alerts and watches over the alarm service, when no other node does.
    fn watch(&self, parts: &mut Parts, worker: &AlertWorker, metrics: Arc<AlertMetrics>) {
        let (feed, rules, store) = (worker.feed(), worker.rules().clone(), parts.store.clone());
        let silence = self.options.lease() * 2;
        let work: Work = Arc::new(move |_claim, stop, pulse: Pulse| {
            let (feed, store) = (feed.clone(), store.clone());
            // A partition that stands still shows in its lease.
            let (_told_for_ever, nothing) = watch::channel(Offset::ZERO);
            let options = WatchdogOptions::default();
            let dog = Watchdog::new(options, feed.clone(), Growth::Told(nothing), metrics.clone(), &rules);
            Box::pin(async move {
                let desk = AlertDesk::new(feed.clone());
                tokio::join!(
                    // The pulse is the desk's alone: it takes a turn four times a second, whatever the others do.
                    pulse.over(desk.run(stop.clone())),
                    dog.run(stop.clone()),
                    listen(feed, store, silence, stop),
                );
                Ok(())
            })
        });
        self.hold(parts, (TaskKind::AlertWatch, WATCH, 1), Some(self.alarm_patience()), work);
    }

    /// Sends alerts to the sinks of the settings, when no other node does. Whoever takes over goes on behind what the
    /// ledger says was accepted.
    async fn webhooks(
        &self,
        parts: &mut Parts,
        feed: AlertFeed,
        metrics: Arc<AlertMetrics>,
    ) -> Result<(), NodeError> {
        let settings = parts.options.webhooks.clone();
        let loaded = Webhooks::load(&settings).map_err(NodeError::Webhooks)?;
        // Before an engine of this node can raise anything, and whoever sends it later.
        loaded.expect(&parts.store).await?;
        if loaded.is_empty() {
            return Ok(());
        }
        let work: Work = Arc::new(move |_claim, stop, _pulse| {
            let (loaded, feed, metrics) = (Webhooks::load(&settings), feed.clone(), metrics.clone());
            Box::pin(async move {
                let told =
                    |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                loaded.map_err(told)?.run(feed, metrics, stop).await;
                Ok(())
            })
        });
        // Each sink is a task of its own, bounded in all its waits, and may have nothing to do for a minute.
        self.hold(parts, (TaskKind::Webhooks, WEBHOOKS, 1), None, work);
        Ok(())
    }

    /// Brings the outbox into this node's audit chain, when no other node does.
    pub(in crate::node) fn relay_audit(&self, parts: &mut Parts, relay: Relay) {
        let relay = Arc::new(Mutex::new(relay));
        let work: Work = Arc::new(move |_claim, stop, pulse: Pulse| {
            let relay = relay.clone();
            Box::pin(pulse.over(async move { relay.lock().await.run(stop).await }))
        });
        self.hold(parts, (TaskKind::Audit, OUTBOX, 1), Some(PATIENCE), work);
    }

    /// Returns how long an alarm engine may not move: it takes a turn four times a second.
    fn alarm_patience(&self) -> Duration {
        ALARM_PATIENCE_MIN.max(self.options.lease() * 2)
    }

    fn line(&self, parts: &Parts) -> Line {
        Line {
            store: parts.store.clone(),
            bus: self.bus.clone(),
            sealer: self.sealer.clone(),
            lines: self.lines.clone(),
        }
    }
}

impl Line {
    /// Feeds a partition's belt while `work` works on it. When told to stop, the work ends before the feed does.
    async fn work<F>(
        self,
        claim: Claim,
        stop: watch::Receiver<bool>,
        work: impl FnOnce(Belt, Claim, watch::Receiver<bool>) -> F,
        pulse: Pulse,
    ) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let standing = self.store.standing(&claim).await.map_err(|error| error.to_string())?;
        let standing = standing.ok_or("the lease was taken by another worker")?;
        let partition = PartitionId::new(claim.share.partition).unwrap_or_default();
        let fronts = standing.logs.iter();
        let fronts = fronts.filter_map(|(log, next)| Some((FrontId::new(*log), Number::new(*next)?)));
        let position = Position::new(standing.position);
        let checkpoint = Checkpoint { partition, position, fronts: fronts.collect() };
        let belt = Belt::new(Offset::new(standing.next_offset), &checkpoint);
        let (wishes, wished) = mpsc::channel(WISHES_MAX);
        let feed = Feed::new(&self.bus, &checkpoint, belt.clone(), self.sealer, wishes)
            .map_err(|error| error.to_string())?;
        let place = (claim.role, claim.share.partition);
        let _shown = Shown::new(&self.lines, place, (belt.clone(), feed.stats()));
        let (_fed_until_the_end, fed) = watch::channel(false);
        let role = claim.role;
        tokio::select! {
            // The feed has a pulse whatever the work does.
            worked = pulse.clone().over(work(belt.clone(), claim, stop)) => worked,
            // An alarm engine has turns without records too: silence is for it to find.
            () = rest(belt, pulse), if role == ARCHIVE => Err("nothing rests any more".to_owned()),
            fed = feed.run(fed) => fed.map_err(|error| error.to_string()),
            () = carry(&self.store, role, wished) => Err("nobody wishes any more".to_owned()),
        }
    }
}

/// Shows a partition among those that are worked on, until it is dropped.
struct Shown {
    lines: Lines,
    place: (&'static str, u16),
}

impl Shown {
    fn new(lines: &Lines, place: (&'static str, u16), line: (Belt, Arc<FeedStats>)) -> Self {
        lines.lock().unwrap_or_else(PoisonError::into_inner).insert(place, line);
        Self { lines: lines.clone(), place }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

/// Notes that work to which nothing has come may rest; never returns.
async fn rest(belt: Belt, pulse: Pulse) {
    let mut turn = interval(LISTEN);
    loop {
        turn.tick().await;
        if belt.waiting() == 0 {
            pulse.note();
        }
    }
}

/// Writes wishes where their fronts see them.
async fn carry(store: &Store, role: &str, mut wished: mpsc::Receiver<Resend>) {
    while let Some(Resend { front, partition, first, last }) = wished.recv().await {
        let range = (first.get(), last.get());
        if let Err(error) = store.wish(role, partition.get(), front.bytes(), range).await {
            tracing::warn!(%error, "a wish was not written; it is made again");
        }
    }
}

/// Tells the watch that every partition has an engine that lives.
async fn listen(feed: AlertFeed, store: Store, silence: Duration, mut stop: watch::Receiver<bool>) {
    let mut turn = interval(LISTEN);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = HashMap::new();
    loop {
        tokio::select! {
            _gone = stop.wait_for(|stop| *stop) => return,
            _at = turn.tick() => {}
        }
        let Ok(leases) = store.leases(ALERT).await else { continue };
        let now = Instant::now();
        let mut lives = |lease: &LeaseRow| {
            let beats = (lease.epoch, lease.beats);
            let last = seen.entry(lease.partition).or_insert((beats, now));
            if last.0 != beats {
                *last = (beats, now);
            }
            !lease.holder.is_empty() && now - last.1 < silence
        };
        // Every one is looked at, also behind one that is silent.
        if leases.iter().filter(|lease| lives(lease)).count() == leases.len() {
            feed.beat();
        }
    }
}
