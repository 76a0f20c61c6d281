//! Pulses in a plethysmogram, as they come: what of the heart another sensor sees.
//!
//! Each sample adds its rise to a sum over 128 ms (the slope sum function of Zong, Heldt, Moody and Mark, "An open-source
//! algorithm to detect onset of arterial blood pressure pulses", Computers in Cardiology 2003; 30:259-262). A pulse is
//! where the sum passes half of what it lately reached, 300 ms after the last one at the earliest. That level follows the
//! pulses; without any it falls by half each second, and never below a fifth of its long mean: noise without a pulse makes
//! none. The first three seconds only teach the level.
//!
//! It does not judge rhythm, and knows nothing of motion but that intervals become uneven.

use wardline_proto::frame::measured;
use wardline_proto::v1::WaveformBlock;

/// Metric of the plethysmogram.
pub(super) const PLETH: u32 = 150_452;
/// Pulses that are remembered.
pub(super) const PULSES_MAX: usize = 40;
/// Samples of the sum at most: 128 ms at 500 Hz.
const SLOPES_MAX: usize = 64;
const SUM_NS: u64 = 128_000_000;
const APART_US: i64 = 300_000;
const LEARN_US: i64 = 3_000_000;
const LOST_US: i64 = 2_000_000;

/// The detector on one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PulseState {
    /// Samples have come without a gap from here, edge time.
    #[prost(int64, tag = "1")]
    pub since_us: i64,
    /// To here.
    #[prost(int64, tag = "2")]
    pub until_us: i64,
    /// The last sample.
    #[prost(double, tag = "3")]
    pub last: f64,
    /// Rises within the sum, the oldest at `slot`.
    #[prost(double, repeated, tag = "4")]
    pub rises: Vec<f64>,
    /// See `rises`.
    #[prost(uint32, tag = "5")]
    pub slot: u32,
    /// Their sum.
    #[prost(double, tag = "6")]
    pub sum: f64,
    /// What the sum lately reached at a pulse.
    #[prost(double, tag = "7")]
    pub level: f64,
    /// Its long mean.
    #[prost(double, tag = "8")]
    pub mean: f64,
    /// What the sum has reached in the pulse that is going on; 0 between pulses.
    #[prost(double, tag = "9")]
    pub peak: f64,
    /// When the last pulses began.
    #[prost(int64, repeated, tag = "10")]
    pub pulses: Vec<i64>,
}

/// Feeds a block of the plethysmogram whose first sample was taken at `start_us`, edge time. What overlaps with what was
/// seen is passed over; behind a gap everything begins anew.
pub(super) fn feed(state: &mut Option<PulseState>, block: &WaveformBlock, start_us: i64) {
    let interval_us = i64::try_from(block.interval_ns / 1000).unwrap_or(i64::MAX);
    let slots = usize::try_from(SUM_NS.checked_div(block.interval_ns).unwrap_or(0)).unwrap_or(usize::MAX);
    if !(2..=SLOPES_MAX).contains(&slots) {
        return;
    }
    for (index, sample) in measured(block) {
        let ahead_us =
            i64::try_from(block.interval_ns.saturating_mul(index as u64) / 1000).unwrap_or(i64::MAX);
        let at_us = start_us.saturating_add(ahead_us);
        let value = (f64::from(sample) - block.offset) * block.scale;
        if !value.is_finite() {
            continue;
        }
        match state {
            Some(state) if at_us <= state.until_us => {}
            Some(state) if at_us - state.until_us <= 2 * interval_us && state.rises.len() == slots => {
                state.sample(at_us, interval_us, value);
            }
            _ => {
                let rises = vec![0.0; slots];
                let begun = PulseState {
                    since_us: at_us,
                    until_us: at_us,
                    last: value,
                    rises,
                    ..PulseState::default()
                };
                *state = Some(begun);
            }
        }
    }
}

impl PulseState {
    fn sample(&mut self, at_us: i64, interval_us: i64, value: f64) {
        let rise = (value - std::mem::replace(&mut self.last, value)).max(0.0);
        let slot = self.slot as usize % self.rises.len().max(1);
        if let Some(oldest) = self.rises.get_mut(slot) {
            self.sum = (self.sum + rise - std::mem::replace(oldest, rise)).max(0.0);
        }
        self.slot = (slot as u32 + 1) % self.rises.len().max(1) as u32;
        self.until_us = at_us;
        if at_us - self.since_us < LEARN_US {
            self.level = self.level.max(self.sum);
            self.mean = self.level;
            return;
        }
        let last_us = self.pulses.last().copied().unwrap_or(self.since_us);
        if self.peak > 0.0 {
            self.peak = self.peak.max(self.sum);
            if self.sum < self.level / 4.0 {
                // One leap of a moved sensor does not teach twice what pulses are.
                let peak = std::mem::take(&mut self.peak).min(2.0 * self.mean);
                self.level = 0.85 * self.level + 0.15 * peak;
                self.mean = 0.95 * self.mean + 0.05 * peak;
            }
        } else if self.sum > self.level / 2.0 && at_us - last_us >= APART_US {
            self.peak = self.sum;
            if self.pulses.len() >= PULSES_MAX {
                self.pulses.remove(0);
            }
            self.pulses.push(at_us);
        } else if at_us - last_us > LOST_US {
            let seconds = interval_us as f64 / 1e6;
            self.level = (self.level * 0.5_f64.powf(seconds)).max(self.mean / 5.0);
        }
    }
}
