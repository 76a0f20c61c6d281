//! One Parquet file: columns in, encrypted bytes out.
//!
//! zstd level 1. Times and positions are delta-packed, everything else is dictionary-encoded: vitals are
//! quantised. Page index, no bloom filters (they would be written in clear), footer encrypted.

use crate::error::ArchiveError;
use crate::keys::ArchiveKeys;
use crate::rows::schema;
use crate::table::Table;
use crate::tenant::tenant_of;
use arrow_array::RecordBatch;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

const ZSTD_LEVEL: i32 = 1;
/// Bytes of rows that are given to the writer at once.
const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;
const CREATED_BY: &str = concat!("wardline ", env!("CARGO_PKG_VERSION"));
/// Columns that climb: differences are smaller than a dictionary.
const CLIMBING: [&str; 9] = [
    "seq",
    "device_time",
    "edge_time",
    "ingest_time",
    "at",
    "journal_offset",
    "gap_first_seq",
    "gap_last_seq",
    "samples.list.element",
];
/// Columns whose values never repeat.
const OPAQUE: [&str; 2] = ["payload", "detail"];

/// Encodes and encrypts the rows of one file.
pub fn encode(
    table: Table,
    tenant: &str,
    rows: &RecordBatch,
    keys: &ArchiveKeys,
) -> Result<Vec<u8>, ArchiveError> {
    let columns = ArrowSchemaConverter::new().convert(&schema(table))?;
    let encryption = keys.encryption(&columns, tenant_of(tenant).as_ref())?;
    let properties = properties(&columns)?.with_file_encryption_properties(encryption).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties))?;
    // The writer holds what it makes of the rows of one call, of lists many times their bytes.
    let at_once = (rows.num_rows() / (1 + rows.get_array_memory_size() / WRITE_BYTES_MAX)).max(1);
    for first in (0..rows.num_rows()).step_by(at_once) {
        writer.write(&rows.slice(first, at_once.min(rows.num_rows() - first)))?;
    }
    Ok(writer.into_inner()?)
}

/// Encodes the rows of one file without encryption: never for what is kept (SEC-3).
pub fn encode_plain(table: Table, rows: &RecordBatch) -> Result<Vec<u8>, ArchiveError> {
    let columns = ArrowSchemaConverter::new().convert(&schema(table))?;
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties(&columns)?.build()))?;
    writer.write(rows)?;
    Ok(writer.into_inner()?)
}

fn properties(
    columns: &SchemaDescriptor,
) -> Result<parquet::file::properties::WriterPropertiesBuilder, ArchiveError> {
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_enabled(false);
    for column in columns.columns() {
        let path: ColumnPath = column.path().clone();
        let name = path.string();
        if CLIMBING.contains(&name.as_str()) {
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        } else if OPAQUE.contains(&name.as_str()) {
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(builder)
}
