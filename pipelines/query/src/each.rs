//! A node of a plan with one child, which does something to each of its batches.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// What is done to the batches of one stream.
pub(crate) type Doing = Box<dyn FnMut(RecordBatch) -> Result<Vec<RecordBatch>> + Send>;

/// What is done to batches.
pub(crate) trait Each: fmt::Debug + Send + Sync + 'static {
    /// Returns the name of the node.
    fn name(&self) -> &'static str;

    /// Begins with one stream of them.
    fn start(&self, context: &TaskContext) -> Doing;
}

/// A node that does it.
#[derive(Debug)]
pub(crate) struct EachExec {
    input: Arc<dyn ExecutionPlan>,
    each: Arc<dyn Each>,
    properties: Arc<PlanProperties>,
    is_alike: bool,
}

impl EachExec {
    /// Does something after which batches have this schema, and no order or content that was known before.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef, each: Arc<dyn Each>) -> Self {
        let parts = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(parts),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, each, properties: Arc::new(properties), is_alike: false }
    }

    /// Does something that leaves batches as they are.
    pub(crate) fn alike(input: Arc<dyn ExecutionPlan>, each: Arc<dyn Each>) -> Self {
        let properties = input.properties().clone();
        Self { input, each, properties, is_alike: true }
    }
}

impl DisplayAs for EachExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.each.name())
    }
}

impl ExecutionPlan for EachExec {
    fn name(&self) -> &str {
        self.each.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.is_alike]
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
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("{} has one child", self.each.name());
        };
        Ok(Arc::new(match self.is_alike {
            true => Self::alike(input, self.each.clone()),
            false => Self::new(input, self.schema(), self.each.clone()),
        }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut doing = self.each.start(&context);
        let done = self.input.execute(partition, context)?.map(move |batch| doing(batch?));
        let batches = done.map_ok(|batches| stream::iter(batches.into_iter().map(Ok))).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
