//! Rows of `audit` as the events that they were.

use super::ArchiveReader;
use crate::error::ArchiveError;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::DataType;
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
        rows.extend((0..batch.num_rows()).map(|row| columns.row(row)));
    }
    Ok(rows)
}

struct Columns<'a>(&'a RecordBatch);

impl Columns<'_> {
    fn row(&self, row: usize) -> AuditRow {
        let event = AuditEvent {
            at_us: self.time("at", row),
            action: self.text("action", row),
            actor: self.text("actor", row),
            outcome: self.text("outcome", row),
            target: self.text("target", row),
            node: self.text("node", row),
            n: self.number("n", row),
            prev_hash: self.bytes("prev_hash", row),
            hash: self.bytes("hash", row),
            outbox_id: self.number("outbox_id", row),
        };
        AuditRow { journal_offset: self.number("journal_offset", row), event }
    }

    fn column(&self, name: &str, row: usize) -> Option<&dyn Array> {
        self.0.column_by_name(name).map(|column| &**column).filter(|column| !column.is_null(row))
    }

    fn time(&self, name: &str, row: usize) -> i64 {
        let column = self.column(name, row).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        column.map_or(0, |times| times.value(row))
    }

    fn number(&self, name: &str, row: usize) -> u64 {
        let column = self.column(name, row).and_then(|c| c.as_primitive_opt::<UInt64Type>());
        column.map_or(0, |numbers| numbers.value(row))
    }

    fn bytes(&self, name: &str, row: usize) -> Vec<u8> {
        let column = self.column(name, row).and_then(|c| c.as_binary_opt::<i32>());
        column.map_or_else(Vec::new, |bytes| bytes.value(row).to_vec())
    }

    fn text(&self, name: &str, row: usize) -> String {
        let text = self.column(name, row).and_then(|column| match column.data_type() {
            DataType::Utf8 => Some(column.as_string_opt::<i32>()?.value(row)),
            DataType::Dictionary(..) => {
                let terms = column.as_dictionary_opt::<Int32Type>()?;
                Some(terms.values().as_any().downcast_ref::<StringArray>()?.value(terms.key(row)?))
            }
            _ => None,
        });
        text.unwrap_or_default().to_owned()
    }
}
