//! Blocks of samples, few at a time: a block becomes a row for each of its samples, and a batch of thousands of blocks
//! would be gigabytes of them at once.

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, Result, internal_err};
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableProviderFilterPushDown};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// Samples of one slice: some 4 MiB of rows. A block that has more is a slice of its own.
const SAMPLES_MAX: i32 = 64 * 1024;

/// A table of blocks whose batches are cut into slices, behind every filter.
#[derive(Debug)]
pub(crate) struct SlicedTable(pub(crate) Arc<dyn TableProvider>);

#[async_trait]
impl TableProvider for SlicedTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// What filters above would put small slices together again.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plan = LogicalPlanBuilder::scan("blocks", provider_as_source(self.0.clone()), None)?;
        if let Some(filter) = conjunction(filters.to_vec()) {
            plan = plan.filter(filter)?;
        }
        if let Some(columns) = projection {
            let schema = plan.schema().clone();
            plan = plan
                .project(columns.iter().map(|at| Expr::Column(Column::from(schema.qualified_field(*at)))))?;
        }
        let blocks = state.create_physical_plan(&plan.limit(0, limit)?.build()?).await?;
        match blocks.schema().index_of("samples") {
            Ok(samples) => Ok(Arc::new(SliceExec::new(blocks, samples))),
            Err(_none) => Ok(blocks),
        }
    }
}

/// Cuts batches so that none holds many samples.
#[derive(Debug)]
struct SliceExec {
    input: Arc<dyn ExecutionPlan>,
    samples: usize,
    properties: Arc<PlanProperties>,
}

impl SliceExec {
    fn new(input: Arc<dyn ExecutionPlan>, samples: usize) -> Self {
        let parts = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(parts),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, samples, properties: Arc::new(properties) }
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

impl DisplayAs for SliceExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SliceExec: samples={SAMPLES_MAX}")
    }
}

impl ExecutionPlan for SliceExec {
    fn name(&self) -> &'static str {
        "SliceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.samples))),
            _other => internal_err!("SliceExec has one child"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (blocks, samples) = (self.input.execute(partition, context)?, self.samples);
        let cut = blocks.map_ok(move |batch| stream::iter(slices(&batch, samples).into_iter().map(Ok)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), cut.try_flatten().boxed())))
    }
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
