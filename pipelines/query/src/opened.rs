//! What a scan opens: files with what is known of them, and columns.

use crate::proven::OfRows;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use std::sync::Arc;
use wardline_archive::Table;
use wardline_store::catalog::FileRow;

/// A file as the engine opens it.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) file: PartitionedFile,
    pub(crate) rows: u64,
    /// What its footer says, where that was read before.
    known: Option<Arc<OfRows>>,
}

impl Opening {
    /// Opens a file of a table by its path.
    pub(crate) fn new(
        (table, schema): (Table, &SchemaRef),
        (file, path): (&FileRow, String),
        known: Option<Arc<OfRows>>,
    ) -> Self {
        let statistics = Arc::new(statistics(table, schema, file, known.as_deref()));
        let opened = PartitionedFile::new(path, file.bytes).with_statistics(statistics);
        Self { file: opened, rows: file.rows, known }
    }
}

/// What is known of a file: rows, the range of the table's time, and what all rows share.
fn statistics(table: Table, schema: &SchemaRef, file: &FileRow, of_rows: Option<&OfRows>) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let rows = usize::try_from(file.rows);
    statistics.num_rows = rows.map_or(Precision::Absent, Precision::Exact);
    let mut between = |column: &str, bounds: [ScalarValue; 2]| {
        let Ok(column) = schema.index_of(column) else { return };
        let (of_column, [least, most]) = (&mut statistics.column_statistics[column], bounds);
        of_column.min_value = Precision::Exact(least);
        of_column.max_value = Precision::Exact(most);
        of_column.null_count = Precision::Exact(0);
    };
    let time = |us| ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()));
    between(table.time_column(), [file.time_min_us, file.time_max_us].map(time));
    let device = of_rows.and_then(|of_rows| of_rows.device.as_deref());
    for (column, text) in [("tenant", Some(file.tenant.as_str())), ("device", device)] {
        let text = text.map(|text| ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(text.into())));
        if let Some(text) = text {
            between(column, [text.clone(), text]);
        }
    }
    statistics
}

/// Returns the order that the rows of each file have, where all are of one device.
pub(crate) fn order(schema: &SchemaRef, files: &[Opening]) -> Vec<LexOrdering> {
    let Some(first) = files.first().and_then(|first| first.known.as_ref()) else { return Vec::new() };
    let is_like = |file: &Opening| {
        file.known.as_ref().is_some_and(|known| known.device == first.device && known.order == first.order)
    };
    if first.device.is_none() || !files.iter().all(is_like) {
        return Vec::new();
    }
    // By what all rows share they are in any order.
    let by = first.order.iter().filter(|column| *column != "device");
    let by = by.map_while(|column| col(column, schema).ok());
    let ascending = SortOptions { descending: false, nulls_first: false };
    LexOrdering::new(by.map(|column| PhysicalSortExpr::new(column, ascending))).into_iter().collect()
}

/// What a scan of some rows reads, and which columns of that are given on.
pub(crate) struct Columns {
    pub(crate) read: Vec<usize>,
    pub(crate) given: Vec<usize>,
}

impl Columns {
    /// Reads the wanted columns and those that conditions are on.
    pub(crate) fn new(schema: &SchemaRef, wanted: Vec<usize>, conditions: &[Expr]) -> Result<Self> {
        if conditions.is_empty() {
            return Ok(Self { given: (0..wanted.len()).collect(), read: wanted });
        }
        let mut read = wanted.clone();
        for column in conditions.iter().flat_map(Expr::column_refs) {
            read.push(schema.index_of(&column.name)?);
        }
        read.sort_unstable();
        read.dedup();
        let place = |column: &usize| read.binary_search(column).unwrap_or_default();
        Ok(Self { given: wanted.iter().map(place).collect(), read })
    }
}
