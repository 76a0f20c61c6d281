//! One Parquet file: columns in, encrypted bytes out.
//!
//! zstd level 1. Times and positions are delta-packed, samples are split by byte, everything else is
//! dictionary-encoded: vitals are quantised. Page index, no bloom filters (they would be written in clear), footer
//! encrypted. Each choice is measured: docs/adr/0033.

use crate::error::ArchiveError;
use crate::keys::ArchiveKeys;
use crate::rows::schema;
use crate::table::Table;
use crate::tenant::tenant_of;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

const ZSTD_LEVEL: i32 = 1;
/// Bytes of rows that are given to the writer at once.
const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of samples, in a file that lives until it is merged, and in a merged one.
const SAMPLES_ZSTD_LEVELS: (i32, i32) = (3, 6);
const CREATED_BY: &str = concat!("wardline ", env!("CARGO_PKG_VERSION"));
/// Rows of a page: what a short question reads of a column.
const PAGE_ROWS: usize = 20_000;
/// Rows of a row group: no file has more.
const GROUP_ROWS: usize = 1 << 20;
/// Columns that climb: differences are smaller than a dictionary.
const CLIMBING: [&str; 8] = [
    "seq",
    "device_time",
    "edge_time",
    "ingest_time",
    "at",
    "journal_offset",
    "gap_first_seq",
    "gap_last_seq",
];
/// The upper bytes of neighbouring samples are alike; of noisy waves nothing else is.
const SAMPLES: &str = "samples.list.element";
/// Columns whose values never repeat.
const OPAQUE: [&str; 2] = ["payload", "detail"];

/// How hard a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As a commit does it: the file lives until it is merged.
    Commit,
    /// As a merge does it: the file stays.
    Merge,
}

/// Encodes and encrypts the rows of one file.
pub fn encode(
    table: Table,
    tenant: &str,
    rows: &RecordBatch,
    (keys, effort): (&ArchiveKeys, Effort),
) -> Result<Vec<u8>, ArchiveError> {
    let columns = ArrowSchemaConverter::new().convert(&schema(table))?;
    let encryption = keys.encryption(&columns, tenant_of(tenant).as_ref())?;
    write(rows, properties(&columns, rows, effort)?.with_file_encryption_properties(encryption).build())
}

/// Encodes the rows of one file without encryption: never for what is kept (SEC-3).
pub fn encode_plain(table: Table, rows: &RecordBatch, effort: Effort) -> Result<Vec<u8>, ArchiveError> {
    let columns = ArrowSchemaConverter::new().convert(&schema(table))?;
    write(rows, properties(&columns, rows, effort)?.build())
}

fn write(rows: &RecordBatch, properties: WriterProperties) -> Result<Vec<u8>, ArchiveError> {
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties))?;
    // The writer holds what it makes of the rows of one call, of lists many times their bytes.
    let at_once = (rows.num_rows() / (1 + rows.get_array_memory_size() / WRITE_BYTES_MAX)).max(1);
    for first in (0..rows.num_rows()).step_by(at_once) {
        writer.write(&rows.slice(first, at_once.min(rows.num_rows() - first)))?;
    }
    Ok(writer.into_inner()?)
}

fn properties(
    columns: &SchemaDescriptor,
    rows: &RecordBatch,
    effort: Effort,
) -> Result<WriterPropertiesBuilder, ArchiveError> {
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_bloom_filter_enabled(false);
    for column in columns.columns() {
        let path: ColumnPath = column.path().clone();
        let name = path.string();
        if CLIMBING.contains(&name.as_str()) {
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        } else if name == SAMPLES {
            let (quick, thorough) = SAMPLES_ZSTD_LEVELS;
            let level = if effort == Effort::Merge { thorough } else { quick };
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_compression(path.clone(), Compression::ZSTD(ZstdLevel::try_new(level)?))
                .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
        } else if OPAQUE.contains(&name.as_str()) {
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let numbers = column.as_primitive_opt::<Float64Type>();
        // Parquet's least and greatest leave out what is no number, and readers that go by them would, too.
        if numbers.is_some_and(|numbers| numbers.iter().flatten().any(f64::is_nan)) {
            let path = ColumnPath::from(field.name().as_str());
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Float64Array};
    use parquet::file::metadata::ParquetMetaDataReader;
    use std::sync::Arc;

    #[test]
    fn of_values_of_which_one_is_no_number_no_least_and_greatest_is_told() {
        for (values, is_told) in [([97.0, f64::INFINITY], true), ([97.0, f64::NAN], false)] {
            let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
            let rows = RecordBatch::try_from_iter([("value", values)]).unwrap();
            let file = encode_plain(Table::Numerics, &rows, Effort::Commit).unwrap();
            let footer = ParquetMetaDataReader::new().parse_and_finish(&bytes::Bytes::from(file)).unwrap();
            assert_eq!(footer.row_group(0).column(0).statistics().is_some(), is_told, "{rows:?}");
        }
    }
}
