//! The desk: acknowledges and pauses alerts, and lets time act on them. Every act is an event in the log.

use crate::feed::{AlertFeed, FeedError};
use crate::limits::{
    ALERTS_KEEP_US, DELIVERIES_KEEP_US, DUE_PER_TURN_MAX, FORGET_BATCHES_MAX, PAUSE_SECONDS_MAX,
};
use crate::progress::now_us;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wardline_proto::TenantId;
use wardline_proto::v1::Alert;
use wardline_store::StoreError;
use wardline_store::alert_acts::Acted;
use wardline_store::alert_signal::Act;
use wardline_store::outbox::Change;

/// How late a timer may be: it is looked at this often.
const TURN: Duration = Duration::from_millis(250);
/// Turns between two cleanings of the ledger: an hour.
const TURNS_PER_TRIM: u64 = 4 * 3600;
/// Who time is.
const TIME: &str = "wardline";

/// What became of an act.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The alert after it.
    Done(Box<Alert>),
    /// The alert is over.
    Over,
    /// The tenant has no such alert.
    Missing,
    /// A pause is longer than [`PAUSE_SECONDS_MAX`].
    TooLong,
}

/// Acts on alerts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AlertDesk {
    feed: AlertFeed,
}

impl AlertDesk {
    /// Makes the desk of a feed's log.
    pub fn new(feed: AlertFeed) -> Self {
        Self { feed }
    }

    /// Says that somebody sees to an alert.
    pub async fn acknowledge(
        &self,
        tenant: &TenantId,
        alert_id: &str,
        by: &Change,
    ) -> Result<Outcome, FeedError> {
        let act = Act::Acknowledge { by: by.actor.clone() };
        self.act(tenant, alert_id, &act, by).await
    }

    /// Pauses the signal of an alert; 0 seconds end the pause.
    pub async fn pause(
        &self,
        tenant: &TenantId,
        alert_id: &str,
        seconds: u32,
        by: &Change,
    ) -> Result<Outcome, FeedError> {
        if seconds > PAUSE_SECONDS_MAX {
            return Ok(Outcome::TooLong);
        }
        let until_us = by.at_us.saturating_add(i64::from(seconds) * 1_000_000);
        let act = match seconds {
            0 => Act::Resume,
            _ => Act::Pause { by: by.actor.clone(), until_us },
        };
        self.act(tenant, alert_id, &act, by).await
    }

    /// Lets time act until it is told to stop. What came due while nobody was here is acted on first.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut turn = interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turns = 0_u64;
        loop {
            tokio::select! {
                _gone = stop.wait_for(|stop| *stop) => return,
                _at = turn.tick() => {}
            }
            if let Err(error) = self.expire(now_us()).await {
                tracing::error!(%error, "alerts that are due could not be seen to, trying again");
            }
            if turns.is_multiple_of(TURNS_PER_TRIM)
                && let Err(error) = self.forget(now_us()).await
            {
                tracing::warn!(%error, "old alerts and deliveries were not forgotten");
            }
            turns += 1;
        }
    }

    /// Lets time act once: ends pauses, escalates, alarms again. Returns how many alerts changed.
    pub async fn expire(&self, now_us: i64) -> Result<usize, StoreError> {
        let due = self.feed.store.alerts_due(now_us, DUE_PER_TURN_MAX).await?;
        let by = Change::new(TIME, now_us);
        let mut changed = 0;
        for alert in due {
            let acted =
                self.feed.store.act_on_alert(&alert.tenant, &alert.alert_id, &Act::Expire, &by).await?;
            changed += usize::from(matches!(acted, Acted::Done(_)));
        }
        if changed > 0 {
            self.feed.wake();
        }
        Ok(changed)
    }

    /// Forgets what is long over and accepted. Returns how many alerts.
    pub async fn forget(&self, now_us: i64) -> Result<u64, StoreError> {
        let store = &self.feed.store;
        store.trim_deliveries(now_us - DELIVERIES_KEEP_US).await?;
        store.forget_listeners(now_us - ALERTS_KEEP_US).await?;
        let mut forgotten = 0;
        for _batch in 0..FORGET_BATCHES_MAX {
            match store.forget_alerts(now_us - ALERTS_KEEP_US).await? {
                0 => break,
                alerts => forgotten += alerts,
            }
        }
        if forgotten > 0 {
            tracing::info!(forgotten, "alerts that were long over are forgotten");
        }
        Ok(forgotten)
    }

    async fn act(
        &self,
        tenant: &TenantId,
        alert_id: &str,
        act: &Act,
        by: &Change,
    ) -> Result<Outcome, FeedError> {
        let event = match self.feed.store.act_on_alert(tenant, alert_id, act, by).await? {
            Acted::Missing => return Ok(Outcome::Missing),
            Acted::Over => return Ok(Outcome::Over),
            Acted::Unchanged(event) => event,
            Acted::Done(event) => {
                self.feed.wake();
                event
            }
        };
        let alert = self.feed.open(tenant, event)?.alert.unwrap_or_default();
        Ok(Outcome::Done(Box::new(alert)))
    }
}
