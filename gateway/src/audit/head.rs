//! Where this node's chain goes on after a start: the last event in the journal, or in the archive when the journal
//! was trimmed past it, whichever is later.
//!
//! Only what is durable counts. An event that a crash took before its sync is in neither: its number is given again,
//! and what it audited was not acknowledged.

use super::chain::Head;
use super::limits::HEAD_READ_BYTES;
use super::{AuditError, NodeId};
use prost::Message;
use wardline_journal::{Class, Journal, Offset};
use wardline_proto::v1::JournalRecord;
use wardline_proto::v1::journal_record::Kind;
use wardline_store::Store;
use wardline_store::catalog::Catalog;

/// Finds the head. Reads the part of the journal that is not archived, once.
pub async fn find(journal: &Journal, store: &Store, node: &NodeId) -> Result<Head, AuditError> {
    let catalog = Catalog::new(store.clone());
    let mut head = Head::START;
    if let Some(row) = catalog.audit_heads().await?.into_iter().find(|row| row.node == node.as_str()) {
        let hash = row.hash.try_into().map_err(|_length| AuditError::Head)?;
        head = Head { n: row.n, hash, relayed: row.outbox_id };
    }
    let archived = Offset::new(catalog.position().await?.unwrap_or_default());
    let (journal, node) = (journal.clone(), node.clone());
    let search = move || in_journal(&journal, &node, archived, head);
    tokio::task::spawn_blocking(search).await.map_err(|_panicked| AuditError::Unfinished)?
}

fn in_journal(journal: &Journal, node: &NodeId, from: Offset, mut head: Head) -> Result<Head, AuditError> {
    let from = from.clamp(journal.start(), journal.durable_end());
    let mut reader = journal.reader(from)?;
    loop {
        let entries = reader.next_batch(HEAD_READ_BYTES)?;
        if entries.is_empty() {
            return Ok(head);
        }
        for entry in entries.into_iter().filter(|entry| entry.class == Class::Audit) {
            let record = JournalRecord::decode(entry.payload).unwrap_or_default();
            if let Some(Kind::Audit(event)) = record.kind.filter(|kind| is_of(kind, node)) {
                head.resume(&event);
            }
        }
    }
}

fn is_of(kind: &Kind, node: &NodeId) -> bool {
    matches!(kind, Kind::Audit(event) if event.node == node.as_str())
}
