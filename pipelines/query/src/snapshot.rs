//! A session over one listing of the catalog.

use crate::lookups::Lookups;
use crate::mask::Mask;
use crate::table::ArchiveTable;
use crate::views::{View, ViewTable};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use wardline_archive::Table;
use wardline_archive::place::Place;
use wardline_archive::read::ArchiveReader;
use wardline_proto::TenantId;
use wardline_store::catalog::FileRow;

/// Whose rows a session sees, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// Only this tenant's; none: all.
    pub(crate) tenant: Option<TenantId>,
    /// Hides who somebody is; only views are there then.
    pub(crate) mask: Option<Arc<Mask>>,
    /// Memory that sorting, grouping and joining may take; none: all there is.
    pub(crate) memory_bytes_max: Option<usize>,
}

/// Opens the archive of a data directory: what was committed before this call, and nothing after it. Who wore what is
/// as it is known now.
pub(crate) async fn open(data_dir: &Path, scope: &Scope) -> anyhow::Result<SessionContext> {
    open_known(data_dir, scope).await.map(|(session, _lookups)| session)
}

/// The same, with what the registry knew then.
pub(crate) async fn open_known(
    data_dir: &Path,
    scope: &Scope,
) -> anyhow::Result<(SessionContext, Arc<Lookups>)> {
    let reader = ArchiveReader::open(data_dir).await?;
    let store = Place::of(data_dir)?.store().open_read_only().await?;
    let files = reader.files(None).await?;
    let lookups = Arc::new(Lookups::load(&store, scope.tenant.as_ref()).await?);
    store.close().await;
    let runtime = runtime(scope.memory_bytes_max)?;
    ArchiveTable::register(&reader, &runtime)?;
    let session = SessionContext::new_with_config_rt(config(), runtime);
    let seen = |file: &&FileRow| scope.tenant.as_ref().is_none_or(|tenant| tenant.as_str() == file.tenant);
    let mut tables = HashMap::new();
    for table in Table::ALL {
        let own = files.iter().filter(seen).filter(|file| file.table == table.name()).cloned().collect();
        tables.insert(table, Arc::new(ArchiveTable::new(table, &reader, own)?));
    }
    for view in View::ALL {
        let Some(base) = tables.get(&view.table()) else { continue };
        let table = ViewTable::new(view, base.clone(), lookups.clone(), scope.mask.clone())?;
        session.register_table(view.name(), Arc::new(table))?;
    }
    if scope.mask.is_none() {
        for (table, provider) in tables {
            session.register_table(table.name(), provider)?;
        }
    }
    Ok((session, lookups))
}

fn config() -> SessionConfig {
    SessionConfig::new().with_information_schema(true)
}

/// What is too large for memory fails: a spilled row would lie on the disk in plaintext (SEC-3).
fn runtime(memory_bytes_max: Option<usize>) -> anyhow::Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let mut builder = RuntimeEnvBuilder::new().with_disk_manager_builder(disk);
    if let Some(bytes) = memory_bytes_max {
        builder = builder.with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)));
    }
    Ok(Arc::new(builder.build()?))
}

/// Returns the tables that a statement reads, each once, in order of name.
pub(crate) fn tables(rows: &DataFrame) -> anyhow::Result<Vec<String>> {
    let mut tables = BTreeSet::new();
    rows.logical_plan().apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables.into_iter().collect())
}

/// Allows what reads: the archive is written by the gateway only.
pub(crate) fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

/// Starts a statement so that it can be ended at any time.
pub(crate) async fn start(rows: DataFrame) -> Result<SendableRecordBatchStream, DataFusionError> {
    let context = Arc::new(rows.task_ctx());
    execute_stream(listening(rows.create_physical_plan().await?)?, context)
}

/// Makes joins listen: one of many rows with many others gives rows for hours without ever waiting, and what never
/// waits cannot be ended.
fn listening(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let listening = plan.transform_up(|node| {
        Ok(if node.name().ends_with("JoinExec") {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(node)
        })
    });
    listening.map(|plan| plan.data)
}
