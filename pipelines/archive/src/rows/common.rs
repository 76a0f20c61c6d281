//! The columns that `numerics`, `waveforms`, `alarms` and `events` share: who, where in the stream, and when.

use super::columns::{Terms, Times, number, optional, repeat, terms, time};
use crate::intake::{Arrival, Arrived, Position};
use arrow_array::ArrayRef;
use arrow_array::builder::{Int64Builder, UInt16Builder, UInt32Builder, UInt64Builder};
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

/// The shared columns under construction.
#[derive(Debug, Default)]
pub(super) struct Common {
    tenant: Terms,
    device: Terms,
    epoch: UInt64Builder,
    lane: Terms,
    seq: UInt64Builder,
    device_time: Times,
    status: UInt32Builder,
    edge_time: Times,
    ingest_time: Times,
    clock_offset: Int64Builder,
    clock_uncertainty: UInt32Builder,
    sync_state: Terms,
    partition: UInt16Builder,
    offset: UInt64Builder,
    profile: Terms,
}

impl Common {
    /// Adds a row.
    pub(super) fn push(&mut self, origin: &Origin<'_>, device_us: i64, status: u32) {
        self.begin(origin, 1);
        self.row(device_us, status);
    }

    /// Adds what so many rows of one origin share; each is then to be given its own by [`row`](Self::row).
    pub(super) fn begin(&mut self, origin: &Origin<'_>, rows: usize) {
        self.tenant.push_many(Some(origin.tenant), rows);
        self.device.push_many(Some(origin.device), rows);
        repeat(&mut self.epoch, origin.position.map(|p| p.epoch), rows);
        self.lane.push_many(origin.position.and_then(|p| lane_name(p.lane)), rows);
        repeat(&mut self.seq, origin.position.map(|p| p.seq), rows);
        self.edge_time.push_many(origin.edge_us, rows);
        self.ingest_time.push_many(Some(origin.ingest_us), rows);
        repeat(&mut self.clock_offset, origin.clock_offset_us, rows);
        repeat(&mut self.clock_uncertainty, origin.clock_uncertainty_us, rows);
        self.sync_state.push_many(Some(origin.sync_state), rows);
        repeat(&mut self.partition, Some(origin.partition), rows);
        repeat(&mut self.offset, Some(origin.offset), rows);
        self.profile.push_many(origin.profile, rows);
    }

    /// Adds what a row has of its own.
    pub(super) fn row(&mut self, device_us: i64, status: u32) {
        self.device_time.push(Some(device_us));
        self.status.append_value(status);
    }

    /// Ends the shared columns around a table's own.
    pub(super) fn finish(mut self, own: Vec<ArrayRef>) -> Vec<ArrayRef> {
        let head: [ArrayRef; 6] = [
            self.tenant.finish(),
            self.device.finish(),
            Arc::new(self.epoch.finish()),
            self.lane.finish(),
            Arc::new(self.seq.finish()),
            self.device_time.finish(),
        ];
        let tail: [ArrayRef; 9] = [
            Arc::new(self.status.finish()),
            self.edge_time.finish(),
            self.ingest_time.finish(),
            Arc::new(self.clock_offset.finish()),
            Arc::new(self.clock_uncertainty.finish()),
            self.sync_state.finish(),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            self.profile.finish(),
        ];
        head.into_iter().chain(own).chain(tail).collect()
    }
}
