//! What every table of ours tells the engine in the same way, said once.

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Result};
use datafusion::datasource::TableType;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use std::fmt;
use std::sync::Arc;

/// What a scan is to give.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Columns by place; none: all.
    pub(crate) columns: Option<&'a Vec<usize>>,
    /// Rows that pass all of these.
    pub(crate) filters: &'a [Expr],
    /// So many at least, when there are as many.
    pub(crate) limit: Option<usize>,
}

impl Wanted<'_> {
    /// Plans it over a plan that has all columns and rows.
    pub(crate) async fn over(
        self,
        state: &dyn Session,
        mut plan: LogicalPlanBuilder,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(filter) = conjunction(self.filters.to_vec()) {
            plan = plan.filter(filter)?;
        }
        if let Some(columns) = self.columns {
            let schema = plan.schema().clone();
            plan = plan
                .project(columns.iter().map(|at| Expr::Column(Column::from(schema.qualified_field(*at)))))?;
        }
        state.create_physical_plan(&plan.limit(0, self.limit)?.build()?).await
    }
}

/// Rows that can be scanned.
#[async_trait]
pub(crate) trait Scanned: fmt::Debug + Send + Sync + 'static {
    /// Says what a scan does with filters.
    const FILTERS: TableProviderFilterPushDown;
    /// Table or view.
    const KIND: TableType = TableType::Base;

    /// Returns the columns.
    fn columns(&self) -> SchemaRef;

    /// Plans a scan.
    async fn scanned(&self, state: &dyn Session, wanted: Wanted<'_>) -> Result<Arc<dyn ExecutionPlan>>;
}

/// Such rows as a table of the engine's.
#[derive(Debug)]
pub(crate) struct Provider<S>(pub(crate) S);

#[async_trait]
impl<S: Scanned> TableProvider for Provider<S> {
    fn schema(&self) -> SchemaRef {
        self.0.columns()
    }

    fn table_type(&self) -> TableType {
        S::KIND
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![S::FILTERS; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        columns: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.scanned(state, Wanted { columns, filters, limit }).await
    }
}
