//! The columns that `numerics`, `waveforms`, `alarms` and `events` share: who, where in the stream, and when.

use super::columns::{Texts, UTC, number, optional, spread, terms, time};
use crate::intake::{Arrival, Arrived, Position};
use arrow_array::types::{
    Int32Type, Int64Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray, TimestampMicrosecondArray, UInt32Array};
use arrow_schema::{DataType, Field};
use std::sync::Arc;
use wardline_proto::v1::{Lane, SyncState};

/// Memory that the shared columns take per row, bytes.
pub(super) const ROW_BYTES: usize = 96;

/// Where a row comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    tenant: &'a str,
    device: &'a str,
    position: Option<Position>,
    edge_us: Option<i64>,
    ingest_us: i64,
    clock_offset_us: Option<i64>,
    clock_uncertainty_us: Option<u32>,
    sync_state: &'static str,
    partition: u16,
    offset: u64,
    profile: Option<&'a str>,
}

impl<'a> Origin<'a> {
    pub(crate) fn of(arrival: &Arrival, arrived: &'a Arrived) -> Self {
        let clock = arrived.clock.as_ref();
        Self {
            tenant: arrived.key.tenant.as_str(),
            device: arrived.key.device.as_str(),
            position: arrived.position,
            edge_us: arrived.sent_at_us,
            ingest_us: arrival.ingest_us,
            clock_offset_us: clock.map(|c| c.device_offset_us),
            clock_uncertainty_us: clock.map(|c| c.uncertainty_us).filter(|u| *u > 0),
            sync_state: sync_state(clock.map_or(SyncState::Unspecified, |c| c.sync_state())),
            partition: arrival.partition,
            offset: arrival.offset,
            profile: arrived.profile.as_ref().map(|profile| profile.name.as_str()),
        }
    }
}

/// Returns a lane's name in the archive.
pub(crate) fn lane_name(lane: Lane) -> Option<&'static str> {
    match lane {
        Lane::Unspecified => None,
        Lane::Alarm => Some("alarm"),
        Lane::Numerics => Some("numerics"),
        Lane::Waveforms => Some("waveforms"),
        Lane::Events => Some("events"),
    }
}

/// Finds the lane of a name in the archive.
pub(crate) fn lane_of_name(name: &str) -> Option<Lane> {
    let lanes = [Lane::Alarm, Lane::Numerics, Lane::Waveforms, Lane::Events];
    lanes.into_iter().find(|lane| lane_name(*lane) == Some(name))
}

fn sync_state(state: SyncState) -> &'static str {
    match state {
        SyncState::Unspecified => "unknown",
        SyncState::None => "none",
        SyncState::Ntp => "ntp",
        SyncState::Gateway => "gateway",
    }
}

/// Puts a table's own fields between the shared ones.
pub(super) fn wrap(own: Vec<Field>) -> Vec<Field> {
    let head = [
        terms("tenant"),
        terms("device"),
        optional(number("epoch", DataType::UInt64)),
        optional(terms("lane")),
        optional(number("seq", DataType::UInt64)),
        time("device_time"),
    ];
    let tail = [
        number("status", DataType::UInt32),
        optional(time("edge_time")),
        time("ingest_time"),
        optional(number("clock_offset_us", DataType::Int64)),
        optional(number("clock_uncertainty_us", DataType::UInt32)),
        terms("sync_state"),
        number("partition", DataType::UInt16),
        number("journal_offset", DataType::UInt64),
        optional(terms("profile")),
    ];
    head.into_iter().chain(own).chain(tail).collect()
}

/// Rows of one origin, which share all but their own time and status.
#[derive(Debug, Clone, Copy)]
struct Run {
    rows: usize,
    tenant: Option<i32>,
    device: Option<i32>,
    lane: Option<i32>,
    sync_state: Option<i32>,
    profile: Option<i32>,
    position: Option<(u64, u64)>,
    edge_us: Option<i64>,
    ingest_us: i64,
    clock_offset_us: Option<i64>,
    clock_uncertainty_us: Option<u32>,
    partition: u16,
    offset: u64,
}

/// The shared columns under construction: what rows share stands once until the columns are made.
#[derive(Debug, Default)]
pub(super) struct Common {
    runs: Vec<Run>,
    tenant: Texts,
    device: Texts,
    lane: Texts,
    sync_state: Texts,
    profile: Texts,
    device_us: Vec<i64>,
    status: Vec<u32>,
}

impl Common {
    /// Adds a row.
    pub(super) fn push(&mut self, origin: &Origin<'_>, device_us: i64, status: u32) {
        self.begin(origin, 1);
        self.row(device_us, status);
    }

    /// Adds what so many rows of one origin share; each is then to be given its own by [`row`](Self::row).
    pub(super) fn begin(&mut self, origin: &Origin<'_>, rows: usize) {
        self.runs.push(Run {
            rows,
            tenant: Some(self.tenant.key(origin.tenant)),
            device: Some(self.device.key(origin.device)),
            lane: origin.position.and_then(|p| lane_name(p.lane)).map(|lane| self.lane.key(lane)),
            sync_state: Some(self.sync_state.key(origin.sync_state)),
            profile: origin.profile.map(|profile| self.profile.key(profile)),
            position: origin.position.map(|p| (p.epoch, p.seq)),
            edge_us: origin.edge_us,
            ingest_us: origin.ingest_us,
            clock_offset_us: origin.clock_offset_us,
            clock_uncertainty_us: origin.clock_uncertainty_us,
            partition: origin.partition,
            offset: origin.offset,
        });
    }

    /// Adds what a row has of its own.
    pub(super) fn row(&mut self, device_us: i64, status: u32) {
        self.device_us.push(device_us);
        self.status.push(status);
    }

    /// Ends the shared columns around a table's own.
    pub(super) fn finish(self, own: Vec<ArrayRef>) -> Vec<ArrayRef> {
        let Self { runs, tenant, device, lane, sync_state, profile, device_us, status } = self;
        let rows = device_us.len();
        let keys = |of: fn(&Run) -> Option<i32>| column::<Int32Type>(&runs, rows, of);
        let times =
            |of| Arc::new(column::<TimestampMicrosecondType>(&runs, rows, of).with_timezone(UTC)) as ArrayRef;
        let times_of_rows = TimestampMicrosecondArray::from(device_us).with_timezone(UTC);
        let head: [ArrayRef; 6] = [
            tenant.finish(keys(|run| run.tenant)),
            device.finish(keys(|run| run.device)),
            Arc::new(column::<UInt64Type>(&runs, rows, |run| run.position.map(|(epoch, _)| epoch))),
            lane.finish(keys(|run| run.lane)),
            Arc::new(column::<UInt64Type>(&runs, rows, |run| run.position.map(|(_, seq)| seq))),
            Arc::new(times_of_rows),
        ];
        let tail: [ArrayRef; 9] = [
            Arc::new(UInt32Array::from(status)),
            times(|run| run.edge_us),
            times(|run| Some(run.ingest_us)),
            Arc::new(column::<Int64Type>(&runs, rows, |run| run.clock_offset_us)),
            Arc::new(column::<UInt32Type>(&runs, rows, |run| run.clock_uncertainty_us)),
            sync_state.finish(keys(|run| run.sync_state)),
            Arc::new(column::<UInt16Type>(&runs, rows, |run| Some(run.partition))),
            Arc::new(column::<UInt64Type>(&runs, rows, |run| Some(run.offset))),
            profile.finish(keys(|run| run.profile)),
        ];
        head.into_iter().chain(own).chain(tail).collect()
    }
}

/// Makes a column of what the rows of each run share.
fn column<T: ArrowPrimitiveType>(
    runs: &[Run],
    rows: usize,
    of: fn(&Run) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    spread(runs.iter().map(|run| (of(run), run.rows)), rows)
}
