//! Rows of `quarantine` as the publishes that they were.

use super::ArchiveReader;
use super::columns::Columns;
use crate::error::ArchiveError;
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use wardline_store::catalog::FileRow;
use wardline_store::replay::FrameName;

/// A publish that was acknowledged and is not good.
#[derive(Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its name: where it stood in the journal.
    pub frame: FrameName,
    /// Who sent it; empty for a record that this version does not know.
    pub device: String,
    /// Lane, epoch and seq, where it has them.
    pub position: Option<(String, u64, u64)>,
    /// When the front accepted it, unix microseconds.
    pub ingest_us: i64,
    /// Code of docs/errors.
    pub reason: String,
    /// How it breaks its profile.
    pub detail: String,
    /// The profile that it was judged by.
    pub profile: String,
    /// `telemetry`, `alarm`, `event`, `response` or `unknown`.
    pub channel: String,
    /// `frame`, `json`, or `record`: a journal record whole.
    pub format: String,
    /// Serial of the certificate that it came by.
    pub certificate_serial: Vec<u8>,
    /// Exactly as it came.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Quarantined {
    /// Shows its name only: what it holds may be of a patient.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quarantined").field("frame", &self.frame).finish_non_exhaustive()
    }
}

/// Reads the publishes of one file of `quarantine`, in its order. Blocks; the file is read whole.
pub fn quarantine_rows(reader: &ArchiveReader, file: &FileRow) -> Result<Vec<Quarantined>, ArchiveError> {
    quarantined(reader.read(file)?, file)
}

/// Reads the publishes of an open file.
pub(crate) fn quarantined(
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    file: &FileRow,
) -> Result<Vec<Quarantined>, ArchiveError> {
    let mut rows = Vec::new();
    for batch in batches {
        let batch = batch?;
        let columns = Columns(&batch);
        rows.extend((0..batch.num_rows()).map(|at| row(&columns, file, at)));
    }
    Ok(rows)
}

fn row(columns: &Columns<'_>, file: &FileRow, at: usize) -> Quarantined {
    let has_position = columns.column("seq", at).is_some();
    let position = || (columns.text("lane", at), columns.number("epoch", at), columns.number("seq", at));
    let offset = columns.number("journal_offset", at);
    Quarantined {
        frame: FrameName { tenant: file.tenant.clone(), partition: file.partition, offset },
        device: columns.text("device", at),
        position: has_position.then(position),
        ingest_us: columns.time("ingest_time", at),
        reason: columns.text("reason", at),
        detail: columns.text("detail", at),
        profile: columns.text("profile", at),
        channel: columns.text("channel", at),
        format: columns.text("format", at),
        certificate_serial: columns.bytes("certificate_serial", at),
        payload: columns.bytes("payload", at),
    }
}
