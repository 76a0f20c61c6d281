//! A session over one listing of the catalog.

use crate::table::ArchiveTable;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use wardline_archive::Table;
use wardline_archive::read::ArchiveReader;

/// Opens the archive of a data directory: what was committed before this call, and nothing after it.
pub(crate) async fn open(data_dir: &Path) -> anyhow::Result<SessionContext> {
    let reader = ArchiveReader::open(data_dir).await?;
    let files = reader.files(None).await?;
    let config = SessionConfig::new().with_information_schema(true);
    let session = SessionContext::new_with_config(config);
    for table in Table::ALL {
        let own = files.iter().filter(|file| file.table == table.name()).cloned().collect();
        session.register_table(table.name(), Arc::new(ArchiveTable::new(table, &reader, own)?))?;
    }
    Ok(session)
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
