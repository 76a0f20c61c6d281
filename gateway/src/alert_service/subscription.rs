//! One subscription: a task that reads the log from its cursor and feeds a bounded queue.
//!
//! On a slow consumer nothing is dropped and nothing piles up: the task waits for room, and after a while gives up. The
//! stream then ends, behind what was queued, with a status that names the cursor to resume from.

use super::ledger::Ledger;
use super::listener::Declared;
use crate::front::now_us;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::Status;
use wardline_alert::{AlertFeed, AlertMetrics, Selection};
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{AlertEvent, Heartbeat, SubscribeResponse};
use wardline_store::alert_ledger::{Hearing, Sent};

/// Events read from the store at a time.
const PAGE: u32 = 256;

/// Everything that a subscription needs.
pub(super) struct Subscription {
    pub(super) feed: AlertFeed,
    pub(super) ledger: Ledger,
    pub(super) declared: Declared,
    pub(super) selection: Selection,
    pub(super) cursor: u64,
    pub(super) heartbeat: Duration,
    pub(super) slow_after: Duration,
    pub(super) metrics: Arc<AlertMetrics>,
    pub(super) shutdown: watch::Receiver<bool>,
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
    pub(super) fn start(mut self, queue: usize, place: OwnedSemaphorePermit) -> super::Events {
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
            self.ledger.closed(&self.declared, state).await;
        });
        Box::pin(futures::stream::unfold(open, Open::next))
    }

    /// Feeds the stream for as long as somebody takes from it. Never returns `Ok`.
    async fn run(&mut self, sender: &Sender<SubscribeResponse>) -> Result<Infallible, Ended> {
        let mut changed = self.feed.changed();
        let mut heartbeat = tokio::time::interval(self.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Seen before the read: what is committed during it wakes the next turn.
            changed.borrow_and_update();
            self.catch_up(sender).await?;
            tokio::select! {
                woken = changed.changed() => woken.map_err(|_| self.told("the alarm engine has stopped"))?,
                _ = heartbeat.tick() => {
                    let beat = Heartbeat {
                        cursor: self.cursor,
                        at_us: now_us(),
                        engine_lag_ms: self.feed.lag_ms(),
                    };
                    self.send(sender, Kind::Heartbeat(beat)).await?;
                }
                () = super::stopped(self.shutdown.clone()) => {
                    return Err(self.told("the gateway is shutting down"));
                }
                () = sender.closed() => return Err(Ended::Gone),
            }
        }
    }

    async fn catch_up(&mut self, sender: &Sender<SubscribeResponse>) -> Result<(), Ended> {
        loop {
            let page = self.feed.since(self.declared.tenant(), self.cursor, PAGE).await;
            let page = page.map_err(|error| Ended::Told(super::error::unreadable(error)))?;
            let last = page.len() < PAGE as usize;
            for event in page {
                let cursor = event.cursor;
                if let Some(alert_id) = self.wanted(&event) {
                    self.send(sender, Kind::Event(event)).await?;
                    self.delivered(cursor, alert_id).await;
                }
                self.cursor = cursor;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Returns the alert of an event that the subscriber wants.
    fn wanted(&self, event: &AlertEvent) -> Option<String> {
        let alert = event.alert.as_ref()?;
        self.selection.wants(alert).then(|| alert.alert_id.clone())
    }

    async fn delivered(&self, cursor: u64, alert_id: String) {
        let (tenant, listener) = (self.declared.tenant().clone(), self.declared.row.listener.clone());
        self.ledger.sent(Sent { tenant, listener, cursor, alert_id, at_us: now_us() }).await;
    }

    async fn send(&self, sender: &Sender<SubscribeResponse>, kind: Kind) -> Result<(), Ended> {
        use mpsc::error::SendTimeoutError::{Closed, Timeout};
        let response = SubscribeResponse { kind: Some(kind) };
        match sender.send_timeout(response, self.slow_after).await {
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
    receiver: Receiver<SubscribeResponse>,
    last: Arc<OnceLock<Status>>,
    metrics: Arc<AlertMetrics>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    /// Yields what is queued, then the status, then nothing.
    async fn next(mut self) -> Option<(Result<SubscribeResponse, Status>, Self)> {
        if let Some(response) = self.receiver.recv().await {
            return Some((Ok(response), self));
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
