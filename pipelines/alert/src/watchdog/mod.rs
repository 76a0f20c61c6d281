//! The watch over the alarm service itself (ALR-2): a ward that nobody listens for, a listener that is gone or behind,
//! an engine that is silent, a log that nobody reads on. Each is a technical alert of high priority in the same log as
//! every other, and ends when it is mended.
//!
//! It is no part of the engine, so that it can tell of the engine's death; and it keeps what is present in the database,
//! so that a restart neither forgets a fault nor tells it twice.

mod judge;

use judge::{Bounds, Fault, Seen, Wrong, judge};

use crate::engine::{Subject, Transition, alert_id, condition_id, present};
use crate::feed::{AlertFeed, FeedError};
use crate::metrics::AlertMetrics;
use crate::progress::now_us;
use crate::rules::Rules;
use crate::seal::sealed_event;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wardline_journal::Growth;
use wardline_proto::v1::{AlarmKind, Alert, Priority};
use wardline_store::alert_signal::Policy;
use wardline_store::alert_watch::WatchRow;

/// How soon the watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogOptions {
    /// Between two looks.
    pub interval: Duration,
    /// After the start, and after a ward got its first device: listeners have this long to come.
    pub grace: Duration,
    /// The engine may take no turn for this long.
    pub engine_silent: Duration,
    /// The engine may stand still before records for this long.
    pub stalled: Duration,
}

impl Default for WatchdogOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            grace: Duration::from_secs(15),
            engine_silent: Duration::from_secs(10),
            stalled: Duration::from_secs(10),
        }
    }
}

/// Looks after the alarm service.
pub struct Watchdog {
    options: WatchdogOptions,
    feed: AlertFeed,
    growth: Growth,
    metrics: Arc<AlertMetrics>,
    policy: Policy,
    /// Since when each fault is seen; one that needs grace is told after it.
    since_us: BTreeMap<Wrong, i64>,
}

impl Watchdog {
    /// Makes the watch over a feed and the log that it is fed from.
    pub fn new(
        options: WatchdogOptions,
        feed: AlertFeed,
        growth: impl Into<Growth>,
        metrics: Arc<AlertMetrics>,
        rules: &Rules,
    ) -> Self {
        let policy = rules.policy(Fault::WardUnheard.rule_id());
        let growth = growth.into();
        Self { options, feed, growth, metrics, policy, since_us: BTreeMap::new() }
    }

    /// Watches until it is told to stop.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let started_us = now_us();
        let mut turn = interval(self.options.interval);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _gone = stop.wait_for(|stop| *stop) => return,
                _at = turn.tick() => {}
            }
            if let Err(error) = self.turn(started_us).await {
                tracing::error!(%error, "the alarm service could not be looked after, trying again");
            }
        }
    }

    async fn turn(&mut self, started_us: i64) -> Result<(), FeedError> {
        let seen = self.look().await?;
        let bounds =
            Bounds { engine_silent_us: us(self.options.engine_silent), stalled_us: us(self.options.stalled) };
        let wrong = judge(&seen, &bounds);
        self.count(&seen, &wrong);
        self.since_us.retain(|known, _| wrong.contains(known));
        let present = self.feed.store.watch_present().await?;
        let mut known = BTreeSet::new();
        let mut changed = false;
        for fault in &wrong {
            let first_us = *self.since_us.entry(fault.clone()).or_insert(seen.now_us);
            let condition = condition_id(&raised(fault, 0));
            known.insert((fault.tenant.clone(), condition.clone()));
            let is_present = present.iter().any(|p| p.tenant == fault.tenant && p.condition_id == condition);
            if !is_present && self.is_due(fault.fault, first_us, (started_us, seen.now_us)) {
                changed |= self.raise(fault, seen.now_us).await?;
            }
        }
        for over in present.iter().filter(|p| !known.contains(&(p.tenant.clone(), p.condition_id.clone()))) {
            changed |= self.end(over, seen.now_us).await?;
        }
        if changed {
            self.feed.wake();
        }
        Ok(())
    }

    async fn look(&self) -> Result<Seen, FeedError> {
        let (store, now_us) = (&self.feed.store, now_us());
        self.feed.wards.refresh(store).await?;
        let listeners = store.listeners_waiting().await?;
        let (next, moved_us) = self.feed.progress.position();
        let stands = self.growth.end().get() > next;
        Ok(Seen {
            now_us,
            listeners,
            wards: self.feed.wards.by_tenant(),
            engine_silent_us: now_us - self.feed.progress.beat_us(),
            stalled_us: if stands { now_us - moved_us } else { self.feed.progress.parts_stalled_us(now_us) },
        })
    }

    /// Leases and wards have a grace after the start, a ward also when it is new; the rest is told at once.
    fn is_due(&self, fault: Fault, first_us: i64, (started_us, now_us): (i64, i64)) -> bool {
        let grace_us = us(self.options.grace);
        match fault {
            Fault::WardUnheard => now_us - first_us >= grace_us,
            Fault::ListenerLost | Fault::ListenerBehind => now_us - started_us >= grace_us,
            Fault::EngineSilent | Fault::PartitionStalled => true,
        }
    }

    fn count(&self, seen: &Seen, wrong: &BTreeSet<Wrong>) {
        let of = |fault: Fault| i64::try_from(wrong.iter().filter(|w| w.fault == fault).count()).unwrap_or(0);
        let leased = seen.listeners.iter().filter(|(l, _)| l.lease_us > 0 && l.leased_until_us > 0).count();
        self.metrics.listeners.set(i64::try_from(leased).unwrap_or(i64::MAX));
        self.metrics.wards_unheard.set(of(Fault::WardUnheard));
        self.metrics.listeners_lost.set(of(Fault::ListenerLost));
        self.metrics.listeners_behind.set(of(Fault::ListenerBehind));
    }

    async fn raise(&self, wrong: &Wrong, now_us: i64) -> Result<bool, FeedError> {
        let transition = Transition::start(raised(wrong, now_us), "watch", now_us);
        tracing::warn!(rule = wrong.fault.rule_id(), detail = wrong.detail, "the alarm service needs help");
        let sealed = |source| FeedError::Sealed { cursor: 0, source };
        let event = sealed_event(&self.feed.sealers, &transition, self.policy).map_err(sealed)?;
        match event {
            Some(event) => Ok(self.feed.store.raise_watch(&event, now_us).await?),
            None => Ok(false),
        }
    }

    async fn end(&self, over: &WatchRow, now_us: i64) -> Result<bool, FeedError> {
        let Some(alert) = self.feed.get(&over.tenant, &over.alert_id).await? else { return Ok(false) };
        let transition = Transition::end(alert, "mended", now_us);
        let sealed = |source| FeedError::Sealed { cursor: 0, source };
        let event = sealed_event(&self.feed.sealers, &transition, self.policy).map_err(sealed)?;
        match event {
            Some(event) => Ok(self.feed.store.end_watch(&event, now_us).await?),
            None => Ok(false),
        }
    }
}

fn raised(wrong: &Wrong, onset_us: i64) -> Alert {
    let Wrong { tenant, fault, detail } = wrong;
    let (kind, priority) = (AlarmKind::Technical, Priority::High);
    let subject = Subject { rule_id: fault.rule_id(), kind, priority, mdc_code: 0 };
    let mut alert = present((tenant.as_str(), ""), subject, onset_us);
    alert.alert_id = alert_id(tenant.as_str(), "", &format!("{}/{detail}", fault.rule_id()), onset_us);
    alert.detail.clone_from(detail);
    if *fault == Fault::WardUnheard {
        alert.site.clone_from(detail);
    }
    alert
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
