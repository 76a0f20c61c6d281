//! What the engine is fed: one accepted publish of one device, decoded.

use crate::rules::LiveWindow;
use wardline_proto::DeviceKey;
use wardline_proto::frame::FrameHeader;
use wardline_proto::v1::{Body, Clock, NumericSeries};

/// One decoded publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Who sent it, from the certificate.
    pub key: DeviceKey,
    /// Where it stands in its stream; `None` for the JSON form, which has no positions.
    pub header: Option<FrameHeader>,
    /// When the front accepted it, front clock, unix microseconds: the journal's time, or before it.
    pub ingested_at_us: i64,
    /// Edge time minus device time, microseconds; device times are moved by it.
    pub device_offset_us: i64,
    /// Readings and device alarms.
    pub body: Body,
}

impl Observation {
    /// Makes an observation of a frame's parts.
    pub fn of_frame(
        key: DeviceKey,
        header: FrameHeader,
        clock: Option<Clock>,
        ingested_at_us: i64,
        body: Body,
    ) -> Self {
        let device_offset_us = clock.map_or(0, |c| c.device_offset_us);
        Self { key, header: Some(header), ingested_at_us, device_offset_us, body }
    }

    /// Moves a device time to the edge's clock.
    pub(crate) fn edge_time(&self, device_us: i64) -> i64 {
        device_us.saturating_add(self.device_offset_us)
    }
}

/// A publish and the journal's time of it. The front's own stamp, which is in the publish, is equal or lower: journal
/// time never falls, also when the front's clock was ahead and was set back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub(crate) publish: &'a Observation,
    pub(crate) time_us: i64,
    /// For how long the device had said nothing, microseconds of journal time.
    pub(crate) silent_us: i64,
}

impl Taken<'_> {
    /// Returns when it came for the question how old it was then. Not the journal's time: while that is ahead of
    /// a clock that was set back, everything would look old, and no limit would be watched.
    pub(crate) fn came_us(&self) -> i64 {
        self.publish.ingested_at_us.min(self.time_us)
    }

    /// Says whether something at `at_us` was live when it came, by either time.
    pub(crate) fn is_live(&self, window: LiveWindow, at_us: i64) -> bool {
        window.holds(at_us, self.publish.ingested_at_us) || window.holds(at_us, self.time_us)
    }
}

/// One reading of a series, its time on the edge's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    pub(crate) at_us: i64,
    pub(crate) value: f64,
    pub(crate) status: u32,
}

/// Yields the readings of a series in its own order. Arrays of unequal length yield nothing: the archive
/// quarantines them.
pub(crate) fn readings(series: &NumericSeries, offset_us: i64) -> impl Iterator<Item = Reading> + '_ {
    let count = series.values.len();
    let deltas_fit = series.time_deltas_us.len() == count;
    let statuses_fit = series.statuses.is_empty() || series.statuses.len() == count;
    let mut at_us = series.start_us.saturating_add(offset_us);
    let taken = if deltas_fit && statuses_fit { count } else { 0 };
    series.values.iter().zip(&series.time_deltas_us).take(taken).enumerate().map(
        move |(i, (value, delta))| {
            at_us = at_us.saturating_add(*delta);
            Reading { at_us, value: *value, status: series.statuses.get(i).copied().unwrap_or(0) }
        },
    )
}
