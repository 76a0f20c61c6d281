//! Rows of `numerics` and `alarms` as what devices said, for whoever decides on them again.

use super::ArchiveReader;
use super::columns::Columns;
use crate::error::ArchiveError;
use wardline_proto::v1::{AlarmKind, AlarmPhase, DeviceAlarm, Priority};
use wardline_store::catalog::FileRow;

/// What a device said.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// A reading of a metric.
    Reading {
        /// Metric.
        mdc_code: u32,
        /// Its unit.
        ucum_unit: String,
        /// Device clock, unix microseconds.
        at_us: i64,
        /// The value.
        value: f64,
        /// Status bits.
        status: u32,
    },
    /// A step of an alarm of its own.
    Alarm(DeviceAlarm),
}

/// An archived row with who said it and when it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Where its publish stood in the journal.
    pub journal_offset: u64,
    /// Whose device.
    pub tenant: String,
    /// The device.
    pub device: String,
    /// When the front accepted it, unix microseconds.
    pub ingested_at_us: i64,
    /// Edge time minus device time, microseconds.
    pub clock_offset_us: i64,
    /// What it said.
    pub said: Said,
}

/// Reads the rows of one file of `numerics` or `alarms`, in the order of the file. Blocks.
pub fn measured_rows(reader: &ArchiveReader, file: &FileRow) -> Result<Vec<Measured>, ArchiveError> {
    let is_alarm = file.table == crate::Table::Alarms.name();
    let mut rows = Vec::new();
    for batch in reader.read(file)? {
        let batch = batch?;
        let columns = Columns(&batch);
        rows.extend((0..batch.num_rows()).map(|at| measured(&columns, at, is_alarm)));
    }
    Ok(rows)
}

fn measured(columns: &Columns<'_>, row: usize, is_alarm: bool) -> Measured {
    let at_us = columns.time("device_time", row);
    let said = if is_alarm {
        Said::Alarm(alarm(columns, row, at_us))
    } else {
        Said::Reading {
            mdc_code: columns.small("mdc_code", row),
            ucum_unit: columns.text("ucum_unit", row),
            at_us,
            value: columns.real("value", row).unwrap_or(f64::NAN),
            status: columns.small("status", row),
        }
    };
    Measured {
        journal_offset: columns.number("journal_offset", row),
        tenant: columns.text("tenant", row),
        device: columns.text("device", row),
        ingested_at_us: columns.time("ingest_time", row),
        clock_offset_us: columns.whole("clock_offset_us", row),
        said,
    }
}

fn alarm(columns: &Columns<'_>, row: usize, at_us: i64) -> DeviceAlarm {
    let kind = match columns.text("kind", row).as_str() {
        "physiological" => AlarmKind::Physiological,
        "technical" => AlarmKind::Technical,
        "advisory" => AlarmKind::Advisory,
        _ => AlarmKind::Unspecified,
    };
    let priority = match columns.text("priority", row).as_str() {
        "low" => Priority::Low,
        "medium" => Priority::Medium,
        "high" => Priority::High,
        _ => Priority::Unspecified,
    };
    let phase = match columns.text("phase", row).as_str() {
        "start" => AlarmPhase::Start,
        "continue" => AlarmPhase::Continue,
        "update" => AlarmPhase::Update,
        "end" => AlarmPhase::End,
        "escalate" => AlarmPhase::Escalate,
        "deescalate" => AlarmPhase::Deescalate,
        _ => AlarmPhase::Unspecified,
    };
    DeviceAlarm {
        condition_id: columns.text("condition_id", row),
        mdc_code: columns.small("mdc_code", row),
        source_mdc_code: columns.small("source_mdc_code", row),
        kind: kind.into(),
        priority: priority.into(),
        phase: phase.into(),
        at_us,
        value: columns.real("value", row),
        limit: columns.real("limit", row),
        ucum_unit: columns.text("ucum_unit", row),
    }
}
