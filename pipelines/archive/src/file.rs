//! One Parquet file: columns in, encrypted bytes out.
//!
//! zstd level 1. Times and positions are delta-packed, samples are split by byte, everything else is
//! dictionary-encoded: vitals are quantised. Page index, no bloom filters (they would be written in clear), footer
//! encrypted. Each choice is measured: docs/adr/0033.

use crate::error::ArchiveError;
use crate::keys::ArchiveKeys;
use crate::order::{self, is_sorted};
use crate::rows::schema;
use crate::table::Table;
use crate::tenant::tenant_of;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

const ZSTD_LEVEL: i32 = 1;
/// Bytes of rows that are given to the writer at once.
const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;
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
    /// As a merge does it: the file may be merged again, with others like it.
    Merge,
    /// As the last merge does it: the file stays.
    Last,
}

impl Effort {
    /// Of samples, which take most of an archive: what is written more often is written quicker.
    fn samples_level(self) -> i32 {
        match self {
            Self::Commit => 3,
            Self::Merge => 6,
            Self::Last => 18,
        }
    }
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
    let properties = properties(table, &columns, rows, effort)?;
    write(rows, properties.with_file_encryption_properties(encryption).build())
}

/// Encodes the rows of one file without encryption: never for what is kept (SEC-3).
pub fn encode_plain(table: Table, rows: &RecordBatch, effort: Effort) -> Result<Vec<u8>, ArchiveError> {
    let columns = ArrowSchemaConverter::new().convert(&schema(table))?;
    write(rows, properties(table, &columns, rows, effort)?.build())
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
    table: Table,
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
            let level = effort.samples_level();
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
    if effort != Effort::Commit && is_sorted(table, rows)? {
        builder = builder.set_sorting_columns(Some(in_order(table, columns)));
    }
    Ok(builder)
}

/// Says by which columns rows are in order.
fn in_order(table: Table, columns: &SchemaDescriptor) -> Vec<SortingColumn> {
    let place = |name: &&str| columns.columns().iter().position(|column| column.path().string() == **name);
    let places = order::columns(table).iter().filter_map(place);
    let ascending = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
    places.filter_map(|place| i32::try_from(place).ok()).map(ascending).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Int32Type;
    use arrow_array::{
        ArrayRef, DictionaryArray, Float64Array, ListArray, TimestampMicrosecondArray, UInt32Array,
    };
    use arrow_schema::{DataType, Schema};
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

    #[test]
    fn a_merged_file_says_its_order_where_its_rows_have_it() {
        let rows = |times: [i64; 2]| {
            let devices: DictionaryArray<Int32Type> = ["a", "a"].into_iter().collect();
            let columns: [(&str, ArrayRef); 3] = [
                ("device", Arc::new(devices)),
                (
                    "device_time",
                    Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
                ),
                ("mdc_code", Arc::new(UInt32Array::from(vec![1, 1]))),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        for (times, effort, is_said) in [
            ([1, 2], Effort::Merge, true),
            ([1, 2], Effort::Last, true),
            ([2, 1], Effort::Last, false),
            ([1, 2], Effort::Commit, false),
        ] {
            let file = written(Table::Numerics, &rows(times), effort);
            let footer = ParquetMetaDataReader::new().parse_and_finish(&bytes::Bytes::from(file)).unwrap();
            let columns = footer.file_metadata().schema_descr().columns();
            let name = |by: &SortingColumn| columns[by.column_idx as usize].path().string();
            let said =
                footer.row_group(0).sorting_columns().map(|by| by.iter().map(name).collect::<Vec<_>>());
            let expected = ["device", "device_time", "mdc_code"].map(str::to_owned).to_vec();
            assert_eq!(said, is_said.then_some(expected), "{times:?} {effort:?}");
        }
    }

    #[test]
    fn samples_that_stay_are_packed_hardest() {
        let wave =
            |n: u32| (f64::from(n) / 9.0).sin() * 900.0 + f64::from(n.wrapping_mul(2_654_435_761) >> 27);
        let block = (0..100_000).map(|n| Some(wave(n) as i32));
        let samples = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(block)]);
        let schema = Schema::new(vec![schema(Table::Waveforms).field_with_name("samples").unwrap().clone()]);
        let samples = cast_list(&samples, schema.field(0).data_type());
        let rows = RecordBatch::try_new(Arc::new(schema), vec![samples]).unwrap();
        let bytes = |effort| written(Table::Events, &rows, effort).len();
        let [quick, thorough, last] = [Effort::Commit, Effort::Merge, Effort::Last].map(bytes);
        assert!(last * 100 < thorough * 97 && last * 100 < quick * 97, "{quick}, {thorough}, {last}");
    }

    /// Writes some of a table's columns.
    fn written(table: Table, rows: &RecordBatch, effort: Effort) -> Vec<u8> {
        let columns = ArrowSchemaConverter::new().convert(&rows.schema()).unwrap();
        write(rows, properties(table, &columns, rows, effort).unwrap().build()).unwrap()
    }

    /// Gives a list the names of its parts.
    fn cast_list(list: &ListArray, to: &DataType) -> ArrayRef {
        let DataType::List(item) = to else { panic!("{to}") };
        let (_, offsets, values, nulls) = list.clone().into_parts();
        Arc::new(ListArray::new(item.clone(), offsets, values, nulls))
    }
}
