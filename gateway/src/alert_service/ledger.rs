//! The ledger's one writer: deliveries of all subscriptions, many to a transaction.
//!
//! A line is written after its event was handed to the connection. When the database is away lines wait here, then
//! subscriptions wait: nothing is sent for long that nobody could prove.

use super::listener::Declared;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use wardline_store::alert_ledger::{Hearing, Sent};
use wardline_store::{Store, StoreError};

/// Lines that wait for the writer at most; then subscriptions wait.
const QUEUE: usize = 4096;
/// Lines of one transaction at most.
const BATCH_MAX: usize = 1024;
const RETRY: Duration = Duration::from_millis(200);

enum Entry {
    Sent(Sent),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// Writes to the ledger. Cheap to clone; the writer ends with the last of them.
#[derive(Clone)]
pub(super) struct Ledger {
    store: Store,
    entries: mpsc::Sender<Entry>,
}

impl Ledger {
    /// Starts the writer.
    pub(super) fn start(store: Store) -> Self {
        let (entries, waiting) = mpsc::channel(QUEUE);
        // Ends by itself: with the service and its last subscription.
        tokio::spawn(run(store.clone(), waiting));
        Self { store, entries }
    }

    /// Notes who subscribes; its lease begins.
    pub(super) async fn open(&self, declared: &Declared) -> Result<(), StoreError> {
        self.store.open_listener(&declared.row).await
    }

    /// Notes how a subscription ended.
    pub(super) async fn closed(&self, declared: &Declared, state: Hearing) {
        let noted = self.store.set_hearing(declared.key(), declared.row.opened_at_us, state).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "the end of a subscription was not noted; its lease tells");
        }
    }

    /// Notes a delivery; waits while there is no room.
    pub(super) async fn sent(&self, sent: Sent) {
        // The writer lives as long as this does.
        let _written = self.entries.send(Entry::Sent(sent)).await;
    }

    /// Waits until everything that was noted before is written.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).await.is_ok() {
            let _done = written.await;
        }
    }
}

async fn run(store: Store, mut waiting: mpsc::Receiver<Entry>) {
    let mut entries = Vec::with_capacity(BATCH_MAX);
    while waiting.recv_many(&mut entries, BATCH_MAX).await > 0 {
        let (mut lines, mut flushed) = (Vec::new(), Vec::new());
        for entry in entries.drain(..) {
            match entry {
                Entry::Sent(sent) => lines.push(sent),
                Entry::Flush(done) => flushed.push(done),
            }
        }
        while !lines.is_empty() {
            match store.record_deliveries(&lines).await {
                Ok(()) => lines.clear(),
                Err(error) => {
                    tracing::error!(%error, lines = lines.len(), "deliveries not written, trying again");
                    // Nobody is left to whom it would matter, and the database is closed.
                    if waiting.is_closed() {
                        return;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        for done in flushed {
            let _gone = done.send(());
        }
    }
}
