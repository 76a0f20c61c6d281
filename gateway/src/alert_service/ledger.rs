//! The ledger's one writer: deliveries and confirmations of all subscriptions, many to a transaction.
//!
//! A line is written after its event was handed to the connection, and before any confirmation of it. When the database
//! is away lines wait here, then subscriptions wait: nothing is sent for long that nobody could prove.

use super::listener::Declared;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use wardline_proto::v1::AlertEvent;
use wardline_store::alert_ledger::{Confirmation, Hearing, ListenerRow, Sent};
use wardline_store::{Store, StoreError};

/// Entries that wait for the writer at most; then subscriptions wait.
const QUEUE: usize = 8192;
/// Entries of one transaction at most.
const BATCH_MAX: usize = 2048;
/// The writer rests this long between two transactions: what comes meanwhile goes in one, and the alarm engine, which
/// writes into the same database, does not wait behind many small ones.
const REST: Duration = Duration::from_millis(10);
const RETRY: Duration = Duration::from_millis(200);

/// What a confirmation came to; dropped when it was not taken.
type Lease = oneshot::Sender<Option<i64>>;

/// The ledger could not be written.
#[derive(Debug)]
pub(super) struct NotTaken;

enum Entry {
    Sent {
        to: Arc<ListenerRow>,
        event: Arc<AlertEvent>,
        at_us: i64,
    },
    Confirm(Confirmation, Lease),
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

    /// Notes who subscribes; its lease begins. Who wants no lease takes nobody's: its lines stand beside those of the
    /// listener of its name. Returns who it is in the ledger.
    pub(super) async fn open(&self, declared: Declared) -> Result<Declared, StoreError> {
        if self.store.open_listener(&declared.row).await? {
            return Ok(declared);
        }
        let beside = declared.beside();
        self.store.open_listener(&beside.row).await?;
        Ok(beside)
    }

    /// Notes how a listener stands.
    pub(super) async fn stands(&self, declared: &Declared, state: Hearing) {
        let noted = self.store.set_hearing(declared.key(), declared.row.opened_at_us, state).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "how a listener stands was not noted; its lease tells");
        }
    }

    /// Notes a delivery; waits while there is no room.
    pub(super) async fn sent(&self, to: &Arc<ListenerRow>, event: Arc<AlertEvent>, at_us: i64) {
        // The writer lives as long as this does.
        let _written = self.entries.send(Entry::Sent { to: to.clone(), event, at_us }).await;
    }

    /// Accepts deliveries; what was noted before is in the ledger first. Returns when the lease ends.
    pub(super) async fn confirm(&self, confirmation: Confirmation) -> Result<Option<i64>, NotTaken> {
        let (answer, answered) = oneshot::channel();
        self.entries.send(Entry::Confirm(confirmation, answer)).await.map_err(|_ended| NotTaken)?;
        answered.await.map_err(|_dropped| NotTaken)
    }

    /// Waits until everything that was noted before is written.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).await.is_ok() {
            let _done = written.await;
        }
    }
}

#[derive(Default)]
struct Batch {
    lines: Vec<Sent>,
    confirmations: Vec<Confirmation>,
    leases: Vec<Lease>,
    flushed: Vec<oneshot::Sender<()>>,
}

async fn run(store: Store, mut waiting: mpsc::Receiver<Entry>) {
    let mut entries = Vec::with_capacity(BATCH_MAX);
    while waiting.recv_many(&mut entries, BATCH_MAX).await > 0 {
        let mut batch = Batch::default();
        entries.drain(..).for_each(|entry| batch.add(entry));
        while let Err(error) = batch.write(&store).await {
            tracing::error!(%error, lines = batch.lines.len(), "deliveries not written, trying again");
            // Whoever waits for a confirmation is told that it was not taken; the lines stay.
            batch.confirmations.clear();
            batch.leases.clear();
            // Nobody is left to whom it would matter, and the database is closed.
            if waiting.is_closed() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
        if waiting.len() < BATCH_MAX && !waiting.is_closed() {
            tokio::time::sleep(REST).await;
        }
    }
}

impl Batch {
    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Sent { to, event, at_us } => self.lines.push(Sent {
                tenant: to.tenant.clone(),
                listener: to.listener.clone(),
                cursor: event.cursor,
                alert_id: event.alert.as_ref().map(|alert| alert.alert_id.clone()).unwrap_or_default(),
                at_us,
            }),
            Entry::Confirm(confirmation, lease) => {
                self.confirmations.push(confirmation);
                self.leases.push(lease);
            }
            Entry::Flush(done) => self.flushed.push(done),
        }
    }

    async fn write(&mut self, store: &Store) -> Result<(), StoreError> {
        let until_us = match (self.lines.is_empty(), self.confirmations.is_empty()) {
            (true, true) => Vec::new(),
            _ => store.write_ledger(&self.lines, &self.confirmations).await?,
        };
        for (lease, until_us) in self.leases.drain(..).zip(until_us) {
            let _gone = lease.send(until_us);
        }
        for done in self.flushed.drain(..) {
            let _gone = done.send(());
        }
        Ok(())
    }
}
