//! Rows of `audit` as the events that they were.

use super::ArchiveReader;
use super::columns::Columns;
use crate::error::ArchiveError;
use wardline_proto::v1::AuditEvent;
use wardline_store::catalog::FileRow;

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
