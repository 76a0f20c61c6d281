//! Judges one body by a profile: what the device sent against what its maker declared.

use crate::limits::SAMPLE_RATE_TOLERANCE;
use crate::profile::{Kind, Measurement, Profile, Signal};
use std::fmt;
use wardline_proto::codes::status;
use wardline_proto::frame::measured;
use wardline_proto::v1::{Body, NumericSeries, WaveformBlock};

/// One way in which a body breaks its profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The code that it is about.
    pub mdc_code: u32,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with one item of a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The profile has no such measurement.
    Undeclared,
    /// It was sent as another kind of thing.
    Kind {
        /// What the profile says.
        declared: Kind,
    },
    /// The unit is not the declared one.
    Unit {
        /// What was sent.
        found: String,
        /// What the profile says.
        declared: String,
    },
    /// The samples are spaced otherwise than declared.
    SampleRate {
        /// What was sent, Hz.
        found_hz: f64,
        /// What the profile says, Hz.
        declared_hz: f64,
    },
    /// Values outside the plausible range, or no numbers; readings that say themselves that they are not valid count
    /// as none.
    Implausible {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.mdc_code;
        match &self.fault {
            Fault::Undeclared => write!(f, "{code} is not declared"),
            Fault::Kind { declared } => write!(f, "{code} is declared as {}", declared.word()),
            Fault::Unit { found, declared } => {
                write!(f, "{code} came in {found:?}, declared is {declared:?}")
            }
            Fault::SampleRate { found_hz, declared_hz } => {
                write!(f, "{code} came at {found_hz} Hz, declared are {declared_hz} Hz")
            }
            Fault::Implausible { count } => write!(f, "{code}: {count} values outside the declared range"),
        }
    }
}

impl Profile {
    /// Judges a body. Nothing is found in one that keeps the profile; each item gives at most one finding of a kind.
    pub fn judge(&self, body: &Body) -> Vec<Finding> {
        let mut found = Vec::new();
        for series in &body.numerics {
            if let Some(signal) = self.judge_series(series, &mut found) {
                let count = implausible_readings(signal, series);
                push_implausible(series.mdc_code, count, &mut found);
            }
        }
        for block in &body.waveforms {
            if let Some(signal) = self.judge_block(block, &mut found) {
                push_implausible(block.mdc_code, implausible_samples(signal, block), &mut found);
            }
        }
        for alarm in &body.alarms {
            match self.measurement(alarm.mdc_code) {
                Some(m) if m.kind == Kind::Alarm => {}
                Some(m) => {
                    found.push(Finding { mdc_code: m.mdc_code, fault: Fault::Kind { declared: m.kind } })
                }
                None => found.push(Finding { mdc_code: alarm.mdc_code, fault: Fault::Undeclared }),
            }
        }
        found
    }

    /// Judges what a body's readings and blocks are: code, kind, unit, sample rate. Neither values nor alarms.
    pub fn judge_form(&self, body: &Body) -> Vec<Finding> {
        let mut found = Vec::new();
        for series in &body.numerics {
            self.judge_series(series, &mut found);
        }
        for block in &body.waveforms {
            self.judge_block(block, &mut found);
        }
        found
    }

    /// Says whether a value lies outside the declared range of a code; what is not declared has none.
    pub fn is_outside(&self, mdc_code: u32, value: f64) -> bool {
        let signal = self.measurement(mdc_code).and_then(|measurement| measurement.signal.as_ref());
        signal.is_some_and(|signal| !signal.is_plausible(value))
    }

    /// Says whether a block has a sample, not in a gap, outside its declared range.
    pub fn has_outside(&self, block: &WaveformBlock) -> bool {
        let signal = self.measurement(block.mdc_code).and_then(|measurement| measurement.signal.as_ref());
        signal.is_some_and(|signal| implausible_samples(signal, block) > 0)
    }

    fn judge_series(&self, series: &NumericSeries, found: &mut Vec<Finding>) -> Option<&Signal> {
        let (measurement, signal) = self.declared(series.mdc_code, Kind::Numeric, found)?;
        judge_unit(measurement, signal, &series.ucum_unit, found);
        Some(signal)
    }

    fn judge_block(&self, block: &WaveformBlock, found: &mut Vec<Finding>) -> Option<&Signal> {
        let (measurement, signal) = self.declared(block.mdc_code, Kind::Waveform, found)?;
        judge_unit(measurement, signal, &block.ucum_unit, found);
        judge_rate(signal, block, found);
        Some(signal)
    }

    fn declared(
        &self,
        mdc_code: u32,
        kind: Kind,
        found: &mut Vec<Finding>,
    ) -> Option<(&Measurement, &Signal)> {
        let Some(measurement) = self.measurement(mdc_code) else {
            found.push(Finding { mdc_code, fault: Fault::Undeclared });
            return None;
        };
        if measurement.kind != kind {
            found.push(Finding { mdc_code, fault: Fault::Kind { declared: measurement.kind } });
            return None;
        }
        Some((measurement, measurement.signal.as_ref()?))
    }
}

fn judge_unit(measurement: &Measurement, signal: &Signal, unit: &str, found: &mut Vec<Finding>) {
    if signal.unit != unit {
        let fault = Fault::Unit { found: unit.to_owned(), declared: signal.unit.clone() };
        found.push(Finding { mdc_code: measurement.mdc_code, fault });
    }
}

fn judge_rate(signal: &Signal, block: &WaveformBlock, found: &mut Vec<Finding>) {
    let Some(declared_hz) = signal.sample_rate_hz else { return };
    let found_hz = 1e9 / block.interval_ns as f64;
    if !is_rate(declared_hz, block.interval_ns) {
        found.push(Finding { mdc_code: block.mdc_code, fault: Fault::SampleRate { found_hz, declared_hz } });
    }
}

fn push_implausible(mdc_code: u32, count: usize, found: &mut Vec<Finding>) {
    if count > 0 {
        found.push(Finding { mdc_code, fault: Fault::Implausible { count } });
    }
}

/// Says whether an interval between samples is that of a rate.
pub(crate) fn is_rate(declared_hz: f64, interval_ns: u64) -> bool {
    let declared_ns = 1e9 / declared_hz;
    (interval_ns as f64 - declared_ns).abs() <= declared_ns * SAMPLE_RATE_TOLERANCE
}

/// Says whether a reading of this status is judged: not when the device itself says that it is none.
pub(crate) fn is_judged(bits: u32) -> bool {
    bits & (status::INVALID | status::NOT_AVAILABLE | status::CALIBRATION) == 0
}

fn implausible_readings(signal: &Signal, series: &NumericSeries) -> usize {
    let judged = |at: &usize| is_judged(series.statuses.get(*at).copied().unwrap_or(0));
    let values = series.values.iter().enumerate();
    values.filter(|(at, value)| judged(at) && !signal.is_plausible(**value)).count()
}

/// Counts samples outside the range, gaps left out.
fn implausible_samples(signal: &Signal, block: &WaveformBlock) -> usize {
    let physical = |sample: i32| (f64::from(sample) - block.offset) * block.scale;
    measured(block).filter(|(_, sample)| !signal.is_plausible(physical(*sample))).count()
}

#[cfg(test)]
mod tests;
