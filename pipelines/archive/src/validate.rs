//! The rules that a body must keep to be archived. A frame is good or it is not: nothing is stored of half of one.
//!
//! | finding | what happens |
//! |---|---|
//! | unknown code, or of the other kind | WL-Q-003 |
//! | unit that is not the metric's | WL-Q-004 |
//! | lengths, order, intervals, names outside their bounds | WL-Q-005 |
//! | device time before 1970 or past the future bound | WL-Q-006 |
//! | value outside the plausible range, or no number | stored, status bit 16 |
//! | not what the profile of the device's model declares | WL-Q-009, by [`crate::profiles`] |
//! | clock further off than its bound | stored, status bit 17 |

use crate::profiles::InForce;
use wardline_proto::codes::{Metric, MetricKind, by_code, status};
use wardline_proto::frame::gaps_ascend;
use wardline_proto::limits::{BLOCK_US_MAX, DETAIL_BYTES_MAX, NAME_BYTES_MAX};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Body, DeviceAlarm, DeviceEvent, NumericSeries, Priority, WaveformBlock,
};

/// What is known of time when a body is judged, unix microseconds.
#[derive(Debug, Clone, Copy)]
pub struct TimeFrame {
    /// Ingest time.
    pub ingested_at_us: i64,
    /// When the edge sent it, by its clock.
    pub sent_at_us: Option<i64>,
    /// Edge time minus device time, when the edge measured it.
    pub device_offset_us: Option<i64>,
    /// Beyond this a clock is suspect.
    pub clock_bound_us: i64,
    /// Beyond this a time is no clock error.
    pub future_bound_us: i64,
}

impl TimeFrame {
    /// Says whether a clock is off as a whole: the device's against the edge's, or the edge's against the front's.
    ///
    /// A time in the past alone proves nothing: a spool that was cut off for a day delivers old readings.
    pub fn clock_is_suspect(&self) -> bool {
        let device =
            self.device_offset_us.is_some_and(|offset| offset.saturating_abs() > self.clock_bound_us);
        device || self.sent_at_us.is_some_and(|sent| self.is_ahead(sent))
    }

    /// Returns the status bits that the clock adds to an item of `device_time_us`.
    pub fn status_of(&self, device_time_us: i64) -> u32 {
        if self.clock_is_suspect() || self.is_ahead(device_time_us) { status::CLOCK_SUSPECT } else { 0 }
    }

    fn is_ahead(&self, time_us: i64) -> bool {
        time_us.saturating_sub(self.ingested_at_us) > self.clock_bound_us
    }

    fn check(&self, time_us: i64) -> Result<(), Refusal> {
        let future = time_us.saturating_sub(self.ingested_at_us) > self.future_bound_us;
        if time_us < 0 || future { Err(Refusal::TimeImplausible) } else { Ok(()) }
    }
}

/// Checks a whole body.
pub fn check(body: &Body, time: &TimeFrame) -> Result<(), Refusal> {
    let items = body.numerics.len() + body.waveforms.len() + body.alarms.len() + body.events.len();
    ensure(items > 0)?;
    body.numerics.iter().try_for_each(|series| check_series(series, time))?;
    body.waveforms.iter().try_for_each(|block| check_block(block, time))?;
    body.alarms.iter().try_for_each(|alarm| check_alarm(alarm, time))?;
    body.events.iter().try_for_each(|event| check_event(event, time))
}

fn ensure(holds: bool) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::BodyInconsistent) }
}

fn metric(code: u32, unit: &str, kind: MetricKind) -> Result<&'static Metric, Refusal> {
    let metric = by_code(code).filter(|m| m.kind == kind).ok_or(Refusal::MetricUnknown)?;
    if metric.ucum_unit == unit { Ok(metric) } else { Err(Refusal::UnitMismatch) }
}

fn check_series(series: &NumericSeries, time: &TimeFrame) -> Result<(), Refusal> {
    metric(series.mdc_code, &series.ucum_unit, MetricKind::Numeric)?;
    let readings = series.values.len();
    ensure(readings > 0 && series.time_deltas_us.len() == readings)?;
    ensure(series.statuses.is_empty() || series.statuses.len() == readings)?;
    ensure(series.time_deltas_us.first() == Some(&0) && series.time_deltas_us.iter().all(|d| *d >= 0))?;
    time.check(series.start_us)?;
    let end_us = series.time_deltas_us.iter().try_fold(series.start_us, |at, delta| at.checked_add(*delta));
    time.check(end_us.ok_or(Refusal::TimeImplausible)?)
}

fn check_block(block: &WaveformBlock, time: &TimeFrame) -> Result<(), Refusal> {
    metric(block.mdc_code, &block.ucum_unit, MetricKind::Waveform)?;
    let samples = block.sample_deltas.len() as u64;
    ensure(samples > 0 && block.interval_ns > 0 && i64::try_from(block.interval_ns).is_ok())?;
    ensure(block.scale.is_finite() && block.scale != 0.0 && block.offset.is_finite())?;
    ensure(gaps_ascend(block))?;
    time.check(block.start_us)?;
    let length_us = block.interval_ns.checked_mul(samples).map(|ns| ns / 1000);
    // Whoever looks for a time looks so far back for the block that holds it.
    ensure(length_us.is_none_or(|us| us <= BLOCK_US_MAX))?;
    let end_us = length_us.and_then(|us| block.start_us.checked_add_unsigned(us));
    time.check(end_us.ok_or(Refusal::TimeImplausible)?)
}

fn check_alarm(alarm: &DeviceAlarm, time: &TimeFrame) -> Result<(), Refusal> {
    ensure(!alarm.condition_id.is_empty() && alarm.condition_id.len() <= NAME_BYTES_MAX)?;
    ensure(alarm.ucum_unit.len() <= NAME_BYTES_MAX)?;
    // Both are shown on terminals and go into other systems' messages.
    ensure(!alarm.condition_id.chars().chain(alarm.ucum_unit.chars()).any(char::is_control))?;
    ensure(alarm.kind() != AlarmKind::Unspecified && alarm.priority() != Priority::Unspecified)?;
    ensure(alarm.phase() != AlarmPhase::Unspecified)?;
    time.check(alarm.at_us)
}

fn check_event(event: &DeviceEvent, time: &TimeFrame) -> Result<(), Refusal> {
    let named = !event.name.is_empty() && event.name.len() <= NAME_BYTES_MAX;
    ensure(named && event.detail.len() <= DETAIL_BYTES_MAX)?;
    ensure(event.spool_gap.is_none_or(|gap| gap.first_seq > 0 && gap.first_seq <= gap.last_seq))?;
    time.check(event.at_us)
}

/// Returns the status bits that a value adds to a reading, by the catalogue and by the profile of the device's model.
pub(crate) fn status_of_value(metric: &Metric, profile: Option<&InForce>, value: f64) -> u32 {
    let outside = profile.is_some_and(|in_force| in_force.profile.is_outside(metric.mdc_code, value));
    if metric.is_plausible(value) && !outside { 0 } else { status::IMPLAUSIBLE }
}

/// Returns the status bits that its samples add to a block: without a profile there is no range to be outside of.
pub(crate) fn status_of_block(profile: Option<&InForce>, block: &WaveformBlock) -> u32 {
    let outside = profile.is_some_and(|in_force| in_force.profile.has_outside(block));
    if outside { status::IMPLAUSIBLE } else { 0 }
}

#[cfg(test)]
mod tests;
