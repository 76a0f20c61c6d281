//! Reads the archive without a SQL engine: committed files, and their rows with the keyring.
//!
//! Works beside a running gateway: it changes nothing, and one listing is one commit's view. A file is checked
//! against the catalog before it is decrypted, so a file that was swapped is never taken for another.

mod audit;
mod audited;
mod cells;
mod columns;
mod kept;
mod measured;
mod quarantine;
mod waves;
mod widened;

pub use audit::{AuditRow, audit_rows, held_audit_rows};
pub use audited::{audit_query, audit_read, local_actor, query_target};
pub use cells::{Row, newest_rows};
pub(crate) use columns::Columns;
pub use kept::Rows;
pub use measured::{Measured, Said, measured_rows};
pub(crate) use quarantine::quarantined;
pub use quarantine::{Quarantined, quarantine_rows};
pub use waves::{WaveBlock, WavesWanted, wave_blocks};
pub(crate) use widened::rows_of;

use crate::completeness::{HourReport, about, report};
use crate::dedup::Intervals;
use crate::erased::Erased;
use crate::error::ArchiveError;
use crate::files::Files;
use crate::keys::{ArchiveKeys, of_parquet};
use crate::options::ArchiveOptions;
use crate::place::Place;
use crate::streams::{Counts, counts_of};
use crate::table::Table;
use crate::verify::Shredded;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ring::digest::{SHA256, digest};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use wardline_journal::Keyring;
use wardline_proto::PartitionId;
use wardline_store::Store;
use wardline_store::catalog::{AuditHead, Catalog, FileRow, HeldFile, StreamId, StreamRow};
use wardline_store::retired::RetiredWhen;

/// Name of the archive's folder in a data directory.
pub const ARCHIVE_DIR: &str = "archive";
/// Name of the keyring in a data directory.
pub const KEYRING: &str = "keyring.json";
/// Rows that are decoded at once.
const ROWS_MAX: usize = 1024;
/// The same where a row is a block of samples or a whole frame, of up to 256 KiB.
const LONG_ROWS_MAX: usize = 64;
const LONG_ROWS: [&str; 2] = [Table::Waveforms.name(), Table::Quarantine.name()];

/// What is known of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// Which stream; epoch and lane 0 are what the device sent outside any stream.
    pub id: StreamId,
    /// Where its frames went.
    pub counts: Counts,
    /// Greatest position seen.
    pub last_seq: Option<u64>,
    /// Holes below it: frames that never came.
    pub missing: Vec<RangeInclusive<u64>>,
}

/// A reader of the archive.
#[derive(Debug)]
pub struct ArchiveReader {
    files: Files,
    pub(crate) catalog: Catalog,
    keys: Arc<ArchiveKeys>,
    /// The erase list as it was before files were listed last.
    erased: RwLock<Arc<Erased>>,
}

impl ArchiveReader {
    /// Opens the archive of a data directory, to read only. A bucket is asked whether it is the archive's.
    pub async fn open(data_dir: &Path) -> Result<Self, ArchiveError> {
        let place = Place::of(data_dir)?;
        let reader = Self::over(data_dir, &place, place.store().open_read_only().await?)?;
        reader.check().await?;
        Ok(reader)
    }

    /// Opens the same over a database that is open; a bucket is not asked.
    pub fn over(data_dir: &Path, place: &Place, store: Store) -> Result<Self, ArchiveError> {
        let keyring = Arc::new(place.keyring(data_dir)?);
        let mut options = ArchiveOptions::for_dir(data_dir.join(ARCHIVE_DIR));
        options.bucket = place.bucket().cloned();
        Ok(Self::new(Files::of(&options)?, store, keyring))
    }

    /// Reads with keys that others read with too: what was unwrapped for them is not asked for again.
    pub fn with_keys(mut self, keys: Arc<ArchiveKeys>) -> Self {
        self.keys = keys;
        self
    }

    /// Asks a bucket whether it is the archive's.
    pub async fn check(&self) -> Result<(), ArchiveError> {
        self.files.check(&self.catalog).await
    }

    /// Reads the files at a place that the catalog in `store` names.
    pub fn new(files: impl Into<Files>, store: Store, keyring: Arc<Keyring>) -> Self {
        let keys = Arc::new(ArchiveKeys::new(keyring));
        Self { files: files.into(), catalog: Catalog::new(store), keys, erased: RwLock::default() }
    }

    /// Lists committed files of a table, or of all, in order of the journal. What was erased before this call is in none
    /// of their rows as [`read`](Self::read) gives them.
    pub async fn files(&self, table: Option<Table>) -> Result<Vec<FileRow>, ArchiveError> {
        self.learn_erased().await?;
        Ok(self.catalog.files(table.map(Table::name)).await?)
    }

    /// Reads what was erased before this call: the rows of files that are listed after it are without.
    pub async fn learn_erased(&self) -> Result<Arc<Erased>, ArchiveError> {
        let erased = Arc::new(Erased::new(&self.catalog.erased_ranges().await?));
        *self.erased.write().unwrap_or_else(PoisonError::into_inner) = erased.clone();
        Ok(erased)
    }

    /// Lists the files of `audit`, and those of records that are held back: each audited act is in one of them.
    pub async fn audit_files(&self) -> Result<(Vec<FileRow>, Vec<HeldFile>), ArchiveError> {
        self.learn_erased().await?;
        Ok(self.catalog.files_and_held(Table::Audit.name()).await?)
    }

    /// Lists the files of records that are held back.
    pub(crate) async fn held_paths(&self) -> Result<Vec<String>, ArchiveError> {
        Ok(self.catalog.held_paths().await?)
    }

    /// Lists files that others have replaced, and that wait to be removed.
    pub async fn retired(&self) -> Result<Vec<String>, ArchiveError> {
        Ok(self.catalog.retired(None).await?)
    }

    /// Lists a tenant's files that others have replaced after a time, and that wait to be removed.
    pub(crate) async fn retired_after(&self, tenant: &str, at_us: i64) -> Result<Vec<String>, ArchiveError> {
        Ok(self.catalog.retired_of(tenant, RetiredWhen::After(at_us)).await?)
    }

    /// Returns the tenants whose keys were destroyed.
    pub async fn shredded(&self) -> Result<Vec<String>, ArchiveError> {
        Ok(self.catalog.shredded().await?)
    }

    /// Says which files are under keys that were destroyed: to be asked before files are listed.
    pub async fn shredded_files(&self) -> Result<Shredded, ArchiveError> {
        Shredded::of(&self.catalog).await
    }

    /// Returns the tenants with an erasure, of which nothing is left to be rewritten.
    pub(crate) async fn rewritten(&self) -> Result<BTreeSet<String>, ArchiveError> {
        let ranges = self.catalog.erased_ranges().await?;
        let of = |done: bool| {
            let of = ranges.iter().filter(move |range| range.is_rewritten == done);
            of.map(|range| range.tenant.clone()).collect::<BTreeSet<_>>()
        };
        Ok(&of(true) - &of(false))
    }

    /// Returns what the catalog keeps of all streams.
    pub(crate) async fn stream_rows(&self) -> Result<Vec<StreamRow>, ArchiveError> {
        Ok(self.catalog.streams(None).await?)
    }

    /// Returns the committed position.
    pub async fn next_offset(&self) -> Result<Option<u64>, ArchiveError> {
        Ok(self.catalog.position().await?)
    }

    /// Returns the committed position of what is audited, where several workers archive; none on one machine.
    pub async fn audit_offset(&self) -> Result<Option<u64>, ArchiveError> {
        Ok(self.catalog.partition_position(PartitionId::default()).await?)
    }

    /// Returns how far each node's audit chain is archived.
    pub async fn audit_heads(&self) -> Result<Vec<AuditHead>, ArchiveError> {
        Ok(self.catalog.audit_heads().await?)
    }

    /// Returns where the files lie.
    pub fn place(&self) -> &Files {
        &self.files
    }

    /// Returns the keys.
    pub fn keys(&self) -> Arc<ArchiveKeys> {
        self.keys.clone()
    }

    /// Returns the erase list as it was before files were listed last.
    pub fn erased(&self) -> Arc<Erased> {
        self.erased.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens a file's rows, without those that were erased before it was listed. Blocks; the file is read whole.
    pub fn read(&self, file: &FileRow) -> Result<Rows, ArchiveError> {
        Ok(Rows::new(verified(&self.files, file, &self.keys)?, &file.table, self.erased()))
    }

    /// Reports streams: of a device name, or all.
    pub async fn streams(&self, device: Option<&str>) -> Result<Vec<StreamReport>, ArchiveError> {
        let rows = self.catalog.streams(device).await?;
        let report = |row: StreamRow| {
            let seen = Intervals::decode(&row.seen).ok_or(ArchiveError::StreamState)?;
            let (last_seq, missing) = (seen.last(), seen.missing().collect());
            Ok(StreamReport { counts: counts_of(&row), id: row.id, last_seq, missing })
        };
        rows.into_iter().map(report).collect()
    }

    /// Reports the hours that begin within a range, per stream and in order: of a device name, or of all.
    pub async fn completeness(
        &self,
        device: Option<&str>,
        (from_us, to_us): (i64, i64),
    ) -> Result<Vec<HourReport>, ArchiveError> {
        let of_streams = self.hours_of(device).await?.into_iter().flatten();
        Ok(of_streams.filter(|hour| (from_us..=to_us).contains(&hour.hour_us)).collect())
    }

    /// Reports hours as [`completeness`](Self::completeness) does, and of each stream the first hour behind the range
    /// with its first hole: that may have begun within it.
    pub async fn holes(
        &self,
        device: Option<&str>,
        range: (i64, i64),
    ) -> Result<Vec<HourReport>, ArchiveError> {
        let of_streams = self.hours_of(device).await?.into_iter();
        Ok(of_streams.flat_map(|reports| about(reports, range).reports()).collect())
    }

    /// Reports all hours, stream by stream.
    async fn hours_of(&self, device: Option<&str>) -> Result<Vec<Vec<HourReport>>, ArchiveError> {
        let mut reports = Vec::new();
        for stream in self.catalog.streams(device).await? {
            let seen = Intervals::decode(&stream.seen).ok_or(ArchiveError::StreamState)?;
            let hours = self.catalog.hours(&stream.id, i64::MIN, i64::MAX).await?;
            reports.push(report(&seen, &hours)?);
        }
        Ok(reports)
    }
}

/// Opens the rows of a file that is byte for byte the committed one. Blocks; the file is read whole.
pub(crate) fn verified(
    files: &Files,
    file: &FileRow,
    keys: &ArchiveKeys,
) -> Result<ParquetRecordBatchReader, ArchiveError> {
    let bytes = files.read(&file.path)?;
    if digest(&SHA256, &bytes).as_ref() != file.sha256 {
        return Err(ArchiveError::FileChanged(file.path.clone()));
    }
    let options = ArrowReaderOptions::new().with_file_decryption_properties(keys.decryption()?);
    let rows = if LONG_ROWS.contains(&file.table.as_str()) { LONG_ROWS_MAX } else { ROWS_MAX };
    let opened = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options);
    opened.and_then(|opened| opened.with_batch_size(rows).build()).map_err(of_parquet)
}
