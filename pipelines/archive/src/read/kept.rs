//! Rows of a file as readers get them: without those that were erased.

use crate::erased::Erased;
use crate::table::Table;
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use std::sync::Arc;

/// The rows of one file, batch by batch.
pub struct Rows {
    batches: ParquetRecordBatchReader,
    table: Option<Table>,
    erased: Arc<Erased>,
    struck: u64,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Rows {
    pub(super) fn new(batches: ParquetRecordBatchReader, table: &str, erased: Arc<Erased>) -> Self {
        Self { batches, table: Table::from_name(table), erased, struck: 0 }
    }

    /// Returns how many rows were left out so far because they were erased.
    pub fn struck(&self) -> u64 {
        self.struck
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let Some(table) = self.table else { return Some(batch) };
        let strike = |batch: RecordBatch| {
            let rows = batch.num_rows();
            let kept = self.erased.strike(table, batch)?;
            self.struck += (rows - kept.num_rows()) as u64;
            Ok(kept)
        };
        Some(batch.and_then(strike))
    }
}
