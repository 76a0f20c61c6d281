//! The order of rows in a merged file.

use crate::error::ArchiveError;
use crate::table::Table;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use std::collections::{BTreeMap, BTreeSet};

/// Returns the columns by which a merged file's rows are in order, first to last; none: they are in the journal's.
pub fn columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Numerics => &["device", "device_time", "mdc_code"],
        Table::Waveforms => &["device", "mdc_code", "device_time"],
        _ => &[],
    }
}

/// Puts rows in that order: in numerics what a frame's readings share lies together so, in waveforms the samples of one
/// signal. Equal rows keep the journal's order.
pub(crate) fn sorted(table: Table, rows: RecordBatch) -> Result<RecordBatch, ArchiveError> {
    let Some(keys) = keys(table, &rows)? else { return Ok(rows) };
    let mut order: Vec<u32> =
        (0..u32::try_from(rows.num_rows()).map_err(|_| ArchiveError::Column("rows"))?).collect();
    order.sort_by_key(|row| keys(*row as usize));
    Ok(take_record_batch(&rows, &UInt32Array::from(order))?)
}

/// Says whether rows are in that order.
pub(crate) fn is_sorted(table: Table, rows: &RecordBatch) -> Result<bool, ArchiveError> {
    let Some(keys) = keys(table, rows)? else { return Ok(false) };
    Ok((0..rows.num_rows()).map(keys).is_sorted())
}

/// What a row is ordered by: its device, and two more.
type Key = (usize, i64, i64);

/// Returns what the rows of a table are ordered by.
fn keys(table: Table, rows: &RecordBatch) -> Result<Option<impl Fn(usize) -> Key>, ArchiveError> {
    if columns(table).is_empty() {
        return Ok(None);
    }
    let column = |name: &'static str| rows.column_by_name(name).ok_or(ArchiveError::Column(name));
    let devices = ranks(column("device")?.as_ref())?;
    let codes = column("mdc_code")?.as_primitive_opt::<UInt32Type>();
    let codes = codes.ok_or(ArchiveError::Column("mdc_code"))?.clone();
    let times = column("device_time")?.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or(ArchiveError::Column("device_time"))?.clone();
    Ok(Some(move |row: usize| {
        let (code, time) = (i64::from(codes.value(row)), times.value(row));
        let (first, second) = if table == Table::Numerics { (time, code) } else { (code, time) };
        (devices[row], first, second)
    }))
}

/// Returns for each row the rank of its text among the column's texts.
fn ranks(column: &dyn Array) -> Result<Vec<usize>, ArchiveError> {
    let wrong = || ArchiveError::Column("device");
    let dictionary = column.as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?;
    let texts = dictionary.values().as_string_opt::<i32>().ok_or_else(wrong)?;
    let distinct: BTreeSet<&str> = texts.iter().flatten().collect();
    let rank: BTreeMap<&str, usize> = distinct.into_iter().enumerate().map(|(at, text)| (text, at)).collect();
    let of_key: Vec<usize> =
        texts.iter().map(|text| text.and_then(|t| rank.get(t)).copied().unwrap_or(0)).collect();
    let row = |key: Option<i32>| {
        let key = usize::try_from(key.ok_or_else(wrong)?).map_err(|_| wrong())?;
        of_key.get(key).copied().ok_or_else(wrong)
    };
    dictionary.keys().iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, DictionaryArray, TimestampMicrosecondArray};
    use std::sync::Arc;

    #[test]
    fn rows_are_in_order_by_what_their_table_is_ordered_by_and_equal_ones_as_they_came() {
        let devices: DictionaryArray<Int32Type> = ["b", "a", "a", "a", "a"].into_iter().collect();
        let (times, codes) = ([1, 2, 1, 2, 1], [1_u32, 1, 2, 2, 1]);
        let columns: [(&str, ArrayRef); 4] = [
            ("device", Arc::new(devices)),
            ("device_time", Arc::new(TimestampMicrosecondArray::from(times.to_vec()))),
            ("mdc_code", Arc::new(UInt32Array::from(codes.to_vec()))),
            ("place", Arc::new(UInt32Array::from_iter_values(0..5))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        for (table, order) in [(Table::Numerics, [4, 2, 1, 3, 0]), (Table::Waveforms, [4, 1, 2, 3, 0])] {
            assert!(!is_sorted(table, &rows).unwrap());
            let sorted = sorted(table, rows.clone()).unwrap();
            assert!(is_sorted(table, &sorted).unwrap());
            assert_eq!(sorted["place"].as_primitive::<UInt32Type>().values(), &order, "{table}");
        }
        assert_eq!(sorted(Table::Events, rows.clone()).unwrap(), rows);
        assert!(!is_sorted(Table::Events, &rows).unwrap(), "of these nothing is said");
    }
}
