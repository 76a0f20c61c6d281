//! Rows under construction: one builder per table, columns in memory until a file is written.
//!
//! `docs/archive.md` describes every column with its unit.

mod audit;
mod columns;
mod common;
mod completeness;
mod events;
mod numerics;
mod records;
mod waveforms;

pub(crate) use common::{Origin, lane_name, lane_of_name};
pub(crate) use completeness::Made;
pub(crate) use records::channel_of;

use crate::completeness::HourReport;
use crate::intake::{Arrival, Arrived};
use crate::table::Table;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use std::sync::Arc;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::AuditEvent;

/// Whose key encrypts a column: the two are granted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKey {
    /// Says who or what a row is about.
    Identifiers,
    /// Says what was measured, and when.
    Measurements,
}

/// Columns that are identifiers; every other one is under the measurements key.
const IDENTIFIERS: [&str; 10] = [
    "tenant",
    "device",
    "epoch",
    "lane",
    "seq",
    "partition",
    "journal_offset",
    "certificate_serial",
    "actor",
    "target",
];

/// Returns whose key encrypts a column, by its first path element.
pub(crate) fn key_of(column: &str) -> ColumnKey {
    let root = column.split('.').next().unwrap_or(column);
    if IDENTIFIERS.contains(&root) { ColumnKey::Identifiers } else { ColumnKey::Measurements }
}

/// Returns the Arrow schema of a table.
pub fn schema(table: Table) -> SchemaRef {
    let fields: Vec<Field> = match table {
        Table::Numerics => common::wrap(numerics::fields()),
        Table::Waveforms => common::wrap(waveforms::fields()),
        Table::Alarms => common::wrap(events::alarm_fields()),
        Table::Events => common::wrap(events::event_fields()),
        Table::Quarantine => records::quarantine_fields(),
        Table::Audit => audit::fields(),
        Table::Completeness => completeness::fields(),
    };
    Arc::new(Schema::new(fields))
}

/// Rows of one table.
#[derive(Debug)]
pub(crate) enum Rows {
    Numerics(numerics::Builder),
    Waveforms(waveforms::Builder),
    Alarms(events::AlarmBuilder),
    Events(events::EventBuilder),
    Quarantine(records::QuarantineBuilder),
    Audit(audit::AuditBuilder),
    Completeness(completeness::Builder),
}

impl Rows {
    pub(crate) fn new(table: Table) -> Self {
        match table {
            Table::Numerics => Self::Numerics(numerics::Builder::default()),
            Table::Waveforms => Self::Waveforms(waveforms::Builder::default()),
            Table::Alarms => Self::Alarms(events::AlarmBuilder::default()),
            Table::Events => Self::Events(events::EventBuilder::default()),
            Table::Quarantine => Self::Quarantine(records::QuarantineBuilder::default()),
            Table::Audit => Self::Audit(audit::AuditBuilder::default()),
            Table::Completeness => Self::Completeness(completeness::Builder::default()),
        }
    }

    /// Adds the rows of this table that a good body has. Returns their number and what they take in memory.
    pub(crate) fn push_body(&mut self, origin: &Origin<'_>, arrived: &Arrived) -> Added {
        let Ok(body) = &arrived.body else { return Added::default() };
        match self {
            Self::Numerics(rows) => rows.push(origin, arrived, &body.numerics),
            Self::Waveforms(rows) => body.waveforms.iter().map(|w| rows.push(origin, arrived, w)).sum(),
            Self::Alarms(rows) => body.alarms.iter().map(|a| rows.push(origin, arrived, a)).sum(),
            Self::Events(rows) => body.events.iter().map(|e| rows.push(origin, arrived, e)).sum(),
            Self::Quarantine(_) | Self::Audit(_) | Self::Completeness(_) => Added::default(),
        }
    }

    /// Adds a publish to the quarantine.
    pub(crate) fn push_refused(&mut self, arrival: &Arrival, why: Refusal) -> Added {
        match self {
            Self::Quarantine(rows) => rows.push(arrival, why),
            _ => Added::default(),
        }
    }

    /// Adds an audited act.
    pub(crate) fn push_audit(&mut self, arrival: &Arrival, tenant: &str, event: &AuditEvent) -> Added {
        match self {
            Self::Audit(rows) => rows.push(arrival, tenant, event),
            _ => Added::default(),
        }
    }

    /// Adds a stream's hour.
    pub(crate) fn push_report(&mut self, report: &HourReport, made: &Made) -> Added {
        match self {
            Self::Completeness(rows) => rows.push(report, made),
            _ => Added::default(),
        }
    }

    /// Ends the rows.
    pub(crate) fn finish(self, table: Table) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = match self {
            Self::Numerics(rows) => rows.finish(),
            Self::Waveforms(rows) => rows.finish(),
            Self::Alarms(rows) => rows.finish(),
            Self::Events(rows) => rows.finish(),
            Self::Quarantine(rows) => rows.finish(),
            Self::Audit(rows) => rows.finish(),
            Self::Completeness(rows) => rows.finish(),
        };
        RecordBatch::try_new(schema(table), columns)
    }
}

/// What was added to a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// Least and greatest time of the rows, unix microseconds.
    pub(crate) time_us: Option<(i64, i64)>,
}

impl Added {
    pub(crate) fn rows(rows: usize, row_bytes: usize, first_us: i64, last_us: i64) -> Self {
        Self { rows, bytes: rows * row_bytes, time_us: Some((first_us, last_us)) }
    }
}

impl std::iter::Sum for Added {
    fn sum<I: Iterator<Item = Self>>(added: I) -> Self {
        added.fold(Self::default(), |sum, next| Self {
            rows: sum.rows + next.rows,
            bytes: sum.bytes + next.bytes,
            time_us: match (sum.time_us, next.time_us) {
                (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                (one, other) => one.or(other),
            },
        })
    }
}
