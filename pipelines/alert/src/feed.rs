//! What subscribers read: durable events of one tenant after a cursor, and a signal that there are new ones.

mod shared;

pub(crate) use shared::Rings;
pub use shared::{Page, SharedFeed};

use crate::erase::is_erased;
use crate::limits::{FEED_PAGE_MAX, LIST_SCAN_MAX, STRIP_US};
use crate::progress::Progress;
use crate::rules::Rules;
use crate::seal::{Sealers, event_aad};
use crate::selection::Selection;
use crate::wards::Wards;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wardline_journal::KeyError;
use wardline_proto::v1::{AlarmKind, Alert, AlertEvent, AlertState, WaveformWindow};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::alert_signal::{Said, Signal};
use wardline_store::alerts::StoredEvent;
use wardline_store::bell::Matter;
use wardline_store::{Store, StoreError};

/// How often the log is looked at for what others have added.
const FOLLOW: Duration = Duration::from_millis(250);

/// Says why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event does not open: a key is gone, or the row was changed.
    #[error("alert event {cursor}: {source}")]
    Sealed {
        /// Its cursor.
        cursor: u64,
        /// What the key said.
        source: KeyError,
    },
    /// An opened event does not decode.
    #[error("alert event {cursor} does not decode")]
    Damaged {
        /// Its cursor.
        cursor: u64,
    },
}

/// Reads alert events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AlertFeed {
    pub(crate) store: Store,
    pub(crate) sealers: Arc<Sealers>,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) wards: Wards,
    pub(crate) rings: Rings,
    pub(crate) rules: Arc<Rules>,
}

impl AlertFeed {
    /// Returns the rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns at most `limit` (and [`FEED_PAGE_MAX`]) events of `tenant` after `cursor`, in order.
    pub async fn since(
        &self,
        tenant: &TenantId,
        cursor: u64,
        limit: u32,
    ) -> Result<Vec<AlertEvent>, FeedError> {
        let (mut cursor, limit) = (cursor, limit.min(FEED_PAGE_MAX));
        let erased = self.store.erased_ranges().await?;
        let mut events = Vec::new();
        // A page that is not full says that the log has no more: what is left out is made up for.
        while events.len() < limit as usize {
            let rest = limit - u32::try_from(events.len()).unwrap_or(limit);
            let stored = self.store.alert_events(tenant, cursor, rest).await?;
            let Some(last) = stored.last() else { break };
            cursor = last.cursor;
            let is_all = stored.len() < rest as usize;
            for event in stored {
                let event = self.open(tenant, event)?;
                if !event.alert.as_ref().is_some_and(|alert| is_erased(&erased, alert)) {
                    events.push(event);
                }
            }
            if is_all {
                break;
            }
        }
        Ok(events)
    }

    /// Returns the alerts of `tenant`, newest onset first.
    pub async fn list(
        &self,
        tenant: &TenantId,
        include_ended: bool,
        limit: u32,
    ) -> Result<Vec<Alert>, FeedError> {
        self.select(tenant, include_ended, &Selection::default(), limit).await
    }

    /// Returns the alerts of `tenant` that are selected, newest onset first. It looks through [`LIST_SCAN_MAX`] at most.
    pub async fn select(
        &self,
        tenant: &TenantId,
        include_ended: bool,
        selection: &Selection,
        limit: u32,
    ) -> Result<Vec<Alert>, FeedError> {
        let (mut listed, mut seen, mut before) = (Vec::new(), 0, None);
        let erased = self.store.erased_ranges().await?;
        while seen < LIST_SCAN_MAX && listed.len() < limit as usize {
            let last = before.as_ref().map(|(onset_us, id): &(i64, String)| (*onset_us, id.as_str()));
            let page = self.store.alerts(tenant, include_ended, last, FEED_PAGE_MAX).await?;
            let Some(row) = page.last() else { break };
            before = Some((row.onset_us, row.event.alert_id.clone()));
            seen += FEED_PAGE_MAX;
            for row in page {
                let mut alert = self.open(tenant, row.event)?.alert.unwrap_or_default();
                if let Some(signal) = &row.signal {
                    tell(&mut alert, signal);
                }
                if selection.wants(&alert) && !is_erased(&erased, &alert) && listed.len() < limit as usize {
                    listed.push(alert);
                }
            }
        }
        Ok(listed)
    }

    /// Returns an alert as it is now; `None` when the tenant has no such alert.
    pub async fn get(&self, tenant: &TenantId, alert_id: &str) -> Result<Option<Alert>, FeedError> {
        let stored = self.store.alert(tenant, alert_id).await?;
        let event = stored.map(|event| self.open(tenant, event)).transpose()?;
        let alert = event.and_then(|event| event.alert);
        if alert.is_none() {
            return Ok(None);
        }
        let erased = self.store.erased_ranges().await?;
        Ok(alert.filter(|alert| !is_erased(&erased, alert)))
    }

    /// Returns the cursor of the tenant's last event; 0 before the first.
    pub async fn head(&self, tenant: &TenantId) -> Result<u64, FeedError> {
        Ok(self.store.alert_head(tenant).await?)
    }

    /// Returns a watch that changes when events became durable, of any tenant.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns how far the engine is behind the journal, milliseconds; it grows when the engine is dead. None on a node of
    /// several that has no engine.
    pub fn lag_ms(&self) -> Option<u64> {
        self.progress.lag_ms()
    }

    /// Returns which device is in which ward.
    pub fn wards(&self) -> &Wards {
        &self.wards
    }

    /// Returns the database, for the ledger.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Follows what other processes add to the log, and the wards, until it is told to stop: for a node that is not the
    /// only one. Failures are tried again at the next turn.
    pub async fn follow(self, mut stop: watch::Receiver<bool>) {
        self.progress.is_of_parts();
        let mut turn = interval(FOLLOW);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = 0;
        let mut bell = self.store.bell(Matter::Registry);
        loop {
            tokio::select! {
                _gone = stop.wait_for(|stop| *stop) => return,
                _at = turn.tick() => {}
                () = bell.rung() => {}
            }
            let seen = self.store.alert_heads().await;
            match (&seen, &self.wards.refresh(&self.store).await) {
                (Ok(seen), Ok(())) if *seen != known => {
                    known = *seen;
                    self.wake();
                }
                (Ok(_), Ok(())) => {}
                (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, "the alert log is not followed"),
            }
        }
    }

    /// Notes that the engine lives, for a watch over engines elsewhere.
    pub fn beat(&self) {
        self.progress.beat();
    }

    /// Wakes whoever follows [`AlertFeed::changed`].
    pub(crate) fn wake(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Opens an event: the sealed condition, and over it what is said of its signal.
    pub(crate) fn open(&self, tenant: &TenantId, stored: StoredEvent) -> Result<AlertEvent, FeedError> {
        let cursor = stored.cursor;
        let sealed = |source| FeedError::Sealed { cursor, source };
        let aad = event_aad(tenant, &stored.alert_id);
        let plain =
            self.sealers.of(Some(tenant)).and_then(|s| s.open(&aad, &stored.sealed)).map_err(sealed)?;
        let damaged = |_| FeedError::Damaged { cursor };
        let mut event = AlertEvent::decode(plain.as_slice()).map_err(damaged)?;
        (event.cursor, event.stored_at_us) = (cursor, stored.stored_at_us);
        let said = stored.said.map(|said| Said::decode(said.as_slice())).transpose().map_err(damaged)?;
        if let Some(said) = said {
            event.phase = if said.phase == 0 { event.phase } else { said.phase };
            event.at_us = if said.at_us == 0 { event.at_us } else { said.at_us };
            if !said.reason.is_empty() {
                event.reason = said.reason;
            }
            if let Some(alert) = &mut event.alert {
                tell(alert, &said.signal);
            }
        }
        if let Some(alert) = &mut event.alert
            && let Ok(device) = DeviceId::new(&alert.device)
        {
            // The engine's own says what there was.
            alert.strip = alert.strip.take().or_else(|| strip(alert));
            alert.site = self.wards.site_of(&DeviceKey { tenant: tenant.clone(), device });
        }
        Ok(event)
    }
}

/// Says where the waveforms around an onset are: of what was measured in a patient.
fn strip(alert: &Alert) -> Option<WaveformWindow> {
    (alert.kind() == AlarmKind::Physiological).then(|| WaveformWindow {
        device: alert.device.clone(),
        from_us: alert.onset_us.saturating_sub(STRIP_US),
        to_us: alert.onset_us.saturating_add(STRIP_US),
        ..WaveformWindow::default()
    })
}

/// Puts the signal over a condition. Alerts of before signals keep what they say of themselves.
fn tell(alert: &mut Alert, signal: &Signal) {
    if signal.state() != AlertState::Unspecified {
        alert.state = signal.state;
        alert.signal = Some(signal.told());
    }
}
