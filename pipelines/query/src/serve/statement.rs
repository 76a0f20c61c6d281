//! From a caller's text to a plan over what its role reads. Nothing but the catalog is read here.

use super::grants::Grant;
use super::limits::{MEMORY_BYTES_MAX, STATEMENT_BYTES_MAX};
use crate::error::QueryError;
use crate::growth;
use crate::mask::Mask;
use crate::snapshot::{self, Opened, Reach, Scope, Shared};
use datafusion::common::SchemaError;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use wardline_access::Caller;

/// A statement that may run.
pub(crate) struct Prepared {
    pub(crate) opened: Opened,
    pub(crate) rows: DataFrame,
    /// What it reads, each once.
    pub(crate) tables: Vec<String>,
}

/// Plans a statement over one snapshot of what the caller reads, in a session of its own.
pub(crate) async fn prepare(
    (data_dir, shared): (&Path, &Shared),
    caller: &Caller,
    grant: Grant,
    mask: Option<Arc<Mask>>,
    (sql, reach): (&str, Reach),
) -> Result<Prepared, QueryError> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(QueryError::Statement(format!(
            "the statement is longer than {STATEMENT_BYTES_MAX} bytes"
        )));
    }
    growth::check_steps(sql)?;
    let scope = Scope {
        tenant: Some(caller.tenant.clone()),
        sites: (grant == Grant::Identified).then(|| (*caller.sites).clone()),
        mask,
        granted: Some(grant.tables()),
        memory_bytes_max: Some(MEMORY_BYTES_MAX),
        reach,
        shared: Some(shared.clone()),
    };
    let opened = snapshot::open(data_dir, &scope).await.map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "the archive does not open");
        QueryError::Archive("the archive does not open".into())
    })?;
    let state = opened.session.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect).map_err(|error| of_plan(grant, &error))?;
    if !is_select(&statement) {
        return Err(QueryError::NotRead);
    }
    let tables = state.resolve_table_references(&statement).map_err(|error| of_plan(grant, &error))?;
    for table in &tables {
        grant.check_table(table.table())?;
    }
    let plan = state.statement_to_plan(statement).await.map_err(|error| of_plan(grant, &error))?;
    snapshot::read_only().verify_plan(&plan).map_err(|_more| QueryError::NotRead)?;
    growth::check(&plan)?;
    let tables: BTreeSet<String> = tables.iter().map(|table| table.table().to_owned()).collect();
    Ok(Prepared { opened, rows: DataFrame::new(state, plan), tables: tables.into_iter().collect() })
}

fn is_select(statement: &Statement) -> bool {
    matches!(statement, Statement::Statement(statement) if matches!(**statement, ast::Statement::Query(_)))
}

/// The text of an error of planning holds words of the statement alone, and names of columns.
fn of_plan(grant: Grant, error: &DataFusionError) -> QueryError {
    if let DataFusionError::SchemaError(schema, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, .. } = &**schema
        && let Some(withheld) = grant.withheld(&field.name)
    {
        return withheld;
    }
    QueryError::Statement(error.strip_backtrace())
}
