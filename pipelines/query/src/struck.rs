//! Leaves erased rows out of a scan, while files still hold them.

use crate::functions::function;
use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::col;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;
use std::sync::Arc;
use wardline_archive::{Erased, Table};

/// Columns that tell whose a row is, and when.
fn columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Quarantine => &["tenant", "device", "ingest_time", "format", "payload"],
        _ => &["tenant", "device", "device_time", "clock_offset_us"],
    }
}

/// A scan that leaves out what was erased.
#[derive(Debug)]
pub(crate) struct Strike {
    /// Columns that the scan has to read, in order of the table's.
    pub(crate) read: Vec<usize>,
    /// Where the wanted ones are among them.
    wanted: Vec<usize>,
    table: Table,
    erased: Arc<Erased>,
}

impl Strike {
    /// Plans a scan of the wanted columns of a table; none where nothing is to be left out.
    pub(crate) fn new(
        table: Table,
        erased: &Arc<Erased>,
        schema: &SchemaRef,
        wanted: Option<&Vec<usize>>,
    ) -> Result<Option<Self>> {
        if erased.is_empty() || matches!(table, Table::Audit | Table::Completeness) {
            return Ok(None);
        }
        let wanted = wanted.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let own = columns(table).iter().map(|name| schema.index_of(name));
        let mut read = own.collect::<std::result::Result<Vec<_>, _>>()?;
        read.extend(&wanted);
        read.sort_unstable();
        read.dedup();
        let place = |column: &usize| read.binary_search(column).unwrap_or_default();
        let wanted = wanted.iter().map(place).collect();
        Ok(Some(Self { wanted, read, table, erased: erased.clone() }))
    }

    /// Puts the filter over the scan of [`read`](Self::read).
    pub(crate) fn over(
        self,
        state: &dyn Session,
        scan: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = scan.schema();
        let fields: Vec<Field> = columns(self.table)
            .iter()
            .map(|name| Ok(schema.field_with_name(name)?.clone()))
            .collect::<Result<_>>()?;
        let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        // Of these a scan may know less than the file: nulls are read as such.
        let own =
            Arc::new(Schema::new(fields.into_iter().map(|f| f.with_nullable(true)).collect::<Vec<_>>()));
        let (table, erased) = (self.table, self.erased);
        let kept = function("kept", types, DataType::Boolean, move |columns: &[ArrayRef]| {
            let rows = RecordBatch::try_new(own.clone(), columns.to_vec())?;
            let kept: BooleanArray = match erased.taken(table, &rows) {
                None => std::iter::repeat_n(Some(true), rows.num_rows()).collect(),
                Some(taken) => taken.iter().map(|erasure| Some(erasure.is_none())).collect(),
            };
            Ok(Arc::new(kept))
        });
        let call = kept.call(columns(self.table).iter().map(|name| col(*name)).collect());
        let predicate = state.create_physical_expr(call, &DFSchema::try_from(schema)?)?;
        let filter = FilterExecBuilder::new(predicate, scan).apply_projection(Some(self.wanted))?;
        Ok(Arc::new(filter.build()?))
    }
}
