//! What stands before a list that is unnested: each of its elements repeats all else of the row, and the engine makes
//! the rows of a whole batch at once.

use crate::each::{Doing, Each};
use crate::growth::TooWide;
use crate::widths::widest;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, GenericListViewArray, OffsetSizeTrait, RecordBatch,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};

/// Bytes that a batch may become.
pub(crate) const UNNESTED_BYTES_MAX: usize = 64 << 20;

/// Cuts batches so that none becomes large; a row that does by itself ends the statement.
#[derive(Debug)]
pub(crate) struct Unnested {
    /// Lists that are unnested, each with how deep.
    lists: Vec<(usize, usize)>,
}

impl Unnested {
    /// Stands before this node.
    pub(crate) fn before(node: &UnnestExec) -> Self {
        let place = |list: &ListUnnest| (list.index_in_input_schema, list.depth);
        Self { lists: node.list_column_indices().iter().map(place).collect() }
    }

    fn cut(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>, TooWide> {
        let lists: Vec<_> =
            self.lists.iter().map(|(at, depth)| elements(batch.column(*at), *depth)).collect();
        let own = batch.columns().iter().enumerate().map(|(at, column)| {
            // Of a list that is unnested a row has one element.
            match self.lists.iter().find(|(own, _)| *own == at) {
                Some((_, depth)) => widest_element(column, *depth),
                None => widest(column),
            }
        });
        let width = own.sum::<usize>().max(1);
        let (mut cut, mut first, mut held) = (Vec::new(), 0, 0);
        for row in 0..batch.num_rows() {
            // Lists of one row stand beside each other; a null is a row too.
            let rows = lists.iter().map(|list| list[row]).max().unwrap_or(1).max(1);
            let bytes = width.saturating_mul(rows);
            if bytes > UNNESTED_BYTES_MAX {
                return Err(TooWide::Unnested(bytes));
            }
            if row > first && held + bytes > UNNESTED_BYTES_MAX {
                cut.push(batch.slice(first, row - first));
                (first, held) = (row, 0);
            }
            held += bytes;
        }
        cut.push(batch.slice(first, batch.num_rows() - first));
        Ok(cut)
    }
}

impl Each for Unnested {
    fn name(&self) -> &'static str {
        "UnnestBoundExec"
    }

    fn start(&self, _context: &TaskContext) -> Doing {
        let own = Self { lists: self.lists.clone() };
        Box::new(move |batch| own.cut(&batch).map_err(|wide| DataFusionError::External(Box::new(wide))))
    }
}

/// Returns how many rows each row of a list becomes.
fn elements(array: &ArrayRef, depth: usize) -> Vec<usize> {
    let inner = |first: usize, length: usize, values: &ArrayRef| match depth {
        0 | 1 => length,
        _deeper => {
            elements(&values.slice(first, length), depth - 1).into_iter().map(|rows| rows.max(1)).sum()
        }
    };
    let spans: Vec<(usize, usize)> = match array.data_type() {
        DataType::List(_) => spans(array.as_list::<i32>().offsets().iter().map(|at| *at as usize)),
        DataType::LargeList(_) => spans(array.as_list::<i64>().offsets().iter().map(|at| *at as usize)),
        DataType::ListView(_) => views(array.as_list_view::<i32>()),
        DataType::LargeListView(_) => views(array.as_list_view::<i64>()),
        DataType::FixedSizeList(_, length) => {
            (0..array.len()).map(|row| (row * *length as usize, *length as usize)).collect()
        }
        _no_list => return vec![1; array.len()],
    };
    let Some(values) = values(array) else { return vec![1; array.len()] };
    spans.into_iter().map(|(first, length)| inner(first, length, values)).collect()
}

fn spans(offsets: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let offsets: Vec<_> = offsets.collect();
    offsets.windows(2).map(|pair| (pair[0], pair[1].saturating_sub(pair[0]))).collect()
}

fn views<O: OffsetSizeTrait>(list: &GenericListViewArray<O>) -> Vec<(usize, usize)> {
    let spans = list.offsets().iter().zip(list.sizes().iter());
    spans.map(|(first, length)| (first.as_usize(), length.as_usize())).collect()
}

fn values(array: &ArrayRef) -> Option<&ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().values()),
        DataType::LargeList(_) => Some(array.as_list::<i64>().values()),
        DataType::ListView(_) => Some(array.as_list_view::<i32>().values()),
        DataType::LargeListView(_) => Some(array.as_list_view::<i64>().values()),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().values()),
        _no_list => None,
    }
}

/// Returns at least the bytes of the widest element so deep in a list.
fn widest_element(array: &ArrayRef, depth: usize) -> usize {
    match values(array) {
        Some(values) if depth > 0 => widest_element(values, depth - 1),
        _none => widest(array),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{ListArray, ListViewArray, StringArray};
    use datafusion::arrow::datatypes::Field;
    use datafusion::arrow::datatypes::{Int32Type, Schema};
    use std::sync::Arc;

    fn batch(texts: &[usize], lists: &[usize]) -> RecordBatch {
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter_values(texts.iter().map(|bytes| "x".repeat(*bytes))));
        let rows = lists.iter().map(|length| Some(vec![Some(7); *length]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows));
        let field = |name: &str, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
        let schema = Schema::new(vec![field("text", &texts), field("list", &lists)]);
        RecordBatch::try_new(Arc::new(schema), vec![texts, lists]).unwrap()
    }

    #[test]
    fn no_batch_becomes_large_and_no_row_is_lost() {
        let own = Unnested { lists: vec![(1, 1)] };
        let rows = |batch: &RecordBatch| -> Vec<usize> {
            own.cut(batch).unwrap().iter().map(RecordBatch::num_rows).collect()
        };
        assert_eq!(rows(&batch(&[9; 100], &[1000; 100])), [100]);
        // 32 KiB beside a thousand elements are 32 MiB of rows.
        assert_eq!(rows(&batch(&[(32 << 10) - 4, 1, 2, 3], &[1000; 4])), [2, 2]);
        assert_eq!(rows(&batch(&[], &[])), [0]);
        assert_eq!(rows(&batch(&[3, 3], &[0, 0])), [2]);
        let wide = own.cut(&batch(&[2 << 20], &[1000])).unwrap_err();
        assert!(matches!(wide, TooWide::Unnested(bytes) if bytes > 2_000_000_000), "{wide}");
    }

    #[test]
    fn a_list_of_lists_counts_by_its_leaves_when_it_is_unnested_twice() {
        let inner =
            ListArray::from_iter_primitive::<Int32Type, _, _>([3, 0, 5].map(|n| Some(vec![Some(1); n])));
        let field = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
        let offsets = datafusion::arrow::buffer::OffsetBuffer::from_lengths([2, 1]);
        let outer: ArrayRef = Arc::new(ListArray::new(field, offsets, Arc::new(inner), None));
        assert_eq!(elements(&outer, 1), [2, 1]);
        assert_eq!(elements(&outer, 2), [4, 5]);
        assert_eq!((widest_element(&outer, 1), widest_element(&outer, 2)), (20, 4));
        let view: ArrayRef = Arc::new(ListViewArray::from(outer.as_list::<i32>().clone()));
        assert_eq!((elements(&view, 1), elements(&view, 2)), (vec![2, 1], vec![4, 5]));
    }
}
