//! Rows of the archive as the tests compare them.

use anyhow::{Context, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float64Type, Int32Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};

/// Where a row's frame stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) device: String,
    pub(crate) epoch: u64,
    pub(crate) lane: String,
    pub(crate) seq: u64,
}

/// A row of `numerics`.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) position: Position,
    pub(crate) time_us: i64,
    pub(crate) mdc_code: u32,
    pub(crate) value: f64,
    pub(crate) status: u32,
}

/// A row of `waveforms`.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) start_us: i64,
    pub(crate) mdc_code: u32,
    pub(crate) interval_ns: u64,
    pub(crate) samples: Vec<i32>,
}

/// A row of `quarantine`.
#[derive(Debug, Clone)]
pub(crate) struct Bad {
    pub(crate) position: Position,
    pub(crate) reason: String,
}

/// A row of `audit`.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    pub(crate) action: String,
    pub(crate) actor: String,
    pub(crate) outcome: String,
}

/// A batch with its columns by name and row.
struct Table(RecordBatch);

impl Table {
    fn column(&self, name: &str) -> anyhow::Result<&dyn Array> {
        Ok(self.0.column_by_name(name).with_context(|| format!("no column {name}"))?.as_ref())
    }

    fn number<T: ArrowPrimitiveType>(&self, name: &str, row: usize) -> anyhow::Result<T::Native> {
        let column = self.column(name)?;
        let values =
            column.as_primitive_opt::<T>().with_context(|| format!("{name}: {}", column.data_type()))?;
        Ok(if values.is_null(row) { T::Native::default() } else { values.value(row) })
    }

    fn text(&self, name: &str, row: usize) -> anyhow::Result<String> {
        let column = self.column(name)?;
        if column.is_null(row) {
            return Ok(String::new());
        }
        if let Some(plain) = column.as_string_opt::<i32>() {
            return Ok(plain.value(row).to_owned());
        }
        let Some(terms) = column.as_dictionary_opt::<Int32Type>() else {
            bail!("{name}: {}", column.data_type());
        };
        let key = usize::try_from(terms.keys().value(row))?;
        Ok(terms.values().as_string_opt::<i32>().context("terms of text")?.value(key).to_owned())
    }

    fn integers(&self, name: &str, row: usize) -> anyhow::Result<Vec<i32>> {
        let list = self.column(name)?.as_list_opt::<i32>().context("a list")?.value(row);
        Ok(list.as_primitive_opt::<Int32Type>().context("of integers")?.values().to_vec())
    }

    fn position(&self, row: usize) -> anyhow::Result<Position> {
        Ok(Position {
            device: self.text("device", row)?,
            epoch: self.number::<UInt64Type>("epoch", row)?,
            lane: self.text("lane", row)?,
            seq: self.number::<UInt64Type>("seq", row)?,
        })
    }

    fn reading(&self, row: usize) -> anyhow::Result<Reading> {
        Ok(Reading {
            position: self.position(row)?,
            time_us: self.number::<TimestampMicrosecondType>("device_time", row)?,
            mdc_code: self.number::<UInt32Type>("mdc_code", row)?,
            value: self.number::<Float64Type>("value", row)?,
            status: self.number::<UInt32Type>("status", row)?,
        })
    }

    fn block(&self, row: usize) -> anyhow::Result<Block> {
        Ok(Block {
            start_us: self.number::<TimestampMicrosecondType>("device_time", row)?,
            mdc_code: self.number::<UInt32Type>("mdc_code", row)?,
            interval_ns: self.number::<UInt64Type>("interval_ns", row)?,
            samples: self.integers("samples", row)?,
        })
    }

    fn bad(&self, row: usize) -> anyhow::Result<Bad> {
        Ok(Bad { position: self.position(row)?, reason: self.text("reason", row)? })
    }

    fn audit(&self, row: usize) -> anyhow::Result<Audit> {
        Ok(Audit {
            action: self.text("action", row)?,
            actor: self.text("actor", row)?,
            outcome: self.text("outcome", row)?,
        })
    }
}

fn all<T>(
    batches: &[RecordBatch],
    row_of: impl Fn(&Table, usize) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let tables = batches.iter().cloned().map(Table);
    tables
        .flat_map(|table| (0..table.0.num_rows()).map(|row| row_of(&table, row)).collect::<Vec<_>>())
        .collect()
}

/// Returns the rows of `numerics`.
pub(crate) fn readings(batches: &[RecordBatch]) -> anyhow::Result<Vec<Reading>> {
    all(batches, Table::reading)
}

/// Returns the rows of `waveforms`.
pub(crate) fn blocks(batches: &[RecordBatch]) -> anyhow::Result<Vec<Block>> {
    all(batches, Table::block)
}

/// Returns the rows of `quarantine`.
pub(crate) fn quarantined(batches: &[RecordBatch]) -> anyhow::Result<Vec<Bad>> {
    all(batches, Table::bad)
}

/// Returns the rows of `audit`.
pub(crate) fn audited(batches: &[RecordBatch]) -> anyhow::Result<Vec<Audit>> {
    all(batches, Table::audit)
}

/// Returns the positions of any table with streams.
pub(crate) fn positions(batches: &[RecordBatch]) -> anyhow::Result<Vec<Position>> {
    all(batches, Table::position)
}
