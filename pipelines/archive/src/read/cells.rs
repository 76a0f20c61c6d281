//! Rows as names and printable values, for people and scripts.

use super::ArchiveReader;
use crate::error::ArchiveError;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use std::collections::VecDeque;
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
/// `files` are of one table, in the order that the catalog lists them. Blocks; reads files from the newest back.
pub fn newest_rows(
    reader: &ArchiveReader,
    files: &[FileRow],
    count: usize,
    device: Option<&str>,
) -> Result<Vec<Row>, ArchiveError> {
    let mut newest = VecDeque::new();
    for file in files.iter().rev() {
        if newest.len() >= count {
            break;
        }
        let mut rows = VecDeque::new();
        for batch in reader.read(file)? {
            let batch = batch?;
            let wanted = (0..batch.num_rows()).filter(|row| is_of(&batch, *row, device));
            rows.extend(wanted.map(|row| cells(&batch, row)));
            let surplus = rows.len().saturating_sub(count - newest.len());
            rows.drain(..surplus);
        }
        rows.append(&mut newest);
        newest = rows;
    }
    Ok(newest.into())
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
