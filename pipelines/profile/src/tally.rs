//! Counts what a device really sent, per measurement: rows, values outside their range, units, cadence.

use crate::judge::{is_judged, is_rate};
use crate::limits::{TIMES_MAX, UNDECLARED_MAX};
use crate::profile::{Kind, Measurement, Profile};
use serde::Serialize;
use std::collections::BTreeMap;
use wardline_proto::frame::delta_decode;
use wardline_proto::v1::{Body, NumericSeries, WaveformBlock};

/// A run of samples, apart from where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Its code.
    pub mdc_code: u32,
    /// Its unit.
    pub unit: &'a str,
    /// Device time of the first sample, unix microseconds.
    pub start_us: i64,
    /// Time between samples, nanoseconds.
    pub interval_ns: u64,
    /// Least and greatest physical value of the samples that were measured.
    pub range: Option<(f64, f64)>,
    /// Samples outside the declared range.
    pub implausible: u64,
}

/// What was counted of one measurement.
#[derive(Debug, Clone, Default)]
struct Count {
    rows: u64,
    invalid: u64,
    implausible: u64,
    wrong_unit: u64,
    wrong_rate: u64,
    range: Option<(f64, f64)>,
    times_us: Vec<i64>,
}

/// Counts against a profile.
#[derive(Debug, Clone)]
pub struct Tally {
    profile: Profile,
    counts: BTreeMap<u32, Count>,
    /// Rows of codes that the profile does not have.
    undeclared: BTreeMap<u32, u64>,
}

/// What a tally says of one measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Reference id; the code as text when it is not declared.
    pub ref_id: String,
    /// MDC code.
    pub mdc_code: u32,
    /// Whether the profile has it.
    pub declared: bool,
    /// Readings, blocks or alarms.
    pub rows: u64,
    /// Readings that the device itself marked as not valid.
    pub invalid: u64,
    /// Readings or samples outside the declared range.
    pub implausible: u64,
    /// Rows in another unit than the declared one.
    pub wrong_unit: u64,
    /// Blocks at another sample rate than the declared one.
    pub wrong_rate: u64,
    /// Least and greatest value.
    pub range: Option<(f64, f64)>,
    /// Intervals between rows, by device time.
    pub cadence: Option<Intervals>,
    /// Whether the cadence was kept; none when it is episodic or there are too few rows to say.
    pub cadence_kept: Option<bool>,
}

impl Measured {
    /// Says whether all that was seen keeps the profile.
    pub fn is_good(&self) -> bool {
        let wrong = self.implausible + self.wrong_unit + self.wrong_rate;
        self.declared && wrong == 0 && self.cadence_kept != Some(false)
    }
}

/// Intervals between neighbours, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intervals {
    /// How many.
    pub count: usize,
    /// Half are no longer than this.
    pub p50_ms: f64,
    /// Nineteen in twenty are no longer than this.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Intervals {
    /// Measures the intervals of times, in any order, repeats left out. None below two.
    pub fn of(times_us: &[i64]) -> Option<Self> {
        let mut times = times_us.to_vec();
        times.sort_unstable();
        times.dedup();
        let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        steps.sort_unstable();
        let at = |share: f64| {
            let index = (share * steps.len() as f64).ceil() as usize;
            steps.get(index.saturating_sub(1)).map(|us| *us as f64 / 1000.0)
        };
        Some(Self { count: steps.len(), p50_ms: at(0.5)?, p95_ms: at(0.95)?, max_ms: at(1.0)? })
    }
}

/// Fewest intervals that say something of a cadence.
const INTERVALS_MIN: usize = 3;

impl Tally {
    /// Starts counting.
    pub fn new(profile: Profile) -> Self {
        Self { profile, counts: BTreeMap::new(), undeclared: BTreeMap::new() }
    }

    /// Returns the profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Counts a body.
    pub fn add(&mut self, body: &Body) {
        body.numerics.iter().for_each(|series| self.add_series(series));
        body.waveforms.iter().for_each(|block| self.add_waveform(block));
        body.alarms.iter().for_each(|alarm| self.add_alarm(alarm.mdc_code, alarm.at_us));
    }

    /// Counts one reading.
    pub fn add_reading(&mut self, mdc_code: u32, unit: &str, at_us: i64, value: f64, status: u32) {
        let Some(measurement) = self.profile.measurement(mdc_code) else {
            return self.note_undeclared(mdc_code);
        };
        let signal = measurement.signal.as_ref();
        let wrong_unit = signal.is_some_and(|s| s.unit != unit) || measurement.kind != Kind::Numeric;
        let implausible = signal.is_some_and(|s| !s.is_plausible(value));
        let count = self.counts.entry(mdc_code).or_default();
        count.row(at_us);
        count.wrong_unit += u64::from(wrong_unit);
        if is_judged(status) {
            count.implausible += u64::from(implausible);
            count.widen(value, value);
        } else {
            count.invalid += 1;
        }
    }

    /// Counts one block.
    pub fn add_block(&mut self, block: &Block<'_>) {
        let Some(measurement) = self.profile.measurement(block.mdc_code) else {
            return self.note_undeclared(block.mdc_code);
        };
        let signal = measurement.signal.as_ref();
        let wrong_unit = signal.is_some_and(|s| s.unit != block.unit) || measurement.kind != Kind::Waveform;
        let rate = signal.and_then(|s| s.sample_rate_hz);
        let wrong_rate = rate.is_some_and(|rate| !is_rate(rate, block.interval_ns));
        let count = self.counts.entry(block.mdc_code).or_default();
        count.row(block.start_us);
        count.wrong_unit += u64::from(wrong_unit);
        count.wrong_rate += u64::from(wrong_rate);
        count.implausible += block.implausible;
        if let Some((low, high)) = block.range {
            count.widen(low, high);
        }
    }

    /// Counts samples that are in the unit and not in a gap. Returns what [`Tally::add_block`] asks for.
    pub fn samples(&self, mdc_code: u32, values: impl Iterator<Item = f64>) -> (Option<(f64, f64)>, u64) {
        let signal = self.profile.measurement(mdc_code).and_then(|m| m.signal.as_ref());
        let (mut range, mut implausible) = (None, 0);
        for value in values {
            range = Some(
                range.map_or((value, value), |(low, high): (f64, f64)| (low.min(value), high.max(value))),
            );
            implausible += u64::from(signal.is_some_and(|s| !s.is_plausible(value)));
        }
        (range, implausible)
    }

    /// Counts an alarm that the device raised.
    pub fn add_alarm(&mut self, mdc_code: u32, at_us: i64) {
        match self.profile.measurement(mdc_code) {
            None => self.note_undeclared(mdc_code),
            Some(_) => self.counts.entry(mdc_code).or_default().row(at_us),
        }
    }

    /// Returns the device times of a measurement, in the order of arrival.
    pub fn times_us(&self, mdc_code: u32) -> &[i64] {
        self.counts.get(&mdc_code).map_or(&[], |count| &count.times_us)
    }

    /// Returns what was counted: declared measurements in the profile's order, seen or not, then undeclared codes.
    pub fn measured(&self) -> Vec<Measured> {
        let none = Count::default();
        let declared = self.profile.measurements.iter();
        let declared = declared.map(|m| measured(m, self.counts.get(&m.mdc_code).unwrap_or(&none)));
        let undeclared = self.undeclared.iter().map(|(code, rows)| Measured {
            ref_id: wardline_proto::codes::by_code(*code)
                .map_or_else(|| format!("code {code}"), |m| m.ref_id.to_owned()),
            mdc_code: *code,
            declared: false,
            rows: *rows,
            invalid: 0,
            implausible: 0,
            wrong_unit: 0,
            wrong_rate: 0,
            range: None,
            cadence: None,
            cadence_kept: None,
        });
        declared.chain(undeclared).collect()
    }

    fn note_undeclared(&mut self, mdc_code: u32) {
        let full = self.undeclared.len() >= UNDECLARED_MAX && !self.undeclared.contains_key(&mdc_code);
        *self.undeclared.entry(if full { 0 } else { mdc_code }).or_default() += 1;
    }

    fn add_series(&mut self, series: &NumericSeries) {
        let mut at_us = series.start_us;
        for (index, value) in series.values.iter().enumerate() {
            at_us = at_us.saturating_add(series.time_deltas_us.get(index).copied().unwrap_or(0));
            let status = series.statuses.get(index).copied().unwrap_or(0);
            self.add_reading(series.mdc_code, &series.ucum_unit, at_us, *value, status);
        }
    }

    fn add_waveform(&mut self, block: &WaveformBlock) {
        let mut present = vec![true; block.sample_deltas.len()];
        for gap in &block.gaps {
            let first = gap.first as usize;
            present.iter_mut().skip(first).take(gap.count as usize).for_each(|here| *here = false);
        }
        let samples = delta_decode(&block.sample_deltas);
        let values = samples.iter().zip(present).filter(|(_, here)| *here);
        let values = values.map(|(sample, _)| (f64::from(*sample) - block.offset) * block.scale);
        let (range, implausible) = self.samples(block.mdc_code, values);
        let WaveformBlock { mdc_code, start_us, interval_ns, .. } = *block;
        let unit = &block.ucum_unit;
        self.add_block(&Block { mdc_code, unit, start_us, interval_ns, range, implausible });
    }
}

impl Count {
    fn row(&mut self, at_us: i64) {
        self.rows += 1;
        if self.times_us.len() < TIMES_MAX {
            self.times_us.push(at_us);
        }
    }

    fn widen(&mut self, low: f64, high: f64) {
        let (least, most) = self.range.unwrap_or((low, high));
        self.range = Some((least.min(low), most.max(high)));
    }
}

fn measured(measurement: &Measurement, count: &Count) -> Measured {
    let cadence = Intervals::of(&count.times_us);
    let enough = cadence.filter(|c| c.count >= INTERVALS_MIN);
    let cadence_kept = measurement.cadence.zip(enough).map(|(declared, seen)| {
        let (interval, tolerance) = (declared.interval_ms as f64, declared.tolerance_ms as f64);
        (seen.p50_ms - interval).abs() <= tolerance && seen.p95_ms <= interval + tolerance
    });
    Measured {
        ref_id: measurement.ref_id.clone(),
        mdc_code: measurement.mdc_code,
        declared: true,
        rows: count.rows,
        invalid: count.invalid,
        implausible: count.implausible,
        wrong_unit: count.wrong_unit,
        wrong_rate: count.wrong_rate,
        range: count.range,
        cadence,
        cadence_kept,
    }
}

#[cfg(test)]
mod tests;
