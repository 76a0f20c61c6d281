//! One sink: from its cursor on, what waits goes in one request, until the sink has accepted it.

use super::post::{Answer, Poster};
use crate::alert_service::ledger::Ledger;
use crate::alert_service::listener::Declared;
use crate::alert_service::stopped;
use crate::front::now_us;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use wardline_alert::{AlertFeed, AlertMetrics, SharedFeed};
use wardline_proto::v1::AlertEvent;
use wardline_store::alert_ledger::{Confirmation, Hearing};

const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A sink that is served.
pub(super) struct Sink {
    pub(super) poster: Poster,
    pub(super) feed: AlertFeed,
    pub(super) ledger: Ledger,
    pub(super) metrics: Arc<AlertMetrics>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Told to stop.
struct Stop;

/// Where a sink stands.
struct Stand {
    declared: Declared,
    shared: SharedFeed,
    /// Everything up to here was accepted, or is not for this sink.
    cursor: u64,
    /// When something is sent to it again: a heartbeat, or what it did not take.
    due: Instant,
    /// How often in a row it took nothing.
    failures: u32,
}

impl Sink {
    /// Serves until told to stop. What was under way then is sent again by whoever comes next.
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            let stand = tokio::select! {
                opened = self.open() => opened,
                () = stopped(self.stop.clone()) => return,
            };
            match stand {
                Some(mut stand) => {
                    failures = 0;
                    let ended = self.serve(&mut stand).await;
                    if stand.failures > 0 {
                        // Whoever takes it up counts anew.
                        self.metrics.webhooks_silent.dec();
                    }
                    if let Some(Stop) = ended {
                        return self.ledger.stands(&stand.declared, Hearing::Gone).await;
                    }
                }
                None => failures += 1,
            }
            tokio::select! {
                () = sleep(backoff(failures)) => {}
                () = stopped(self.stop.clone()) => return,
            }
        }
    }

    /// Takes up where the ledger says that this sink stands; one that it does not know begins with the next event.
    async fn open(&self) -> Option<Stand> {
        let checked = &self.poster.checked;
        let opened = async {
            let store = self.feed.store();
            let known = store.listeners(Some(&checked.tenant)).await?;
            let known = known.into_iter().find(|row| row.listener == checked.listener);
            let cursor = match known {
                Some(row) => row.confirmed,
                None => store.alert_head(&checked.tenant).await?,
            };
            let row = checked.row(cursor, Hearing::Listening);
            let declared = self.ledger.open(Declared { row: Arc::new(row) }).await?;
            let shared = self.feed.shared(&checked.tenant).await?;
            Ok::<_, wardline_alert::FeedError>(Stand {
                declared,
                shared,
                cursor,
                due: Instant::now(),
                failures: 0,
            })
        };
        opened
            .await
            .inspect_err(|error| tracing::error!(%error, sink = self.poster.name, "a webhook waits"))
            .ok()
    }

    /// Serves a stand; returns when told to stop, or with nothing when the log could not be read.
    async fn serve(&self, stand: &mut Stand) -> Option<Stop> {
        let mut changed = self.feed.changed();
        loop {
            changed.borrow_and_update();
            let page = match stand.shared.after(stand.cursor, 0).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, sink = self.poster.name, "alert store cannot be read");
                    return None;
                }
            };
            if let Some(last) = page.events.last() {
                let cursor = last.cursor;
                let wants = |event: &&Arc<AlertEvent>| {
                    event.alert.as_ref().is_some_and(|alert| self.poster.checked.selection.hears(alert))
                };
                let wanted: Vec<_> = page.events.iter().filter(wants).cloned().collect();
                if !wanted.is_empty()
                    && let Err(stop) = self.deliver(stand, &wanted, cursor).await
                {
                    return Some(stop);
                }
                stand.cursor = cursor;
                continue;
            }
            tokio::select! {
                woken = changed.changed() => if woken.is_err() { return Some(Stop) },
                () = sleep_until(stand.due) => {
                    // A heartbeat is not insisted on: an alarm does not wait behind it.
                    let cursor = stand.cursor;
                    if let Err(stop) = self.try_once(stand, &[], cursor).await {
                        return Some(stop);
                    }
                }
                () = stopped(self.stop.clone()) => return Some(Stop),
            }
        }
    }

    /// Sends until the sink accepts.
    async fn deliver(&self, stand: &mut Stand, events: &[Arc<AlertEvent>], cursor: u64) -> Result<(), Stop> {
        while !self.try_once(stand, events, cursor).await? {
            tokio::select! {
                () = sleep_until(stand.due) => {}
                () = stopped(self.stop.clone()) => return Err(Stop),
            }
        }
        Ok(())
    }

    /// Sends once, and says whether the sink accepted, which is then in the ledger. `stand.due` is when to send again.
    async fn try_once(
        &self,
        stand: &mut Stand,
        events: &[Arc<AlertEvent>],
        cursor: u64,
    ) -> Result<bool, Stop> {
        let answer = tokio::select! {
            answer = self.poster.post(events, cursor) => answer,
            () = stopped(self.stop.clone()) => return Err(Stop),
        };
        let (sink, at_us) = (self.poster.name.as_str(), now_us());
        self.metrics.webhook(sink, answer.name());
        // Whatever was answered, it was handed over.
        for event in events {
            self.ledger.sent(&stand.declared.row, event.clone(), at_us).await;
        }
        let accepted = matches!(answer, Answer::Accepted);
        if accepted != (stand.failures == 0) {
            self.metrics.webhooks_silent.inc_by(if accepted { -1 } else { 1 });
            let state = if accepted { Hearing::Listening } else { Hearing::Lagging };
            self.ledger.stands(&stand.declared, state).await;
        }
        stand.failures = if accepted { 0 } else { stand.failures.saturating_add(1) };
        let wait = match answer {
            Answer::Accepted => {
                // When it cannot be noted the next one notes it; after a restart it would be sent once more.
                self.confirm(stand, cursor).await;
                self.poster.checked.heartbeat
            }
            Answer::Refused(status, wait) => {
                tracing::warn!(sink, status, failures = stand.failures, "a webhook refuses alerts");
                wait.unwrap_or_default().max(backoff(stand.failures))
            }
            Answer::Silent => {
                tracing::warn!(sink, failures = stand.failures, "a webhook does not answer");
                backoff(stand.failures)
            }
        };
        stand.due = Instant::now() + wait;
        Ok(accepted)
    }

    async fn confirm(&self, stand: &Stand, cursor: u64) {
        let row = &stand.declared.row;
        let confirmation = Confirmation {
            tenant: row.tenant.clone(),
            listener: row.listener.clone(),
            cursor,
            release: false,
            at_us: now_us(),
        };
        // The ledger's writer tells when it cannot write.
        let _lease = self.ledger.confirm(confirmation).await;
    }
}

/// Doubles, half of it by chance, so that sinks that failed together do not come back together.
fn backoff(failures: u32) -> Duration {
    let longest = (BACKOFF_FIRST * (1 << failures.min(8))).min(BACKOFF_MAX);
    let mut random = [0; 1];
    // Without chance it is the whole of it.
    let part = SystemRandom::new().fill(&mut random).map_or(255, |()| u32::from(random[0]));
    longest / 2 + longest * part / 510
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_rises_to_its_bound_and_is_never_nothing() {
        for failures in 0..100 {
            let wait = backoff(failures);
            assert!(wait >= BACKOFF_FIRST / 2 && wait <= BACKOFF_MAX, "{failures}: {wait:?}");
        }
        assert!(backoff(20) >= BACKOFF_MAX / 2);
    }
}
