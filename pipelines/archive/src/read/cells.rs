//! Rows as names and printable values, for people and scripts.

use super::ArchiveReader;
use crate::error::ArchiveError;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use std::fmt::Write;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wardline_store::catalog::FileRow;

/// Samples of a block that are printed; the rest is counted.
const SAMPLES_SHOWN: usize = 8;
/// Bytes of a payload that are printed.
const BYTES_SHOWN: usize = 48;

/// One row: names and values of the columns that are not null.
pub type Row = Vec<(String, String)>;

/// Returns the newest `count` rows of `files`, newest last, in the journal's order: of one device, or of all.
///
/// `files` are of one table. Blocks; reads files from the newest back, and no more of them than it must.
pub fn newest_rows(
    reader: &ArchiveReader,
    files: &[FileRow],
    count: usize,
    device: Option<&str>,
) -> Result<Vec<Row>, ArchiveError> {
    let mut files: Vec<&FileRow> = files.iter().collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.offset_last));
    let mut newest = Newest { count, rows: Vec::new() };
    for file in files {
        if newest.least().is_some_and(|least| file.offset_last < least) {
            break;
        }
        for batch in reader.read(file)? {
            newest.take(&batch?, file, device);
        }
    }
    Ok(newest.rows.into_iter().map(|(_, row)| row).collect())
}

/// The newest rows so far, in the journal's order. A merged file is in another.
struct Newest {
    count: usize,
    rows: Vec<(u64, Row)>,
}

impl Newest {
    /// Returns the offset below which no row is wanted any more.
    fn least(&self) -> Option<u64> {
        if self.rows.len() < self.count {
            None
        } else {
            self.rows.first().map_or(Some(u64::MAX), |row| Some(row.0))
        }
    }

    fn take(&mut self, batch: &RecordBatch, file: &FileRow, device: Option<&str>) {
        let offsets = batch.column_by_name("journal_offset").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        for row in (0..batch.num_rows()).filter(|row| is_of(batch, *row, device)) {
            let offset = offsets.map_or(file.offset_first, |offsets| offsets.value(row));
            if self.least().is_some_and(|least| offset < least) {
                continue;
            }
            // Behind equal ones: rows of one record stay in their order.
            let at = self.rows.partition_point(|(other, _)| *other <= offset);
            self.rows.insert(at, (offset, cells(batch, row)));
            if self.rows.len() > self.count {
                self.rows.remove(0);
            }
        }
    }
}

fn is_of(batch: &RecordBatch, row: usize, device: Option<&str>) -> bool {
    let Some(device) = device else { return true };
    let column = batch.column_by_name("device");
    column.and_then(|column| cell(column, row)).is_some_and(|value| value == device)
}

fn cells(batch: &RecordBatch, row: usize) -> Row {
    let schema = batch.schema();
    let named = schema.fields().iter().zip(batch.columns());
    named.filter_map(|(field, column)| Some((field.name().clone(), cell(column, row)?))).collect()
}

/// Prints one value; none when it is null.
fn cell(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::UInt16 => Some(column.as_primitive::<UInt16Type>().value(row).to_string()),
        DataType::UInt32 => Some(column.as_primitive::<UInt32Type>().value(row).to_string()),
        DataType::UInt64 => Some(column.as_primitive::<UInt64Type>().value(row).to_string()),
        DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).to_string()),
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row).to_string()),
        DataType::Timestamp(..) => time(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Utf8 => Some(column.as_string::<i32>().value(row).to_owned()),
        DataType::Dictionary(..) => {
            let terms = column.as_dictionary::<Int32Type>();
            let values = terms.values().as_any().downcast_ref::<StringArray>()?;
            Some(values.value(terms.key(row)?).to_owned())
        }
        DataType::Binary => Some(bytes(column.as_binary::<i32>().value(row))),
        DataType::List(_) => Some(list(column.as_list::<i32>().value(row).as_ref())),
        DataType::Struct(_) => {
            let fields = column.as_struct().columns().iter().filter_map(|field| cell(field, row));
            Some(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
        }
        _ => None,
    }
}

fn time(micros: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
    time.format(&Rfc3339).ok()
}

fn list(values: &dyn Array) -> String {
    let shown: Vec<_> = (0..values.len().min(SAMPLES_SHOWN)).filter_map(|at| cell(values, at)).collect();
    let more = if values.len() > SAMPLES_SHOWN { format!(", .. {}", values.len()) } else { String::new() };
    format!("[{}{more}]", shown.join(", "))
}

fn bytes(value: &[u8]) -> String {
    let mut text = String::with_capacity(2 * BYTES_SHOWN);
    for byte in value.iter().take(BYTES_SHOWN) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    if value.len() > BYTES_SHOWN {
        text.push_str("..");
    }
    text
}
