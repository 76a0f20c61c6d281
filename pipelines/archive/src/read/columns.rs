//! Values of a batch by the names of their columns.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::DataType;

/// The columns of a batch by name. What a file lacks, being of an earlier version, reads as null.
pub(crate) struct Columns<'a>(pub(crate) &'a RecordBatch);

impl Columns<'_> {
    /// Returns a column where it is not null.
    pub(crate) fn column(&self, name: &str, row: usize) -> Option<&dyn Array> {
        self.0.column_by_name(name).map(|column| &**column).filter(|column| !column.is_null(row))
    }

    /// Returns a time, unix microseconds; 0 for null.
    pub(crate) fn time(&self, name: &str, row: usize) -> i64 {
        let column = self.column(name, row).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        column.map_or(0, |times| times.value(row))
    }

    /// Returns a number; 0 for null.
    pub(crate) fn number(&self, name: &str, row: usize) -> u64 {
        let column = self.column(name, row).and_then(|c| c.as_primitive_opt::<UInt64Type>());
        column.map_or(0, |numbers| numbers.value(row))
    }

    /// Returns a number of 32 bits; 0 for null.
    pub(crate) fn small(&self, name: &str, row: usize) -> u32 {
        let column = self.column(name, row).and_then(|c| c.as_primitive_opt::<UInt32Type>());
        column.map_or(0, |numbers| numbers.value(row))
    }

    /// Returns a number with a sign; 0 for null.
    pub(crate) fn whole(&self, name: &str, row: usize) -> i64 {
        let column = self.column(name, row).and_then(|c| c.as_primitive_opt::<Int64Type>());
        column.map_or(0, |numbers| numbers.value(row))
    }

    /// Returns a number with a fraction.
    pub(crate) fn real(&self, name: &str, row: usize) -> Option<f64> {
        let column = self.column(name, row).and_then(|c| c.as_primitive_opt::<Float64Type>());
        column.map(|numbers| numbers.value(row))
    }

    /// Returns bytes; none of them for null.
    pub(crate) fn bytes(&self, name: &str, row: usize) -> Vec<u8> {
        let column = self.column(name, row).and_then(|c| c.as_binary_opt::<i32>());
        column.map_or_else(Vec::new, |bytes| bytes.value(row).to_vec())
    }

    /// Returns the text of a column of terms where it is not null.
    pub(crate) fn term(&self, name: &str, row: usize) -> Option<&str> {
        let terms = self.0.column_by_name(name)?.as_dictionary_opt::<Int32Type>()?;
        let values = terms.values().as_string_opt::<i32>()?;
        terms.key(row).filter(|key| *key < values.len()).map(|key| values.value(key))
    }

    /// Returns a text; an empty one for null.
    pub(crate) fn text(&self, name: &str, row: usize) -> String {
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
