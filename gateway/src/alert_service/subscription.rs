//! One subscription: a task that reads from its cursor on, from what all subscribers of the tenant share, and feeds a
//! bounded queue.
//!
//! On a slow consumer nothing is dropped and nothing piles up: the task waits for room, and after a while gives up. The
//! stream then ends, behind what was queued, with a status that names the cursor to resume from.

use super::ledger::Ledger;
use super::listener::Declared;
use super::places::Place;
use crate::front::now_us;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
use tonic::Status;
use wardline_alert::{AlertFeed, AlertMetrics, Selection, SharedFeed};
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{AlertEvent, Heartbeat, SubscribeResponse};
use wardline_store::alert_ledger::Hearing;

/// What a heartbeat says is this old at most: subscribers share a read of the log for theirs.
const BEAT_AGE_US: i64 = 500_000;

/// Everything that a subscription needs.
pub(super) struct Subscription {
    pub(super) feed: AlertFeed,
    pub(super) shared: SharedFeed,
    pub(super) ledger: Ledger,
    pub(super) declared: Declared,
    pub(super) selection: Selection,
    pub(super) cursor: u64,
    pub(super) heartbeat: Duration,
    pub(super) slow_after: Duration,
    pub(super) metrics: Arc<AlertMetrics>,
    pub(super) shutdown: watch::Receiver<bool>,
}

/// What waits for the connection; events are the ones that all subscribers share.
enum Queued {
    Event(Arc<AlertEvent>),
    Beat(Heartbeat),
}

/// Why the task stops feeding.
enum Ended {
    /// The subscriber is gone: nobody to tell.
    Gone,
    /// It does not keep up.
    Slow(Status),
    Told(Status),
}

impl Subscription {
    /// Starts the task and returns its stream. `place` is given back when the stream is dropped.
    pub(super) fn start(mut self, queue: usize, place: Place) -> super::Events {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let last = Arc::new(OnceLock::new());
        let open = Open { receiver, last: last.clone(), metrics: self.metrics.clone(), _place: place };
        self.metrics.subscribers.inc();
        // Ends by itself: when the stream is dropped, the consumer is cut, or the gateway shuts down.
        tokio::spawn(async move {
            let Err(ended) = self.run(&sender).await;
            let state = if matches!(ended, Ended::Slow(_)) { Hearing::Lagging } else { Hearing::Gone };
            if let Ended::Told(status) | Ended::Slow(status) = ended {
                tracing::info!(reason = status.message(), "alert subscription ended");
                // Set once, here; the sender is dropped after it.
                let _first = last.set(status);
            }
            drop(sender);
            self.ledger.stands(&self.declared, state).await;
        });
        Box::pin(futures::stream::unfold(open, Open::next))
    }

    /// Feeds the stream for as long as somebody takes from it. Never returns `Ok`.
    async fn run(&mut self, sender: &Sender<Queued>) -> Result<Infallible, Ended> {
        let mut changed = self.feed.changed();
        let mut heartbeat = tokio::time::interval(self.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A heartbeat says that nothing was missed as of a time: the log was read about when it came due.
        let mut beat_us = None;
        loop {
            // Seen before the read: what is committed during it wakes the next turn.
            changed.borrow_and_update();
            let as_of_us = self.catch_up(sender, beat_us.unwrap_or(0)).await?;
            if beat_us.take().is_some() {
                let engine_lag_ms = self.feed.lag_ms();
                let beat = Heartbeat { cursor: self.cursor, at_us: as_of_us, engine_lag_ms };
                self.send(sender, Queued::Beat(beat)).await?;
            }
            tokio::select! {
                woken = changed.changed() => woken.map_err(|_| self.told("the alarm engine has stopped"))?,
                _ = heartbeat.tick() => beat_us = Some(now_us() - BEAT_AGE_US),
                () = super::stopped(self.shutdown.clone()) => {
                    return Err(self.told("the gateway is shutting down"));
                }
                () = sender.closed() => return Err(Ended::Gone),
            }
        }
    }

    /// Sends all that there is, and returns as of when; the log is read not before `not_before_us`.
    async fn catch_up(&mut self, sender: &Sender<Queued>, not_before_us: i64) -> Result<i64, Ended> {
        loop {
            let page = self.shared.after(self.cursor, not_before_us).await;
            let page = page.map_err(|error| Ended::Told(super::error::unreadable(error)))?;
            if page.events.is_empty() {
                return Ok(page.as_of_us);
            }
            for event in page.events {
                let cursor = event.cursor;
                if event.alert.as_ref().is_some_and(|alert| self.selection.hears(alert)) {
                    self.send(sender, Queued::Event(event.clone())).await?;
                    self.ledger.sent(&self.declared.row, event, now_us()).await;
                }
                self.cursor = cursor;
            }
        }
    }

    async fn send(&self, sender: &Sender<Queued>, queued: Queued) -> Result<(), Ended> {
        use mpsc::error::SendTimeoutError::{Closed, Timeout};
        match sender.send_timeout(queued, self.slow_after).await {
            Ok(()) => Ok(()),
            Err(Closed(_)) => Err(Ended::Gone),
            Err(Timeout(_)) => {
                self.metrics.subscribers_cut.inc();
                let message =
                    format!("the subscriber does not keep up; resume by cursor (next after {})", self.cursor);
                Err(Ended::Slow(Status::resource_exhausted(message)))
            }
        }
    }

    fn told(&self, why: &str) -> Ended {
        Ended::Told(Status::unavailable(format!("{why}; resume by cursor (next after {})", self.cursor)))
    }
}

/// The stream's side of a subscription.
struct Open {
    receiver: Receiver<Queued>,
    last: Arc<OnceLock<Status>>,
    metrics: Arc<AlertMetrics>,
    _place: Place,
}

impl Open {
    /// Yields what is queued, then the status, then nothing.
    async fn next(mut self) -> Option<(Result<SubscribeResponse, Status>, Self)> {
        if let Some(queued) = self.receiver.recv().await {
            let kind = Some(match queued {
                Queued::Event(event) => Kind::Event(AlertEvent::clone(&event)),
                Queued::Beat(beat) => Kind::Heartbeat(beat),
            });
            return Some((Ok(SubscribeResponse { kind }), self));
        }
        let status = self.last.get().cloned()?;
        self.last = Arc::default();
        Some((Err(status), self))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.subscribers.dec();
    }
}
