//! Rows of `audit` as the events that they were.

use super::ArchiveReader;
use super::columns::Columns;
use crate::error::ArchiveError;
use crate::held::open;
use prost::Message;
use wardline_journal::{KeyPurpose, Sealer};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{AuditEvent, JournalRecord};
use wardline_store::catalog::{FileRow, HeldFile};

/// An archived audit event.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    /// Where it stood in the journal.
    pub journal_offset: u64,
    /// The event, whole: its hash can be checked.
    pub event: AuditEvent,
}

/// Reads the events of one file of `audit`, in the order of the file. Blocks. A column that the file lacks, being of an
/// earlier version, reads as the field's default.
pub fn audit_rows(reader: &ArchiveReader, file: &FileRow) -> Result<Vec<AuditRow>, ArchiveError> {
    let mut rows = Vec::new();
    for batch in reader.read(file)? {
        let batch = batch?;
        let columns = Columns(&batch);
        rows.extend((0..batch.num_rows()).map(|at| row(&columns, at)));
    }
    Ok(rows)
}

/// Reads the events among held records, those that no file of `audit` has, in the order of the journal. Blocks.
pub fn held_audit_rows(reader: &ArchiveReader, file: &HeldFile) -> Result<Vec<AuditRow>, ArchiveError> {
    let sealer = Sealer::new(reader.keys().keyring(), KeyPurpose::State, None)?;
    let records = open(&reader.place().read(&file.path)?, file, &sealer)?;
    let held = records.into_iter().skip(usize::try_from(file.taken).unwrap_or(usize::MAX));
    let event = |record: crate::held::HeldRecord| {
        let kind = JournalRecord::decode(record.payload).ok()?.kind;
        let Some(Kind::Audit(event)) = kind else { return None };
        Some(AuditRow { journal_offset: record.offset, event })
    };
    Ok(held.filter_map(event).collect())
}

fn row(columns: &Columns<'_>, row: usize) -> AuditRow {
    let event = AuditEvent {
        at_us: columns.time("at", row),
        action: columns.text("action", row),
        actor: columns.text("actor", row),
        outcome: columns.text("outcome", row),
        target: columns.text("target", row),
        node: columns.text("node", row),
        n: columns.number("n", row),
        prev_hash: columns.bytes("prev_hash", row),
        hash: columns.bytes("hash", row),
        outbox_id: columns.number("outbox_id", row),
    };
    AuditRow { journal_offset: columns.number("journal_offset", row), event }
}
