//! What a statement says, planned over columns alone and kept for whoever asks the same again.
//!
//! ```text
//! GetFlightInfo -> parse: text, role -> plan over columns -> its columns are the answer
//! DoGet         -> the same plan, kept -> over: the tables of a session opened now -> rows
//! ```
//! **Invariant:** nothing of the archive, of a tenant or of a caller is in it: a role's columns are the program's own. What
//! a statement reads is opened when it starts, and its caller judged then.

use super::grants::Grant;
use super::limits::{STATEMENT_BYTES_MAX, STATEMENTS_KEPT, STATEMENTS_KEPT_BYTES};
use crate::error::QueryError;
use crate::growth;
use crate::lookups::Lookups;
use crate::mask::Mask;
use crate::session;
use crate::snapshot::{self, Opened, Scope};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, SchemaError, internal_err};
use datafusion::datasource::{TableType, provider_as_source, source_as_provider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use wardline_archive::{Table, schema};

/// A statement that a role may run.
#[derive(Debug)]
pub(crate) struct Parsed {
    plan: LogicalPlan,
    /// What it reads, each once.
    pub(crate) tables: Vec<String>,
}

/// Statements that were asked for last.
#[derive(Debug, Default)]
pub(crate) struct Statements(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<(Grant, Arc<str>), Arc<Parsed>>,
    /// In order of coming.
    order: VecDeque<(Grant, Arc<str>)>,
}

impl Statements {
    /// Finds a statement that was planned before.
    pub(crate) fn known(&self, grant: Grant, sql: &str) -> Option<Arc<Parsed>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.known.get(&(grant, sql.into())).cloned()
    }

    /// Plans a statement over the columns of what a role reads, and keeps it.
    pub(crate) async fn parse(&self, grant: Grant, sql: &str) -> Result<Arc<Parsed>, QueryError> {
        let key = (grant, Arc::<str>::from(sql));
        let parsed = Arc::new(parse(grant, sql).await?);
        if sql.len() <= STATEMENTS_KEPT_BYTES {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.known.insert(key.clone(), parsed.clone()).is_none() {
                kept.order.push_back(key);
            }
            while kept.order.len() > STATEMENTS_KEPT {
                let Some(oldest) = kept.order.pop_front() else { break };
                kept.known.remove(&oldest);
            }
        }
        Ok(parsed)
    }
}

impl Parsed {
    /// Returns the columns of its answer.
    pub(crate) fn columns(&self) -> &Schema {
        self.plan.schema().as_arrow()
    }

    /// Puts the tables of a session in the places of the columns that it was planned over.
    pub(crate) fn over(&self, opened: &Opened) -> Result<LogicalPlan> {
        let over = self.plan.clone().transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
            let Some(name) = source_as_provider(&scan.source).ok().and_then(|provider| name_of(&*provider))
            else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            let Some(table) = opened.tables.get(name) else {
                return internal_err!("{name} is not there");
            };
            scan.source = provider_as_source(table.clone());
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        });
        over.map(|over| over.data)
    }
}

async fn parse(grant: Grant, sql: &str) -> Result<Parsed, QueryError> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(QueryError::Statement(format!(
            "the statement is longer than {STATEMENT_BYTES_MAX} bytes"
        )));
    }
    growth::check_steps(sql)?;
    let state = columns(grant).map_err(|error| QueryError::Archive(format!("{error:#}")))?.state();
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
    Ok(Parsed { plan, tables: tables.into_iter().collect() })
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

/// Sessions that have the columns of what a role reads, and no row.
static COLUMNS: [OnceLock<SessionContext>; 2] = [const { OnceLock::new() }; 2];

fn columns(grant: Grant) -> anyhow::Result<SessionContext> {
    let known = &COLUMNS[usize::from(grant == Grant::Deidentified)];
    if let Some(known) = known.get() {
        return Ok(known.clone());
    }
    let table = |table: Table| {
        let columns = Columns { name: table.name(), schema: schema(table), kind: TableType::Base };
        (table, Arc::new(columns) as Arc<dyn TableProvider>)
    };
    // Of whom it hides names does not matter to the columns.
    let mask = (grant == Grant::Deidentified).then(|| Arc::new(Mask::new(b"", 1)));
    let scope = Scope { mask, granted: Some(grant.tables()), ..Scope::default() };
    let session = session::begin(true)?;
    for (name, table) in scope.named(Table::ALL.map(table).into(), &Arc::new(Lookups::default()))? {
        let (schema, kind) = (table.schema(), table.table_type());
        session.register_table(name, Arc::new(Columns { name, schema, kind }))?;
    }
    Ok(known.get_or_init(|| session).clone())
}

/// Columns of a table or view.
#[derive(Debug)]
struct Columns {
    name: &'static str,
    schema: SchemaRef,
    kind: TableType,
}

/// Returns the name of the table whose columns these are, when they are such.
fn name_of(provider: &dyn TableProvider) -> Option<&'static str> {
    provider.downcast_ref::<Columns>().map(|columns| columns.name)
}

#[async_trait]
impl TableProvider for Columns {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        self.kind
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _columns: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        internal_err!("{} has columns alone", self.name)
    }
}
