//! How much rows take in memory.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;

/// Returns at least the bytes of an array's widest row.
pub(crate) fn widest(array: &ArrayRef) -> usize {
    let most = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    match array.data_type() {
        DataType::Utf8 => most(&mut array.as_string::<i32>().offsets().lengths()),
        DataType::LargeUtf8 => most(&mut array.as_string::<i64>().offsets().lengths()),
        DataType::Binary => most(&mut array.as_binary::<i32>().offsets().lengths()),
        DataType::LargeBinary => most(&mut array.as_binary::<i64>().offsets().lengths()),
        DataType::Utf8View => most(&mut array.as_string_view().lengths().map(|bytes| bytes as usize)),
        DataType::BinaryView => most(&mut array.as_binary_view().lengths().map(|bytes| bytes as usize)),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            most(&mut list.offsets().lengths()).saturating_mul(widest(list.values()))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(widest).sum(),
        DataType::Dictionary(..) => array.as_any_dictionary_opt().map_or(0, |terms| widest(terms.values())),
        // A rare kind of list: no row is wider than the whole.
        other if other.is_nested() => bytes(array),
        fixed => fixed.primitive_width().unwrap_or(1),
    }
}

/// Returns the bytes of an array's own rows.
pub(crate) fn bytes(array: &ArrayRef) -> usize {
    let rows = array.len();
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().lengths().map(|bytes| bytes as usize + 16).sum(),
        DataType::BinaryView => array.as_binary_view().lengths().map(|bytes| bytes as usize + 16).sum(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.offsets()[0] as usize, list.offsets()[rows] as usize);
            4 * rows + bytes(&list.values().slice(first, last - first))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(bytes).sum(),
        DataType::Dictionary(..) => {
            4 * rows + array.as_any_dictionary_opt().map_or(0, |terms| bytes(terms.values()))
        }
        other if other.is_nested() => array.get_array_memory_size(),
        _other => array.to_data().get_slice_memory_size().unwrap_or(array.get_array_memory_size()),
    }
}
