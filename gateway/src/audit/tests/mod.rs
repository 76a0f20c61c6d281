//! The chain on a disk that fails and loses power, with a real journal, keyring and database.

mod chain;
mod relay;
mod verify;

use super::{Auditor, NodeId};
use prost::Message;
use std::sync::Arc;
use tempfile::TempDir;
use wardline_journal::fault::FaultStorage;
use wardline_journal::{Journal, JournalOptions, Keyring};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{AuditEvent, JournalRecord};
use wardline_store::Store;

/// A data directory whose journal lies on a disk in memory.
pub(super) struct Rig {
    _dir: TempDir,
    pub(super) disk: FaultStorage,
    pub(super) keyring: Arc<Keyring>,
    pub(super) store: Store,
    pub(super) node: NodeId,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&dir.path().join("keyring.json")).unwrap());
        let store = Store::open(&dir.path().join("wardline.db")).await.unwrap();
        let node = NodeId::ensure(&dir.path().join("node-id")).unwrap();
        Self { disk: FaultStorage::new(12, 64 << 20), _dir: dir, keyring, store, node }
    }

    pub(super) fn journal(&self) -> Journal {
        let options =
            JournalOptions { segment_bytes: 256 << 10, reserve_bytes: 0, ..JournalOptions::default() };
        Journal::open(options, self.disk.process(), self.keyring.clone()).unwrap()
    }

    pub(super) async fn auditor(&self, journal: &Journal) -> Auditor {
        Auditor::open(journal.clone(), &self.store, self.node.clone()).await.unwrap()
    }
}

/// Returns the events that are durable, in the journal's order.
pub(super) fn events(journal: &Journal) -> Vec<AuditEvent> {
    let mut reader = journal.reader(journal.start()).unwrap();
    let mut events = Vec::new();
    loop {
        let entries = reader.next_batch(1 << 20).unwrap();
        if entries.is_empty() {
            return events;
        }
        for entry in entries {
            if let Some(Kind::Audit(event)) = JournalRecord::decode(entry.payload).unwrap().kind {
                events.push(event);
            }
        }
    }
}
