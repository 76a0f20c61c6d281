//! Blocks of samples, few at a time: a block becomes a row for each of its samples, and a batch of thousands of blocks
//! would be gigabytes of them at once.

use crate::each::{Doing, Each, EachExec};
use crate::provider::{Scanned, Wanted};
use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::provider_as_source;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// Samples of one slice: some 4 MiB of rows. A block that has more is a slice of its own.
const SAMPLES_MAX: i32 = 64 * 1024;

/// A table of blocks whose batches are cut into slices, behind every filter.
#[derive(Debug)]
pub(crate) struct SlicedTable(pub(crate) Arc<dyn TableProvider>);

impl SlicedTable {
    /// Says whether the table sees to it that rows pass all filters.
    fn takes(&self, filters: &[Expr]) -> Result<bool> {
        let taken = self.0.supports_filters_pushdown(&filters.iter().collect::<Vec<_>>())?;
        Ok(taken.iter().all(|taken| *taken == TableProviderFilterPushDown::Exact))
    }
}

#[async_trait]
impl Scanned for SlicedTable {
    /// What filters above would put small slices together again.
    const FILTERS: TableProviderFilterPushDown = TableProviderFilterPushDown::Exact;

    fn columns(&self) -> SchemaRef {
        self.0.schema()
    }

    async fn scanned(&self, state: &dyn Session, wanted: Wanted<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let blocks = match self.takes(wanted.filters)? {
            // There is nothing else to plan.
            true => self.0.scan(state, wanted.columns, wanted.filters, wanted.limit).await?,
            false => {
                let source = provider_as_source(self.0.clone());
                wanted.over(state, LogicalPlanBuilder::scan("blocks", source, None)?).await?
            }
        };
        let schema = blocks.schema();
        Ok(match schema.index_of("samples") {
            Ok(samples) => Arc::new(EachExec::new(blocks, schema, Arc::new(Slices(samples)))),
            Err(_none) => blocks,
        })
    }
}

/// Cuts batches so that none holds many samples, which are in this column.
#[derive(Debug)]
struct Slices(usize);

impl Each for Slices {
    fn name(&self) -> &'static str {
        "SliceExec"
    }

    fn start(&self, _context: &TaskContext) -> Doing {
        let samples = self.0;
        Box::new(move |batch| Ok(slices(&batch, samples)))
    }
}

/// Cuts a batch.
fn slices(batch: &RecordBatch, samples: usize) -> Vec<RecordBatch> {
    let lists = batch.column(samples).as_list::<i32>();
    let (mut slices, mut first, mut held) = (Vec::new(), 0, 0);
    for row in 0..lists.len() {
        let own = lists.value_length(row);
        if row > first && held + own > SAMPLES_MAX {
            slices.push(batch.slice(first, row - first));
            (first, held) = (row, 0);
        }
        held += own;
    }
    slices.push(batch.slice(first, lists.len() - first));
    slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::ListArray;
    use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema};

    #[test]
    fn no_slice_holds_many_samples_but_of_one_block() {
        let most = SAMPLES_MAX as usize;
        let lengths = [most, 1, most / 2, most / 2, most + 5, 0, 0, 3];
        let rows = lengths.map(|length| Some(vec![Some(7); length]));
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
        let field = Field::new_list("samples", Field::new_list_field(DataType::Int32, true), true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(lists)]).unwrap();
        let cut = slices(&batch, 0);
        assert_eq!(cut.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 2, 1, 1, 3]);
        assert_eq!(slices(&batch.slice(0, 0), 0).len(), 1);
        assert_eq!(
            slices(&batch.slice(1, 3), 0).iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
            [2, 1]
        );
    }
}
