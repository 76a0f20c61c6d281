//! Waveforms of one device in a span of time, on the edge's clock, which is the clock of alerts.

use super::ArchiveReader;
use super::columns::Columns;
use crate::error::ArchiveError;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt32Type};
use wardline_store::catalog::FileRow;

/// Whose waveforms, and when. Times are unix microseconds of the edge's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WavesWanted {
    /// Whose device.
    pub tenant: String,
    /// The device.
    pub device: String,
    /// From here.
    pub from_us: i64,
    /// To here, which is no longer part of it.
    pub to_us: i64,
}

/// A block of equally spaced samples.
#[derive(Debug, Clone, PartialEq)]
pub struct WaveBlock {
    /// Metric.
    pub mdc_code: u32,
    /// Its MDC RefId.
    pub mdc_ref_id: String,
    /// Unit of the values.
    pub ucum_unit: String,
    /// When the first sample was measured, unix microseconds of the edge's clock.
    pub start_us: i64,
    /// Between two samples, nanoseconds.
    pub interval_ns: u64,
    /// Physical values; none where nothing was measured.
    pub values: Vec<Option<f64>>,
}

impl WaveBlock {
    /// Returns when the sample `at` was measured; that behind the last one is the block's end.
    pub fn time_us(&self, at: usize) -> i64 {
        let after_us = u128::from(self.interval_ns) * at as u128 / 1000;
        self.start_us.saturating_add(i64::try_from(after_us).unwrap_or(i64::MAX))
    }

    /// Returns the block's end.
    pub fn end_us(&self) -> i64 {
        self.time_us(self.values.len())
    }
}

/// Reads the blocks of one file of `waveforms` that reach into the span. Blocks.
pub fn wave_blocks(
    reader: &ArchiveReader,
    file: &FileRow,
    wanted: &WavesWanted,
) -> Result<Vec<WaveBlock>, ArchiveError> {
    let mut blocks = Vec::new();
    for batch in reader.read(file)? {
        let batch = batch?;
        let columns = Columns(&batch);
        for row in 0..batch.num_rows() {
            if columns.text("device", row) != wanted.device || columns.text("tenant", row) != wanted.tenant {
                continue;
            }
            let block = block(&columns, row);
            if block.start_us < wanted.to_us && block.end_us() > wanted.from_us {
                blocks.push(block);
            }
        }
    }
    Ok(blocks)
}

fn block(columns: &Columns<'_>, row: usize) -> WaveBlock {
    let (scale, offset) =
        (columns.real("scale", row).unwrap_or(1.0), columns.real("offset", row).unwrap_or(0.0));
    let samples = columns.column("samples", row).and_then(|column| {
        let list = column.as_list_opt::<i32>()?.value(row);
        Some(list.as_primitive_opt::<Int32Type>()?.values().to_vec())
    });
    let mut values: Vec<Option<f64>> = samples
        .unwrap_or_default()
        .into_iter()
        .map(|sample| Some((f64::from(sample) - offset) * scale))
        .collect();
    for (first, count) in gaps(columns, row) {
        let first = usize::try_from(first).unwrap_or(usize::MAX).min(values.len());
        let last = first.saturating_add(usize::try_from(count).unwrap_or(usize::MAX)).min(values.len());
        if let Some(gap) = values.get_mut(first..last) {
            gap.fill(None);
        }
    }
    WaveBlock {
        mdc_code: columns.small("mdc_code", row),
        mdc_ref_id: columns.text("mdc_ref_id", row),
        ucum_unit: columns.text("ucum_unit", row),
        start_us: columns.time("device_time", row).saturating_add(columns.whole("clock_offset_us", row)),
        interval_ns: columns.number("interval_ns", row),
        values,
    }
}

fn gaps(columns: &Columns<'_>, row: usize) -> Vec<(u32, u32)> {
    let read = || {
        let list = columns.column("gaps", row)?.as_list_opt::<i32>()?.value(row);
        let gaps = list.as_struct_opt()?;
        let numbers = |name| gaps.column_by_name(name)?.as_primitive_opt::<UInt32Type>();
        let (first, count) = (numbers("first")?, numbers("count")?);
        Some((0..gaps.len()).map(|at| (first.value(at), count.value(at))).collect())
    };
    read().unwrap_or_default()
}
