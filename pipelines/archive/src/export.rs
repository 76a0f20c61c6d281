//! Parts of the archive for readers that know one key: Parquet that DuckDB reads alone.
//!
//! The archive's own files wrap a key a column under master keys, which DuckDB does not follow. An export is a copy in
//! the one form that it reads: *uniform* encryption, so one AES-256-GCM key of 32 bytes for footer and columns alike,
//! one data page a column chunk, and no nested column, whose pages DuckDB 2.0 does not decrypt: a list is the text that
//! it casts back, `[1, 2]` or `[{"first": 1, "count": 2}]`. What an export costs is told in `docs/archive.md`: whoever
//! has the key has all of it, and nothing here reaches a copy that was given out.

use crate::error::ArchiveError;
use crate::read::ArchiveReader;
use crate::table::Table;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use wardline_journal::KeyError;
use wardline_store::catalog::FileRow;

/// Bytes of an export's key.
pub const EXPORT_KEY_BYTES: usize = 32;
/// Rows of one file, by which one page stays small: a block of samples is some hundred times a reading.
const ROWS_MAX: usize = 250_000;
const BLOCKS_MAX: usize = 10_000;
/// Above what a page of that many rows takes.
const PAGE_BYTES_MAX: usize = 1 << 30;
const ZSTD_LEVEL: i32 = 1;

/// What to export.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose rows.
    pub tenant: String,
    /// Of which tables.
    pub tables: Vec<Table>,
    /// Rows at or after this time, unix microseconds, by the table's time column.
    pub from_us: i64,
    /// Rows before this time.
    pub to_us: i64,
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// Its name in the folder.
    pub name: String,
    /// The table that its rows are of.
    pub table: Table,
    /// Rows.
    pub rows: u64,
    /// Size, bytes.
    pub bytes: u64,
}

/// Makes a key for one export.
pub fn export_key() -> Result<[u8; EXPORT_KEY_BYTES], ArchiveError> {
    let mut key = [0; EXPORT_KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_unspecified| KeyError::Random)?;
    Ok(key)
}

/// Writes the wanted rows of `files` into `out`, which must not exist, durably: all of them or no folder of that name.
/// Blocks.
pub fn export(
    reader: &ArchiveReader,
    files: &[FileRow],
    wanted: &Wanted,
    key: &[u8; EXPORT_KEY_BYTES],
    out: &Path,
) -> Result<Vec<ExportedFile>, ArchiveError> {
    if out.try_exists()? {
        return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists).into());
    }
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    fs::DirBuilder::new().create(partial)?;
    let mut written = Vec::new();
    for table in &wanted.tables {
        let of_table = |file: &&FileRow| {
            let overlaps = file.time_max_us >= wanted.from_us && file.time_min_us < wanted.to_us;
            file.table == table.name() && file.tenant == wanted.tenant && overlaps
        };
        let mut sheet = Sheet {
            table: *table,
            batches: Vec::new(),
            rows: 0,
            folder: partial,
            key,
            written: &mut written,
        };
        for file in files.iter().filter(of_table) {
            for batch in reader.read(file)? {
                sheet.take(&within(&batch?, *table, wanted)?)?;
            }
        }
        sheet.finish()?;
    }
    File::open(partial)?.sync_all()?;
    fs::rename(partial, out)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()?;
    Ok(written)
}

fn within(batch: &RecordBatch, table: Table, wanted: &Wanted) -> Result<RecordBatch, ArchiveError> {
    let name = table.time_column();
    let times = batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or(ArchiveError::Column(name))?;
    let is_within = |at: Option<i64>| at.is_some_and(|at| (wanted.from_us..wanted.to_us).contains(&at));
    Ok(filter_record_batch(batch, &times.iter().map(is_within).map(Some).collect::<BooleanArray>())?)
}

/// The rows of one table on their way into files.
struct Sheet<'a> {
    table: Table,
    batches: Vec<RecordBatch>,
    rows: usize,
    folder: &'a Path,
    key: &'a [u8; EXPORT_KEY_BYTES],
    written: &'a mut Vec<ExportedFile>,
}

impl Sheet<'_> {
    fn take(&mut self, batch: &RecordBatch) -> Result<(), ArchiveError> {
        let rows_max = if self.table == Table::Waveforms { BLOCKS_MAX } else { ROWS_MAX };
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (rows_max - self.rows).min(batch.num_rows() - from);
            self.batches.push(batch.slice(from, rows));
            (from, self.rows) = (from + rows, self.rows + rows);
            if self.rows == rows_max {
                self.finish()?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ArchiveError> {
        let Some(first) = self.batches.first() else { return Ok(()) };
        // Columns that came with a later version are missing from earlier files: the least that all have.
        let common: Vec<String> = first.schema().fields().iter().map(|field| field.name().clone()).collect();
        let has = |name: &String| self.batches.iter().all(|batch| batch.column_by_name(name).is_some());
        let common: Vec<String> = common.into_iter().filter(has).collect();
        let project = |batch: &RecordBatch| {
            let columns: Result<Vec<_>, _> =
                common.iter().map(|name| batch.schema().index_of(name)).collect();
            batch.project(&columns?)
        };
        let batches: Vec<_> = self.batches.iter().map(project).collect::<Result<_, _>>()?;
        let rows = flat(&concat_batches(&batches[0].schema(), &batches)?)?;
        let bytes = encode(&rows, self.key)?;
        let number = self.written.iter().filter(|file| file.table == self.table).count();
        let name = format!("{}-{number:05}.parquet", self.table);
        let mut file =
            File::options().write(true).create_new(true).mode(0o600).open(self.folder.join(&name))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        let (rows, bytes) = (rows.num_rows() as u64, bytes.len() as u64);
        self.written.push(ExportedFile { name, table: self.table, rows, bytes });
        self.batches.clear();
        self.rows = 0;
        Ok(())
    }
}

/// Puts texts in the place of lists.
fn flat(rows: &RecordBatch) -> Result<RecordBatch, ArchiveError> {
    let schema = rows.schema();
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        match column.as_list_opt::<i32>() {
            None => {
                fields.push(field.clone());
                columns.push(column.clone());
            }
            Some(lists) => {
                let texts: StringArray = lists.iter().map(|list| list.map(|list| text(&list))).collect();
                fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())));
                columns.push(Arc::new(texts));
            }
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Prints a list of numbers, or of structures of numbers.
fn text(list: &ArrayRef) -> String {
    let items: Vec<String> = (0..list.len()).map(|at| item(list, at)).collect();
    format!("[{}]", items.join(", "))
}

fn item(column: &ArrayRef, at: usize) -> String {
    if let Some(numbers) = column.as_primitive_opt::<Int32Type>() {
        return numbers.value(at).to_string();
    }
    if let Some(numbers) = column.as_primitive_opt::<UInt32Type>() {
        return numbers.value(at).to_string();
    }
    if let Some(numbers) = column.as_primitive_opt::<UInt64Type>() {
        return numbers.value(at).to_string();
    }
    let Some(parts) = column.as_struct_opt() else { return "null".to_owned() };
    let part =
        |(field, column): (&FieldRef, &ArrayRef)| format!("\"{}\": {}", field.name(), item(column, at));
    let parts: Vec<_> = parts.fields().iter().zip(parts.columns()).map(part).collect();
    format!("{{{}}}", parts.join(", "))
}

/// Encodes rows as one row group with one data page a column, under one key.
fn encode(rows: &RecordBatch, key: &[u8; EXPORT_KEY_BYTES]) -> Result<Vec<u8>, ArchiveError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_bloom_filter_enabled(false)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(rows.num_rows().max(1)))
        .set_data_page_row_count_limit(usize::MAX)
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_offset_index_disabled(true)
        .with_file_encryption_properties(FileEncryptionProperties::builder(key.to_vec()).build()?)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties))?;
    writer.write(rows)?;
    Ok(writer.into_inner()?)
}
