//! Leaves erased rows out of a scan, while files still hold them.

use crate::each::{Doing, Each, EachExec};
use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
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
#[derive(Debug, Clone)]
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

    /// Puts itself over the scan of [`read`](Self::read).
    pub(crate) fn over(self, scan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = scan.schema();
        let given = Arc::new(schema.project(&self.wanted)?);
        let own = columns(self.table).iter().map(|name| schema.index_of(name));
        let own = own.collect::<std::result::Result<Vec<_>, _>>()?;
        // Of these a scan may know less than the file: nulls are read as such.
        let fields = own.iter().map(|at| schema.field(*at).clone().with_nullable(true));
        let whose = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Arc::new(EachExec::new(scan, given, Arc::new(Kept { strike: self, own, whose }))))
    }
}

impl Each for Kept {
    fn name(&self) -> &'static str {
        "StrikeExec"
    }

    fn start(&self, _context: &TaskContext) -> Doing {
        let kept = self.clone();
        Box::new(move |batch| Ok(vec![kept.of(&batch)?]))
    }
}

/// Leaves out every row that was erased. No condition goes below it.
#[derive(Debug, Clone)]
struct Kept {
    strike: Strike,
    /// Where the columns stand that tell whose a row is, and what they are.
    own: Vec<usize>,
    whose: SchemaRef,
}

impl Kept {
    fn of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let own = self.own.iter().map(|at| batch.column(*at).clone()).collect();
        let rows = RecordBatch::try_new(self.whose.clone(), own)?;
        let given = batch.project(&self.strike.wanted)?;
        Ok(match self.strike.erased.taken(self.strike.table, &rows) {
            None => given,
            Some(taken) => {
                let kept: BooleanArray = taken.iter().map(|erasure| Some(erasure.is_none())).collect();
                filter_record_batch(&given, &kept)?
            }
        })
    }
}
