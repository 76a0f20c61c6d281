//! Plays a WFDB record as a device: what the signals mean, and blocks or readings in time order.
//!
//! Waveforms keep the record's integers, with `scale = 1 / gain` and `offset = baseline`, so that what is archived
//! can be compared with the record sample by sample. Times are computed from the sample index: no drift.
//! Below 1 Hz a record holds numerics; there 0 and the gap value mean "no reading", and nothing is sent for them.

use crate::source::Timed;
use crate::wfdb::{Record, Signal};
use std::sync::Arc;
use wardline_proto::codes::{self, Metric, MetricKind};
use wardline_proto::frame::delta_encode;
use wardline_proto::v1::{Body, NumericSeries, SampleGap, WaveformBlock};

/// Most samples of all signals in one body: at three bytes each it fits a link message.
const BODY_SAMPLES_MAX: usize = 16 * 1024;

/// Signal names of records and the metrics that they are.
const SIGNAL_METRICS: &[(&str, MetricKind, &str)] = &[
    ("II", MetricKind::Waveform, "MDC_ECG_ELEC_POTL_II"),
    ("MLII", MetricKind::Waveform, "MDC_ECG_ELEC_POTL_II"),
    ("I", MetricKind::Waveform, "MDC_ECG_ELEC_POTL_I"),
    ("III", MetricKind::Waveform, "MDC_ECG_ELEC_POTL_III"),
    ("V", MetricKind::Waveform, "MDC_ECG_ELEC_POTL"),
    ("V5", MetricKind::Waveform, "MDC_ECG_ELEC_POTL"),
    ("PLETH", MetricKind::Waveform, "MDC_PULS_OXIM_PLETH"),
    ("RESP", MetricKind::Waveform, "MDC_IMPED_TTHOR"),
    ("HR", MetricKind::Numeric, "MDC_ECG_HEART_RATE"),
    ("PULSE", MetricKind::Numeric, "MDC_PULS_OXIM_PULS_RATE"),
    ("SpO2", MetricKind::Numeric, "MDC_PULS_OXIM_SAT_O2"),
    ("RESP", MetricKind::Numeric, "MDC_RESP_RATE"),
    ("ABPSys", MetricKind::Numeric, "MDC_PRESS_BLD_ART_SYS"),
    ("ABPDias", MetricKind::Numeric, "MDC_PRESS_BLD_ART_DIA"),
    ("ABPMean", MetricKind::Numeric, "MDC_PRESS_BLD_ART_MEAN"),
    ("NBPSys", MetricKind::Numeric, "MDC_PRESS_BLD_NONINV_SYS"),
    ("NBPDias", MetricKind::Numeric, "MDC_PRESS_BLD_NONINV_DIA"),
    ("NBPMean", MetricKind::Numeric, "MDC_PRESS_BLD_NONINV_MEAN"),
];

/// Finds the metric of a signal called `name` in a record sampled at `rate_hz`.
pub fn metric_of(name: &str, rate_hz: f64) -> Option<&'static Metric> {
    let kind = if rate_hz < 1.0 { MetricKind::Numeric } else { MetricKind::Waveform };
    let row = SIGNAL_METRICS.iter().find(|(signal, k, _)| *signal == name && *k == kind)?;
    codes::by_ref_id(row.2)
}

/// Says why a record cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Record(#[from] crate::wfdb::WfdbError),
    /// None of its signals is a metric of the catalogue.
    #[error("no signal of the record is known: {0}")]
    NothingKnown(String),
}

/// A record that plays.
#[derive(Debug)]
pub struct Replay {
    record: Arc<Record>,
    /// Index of each known signal, and what it is.
    known: Vec<(usize, &'static Metric)>,
    start_us: i64,
    next_sample: usize,
}

impl Replay {
    /// Prepares `record`. Signals that no metric stands for are left out; see [`Replay::unknown`].
    pub fn new(record: Arc<Record>) -> Result<Self, ReplayError> {
        let metric = |(i, s): (usize, &Signal)| Some((i, metric_of(&s.name, record.rate_hz)?));
        let known: Vec<_> = record.signals.iter().enumerate().filter_map(metric).collect();
        if known.is_empty() {
            let names: Vec<_> = record.signals.iter().map(|s| s.name.as_str()).collect();
            return Err(ReplayError::NothingKnown(names.join(", ")));
        }
        Ok(Self { record, known, start_us: 0, next_sample: 0 })
    }

    /// Returns the names of the signals that are left out.
    pub fn unknown(&self) -> Vec<&str> {
        let left_out = |(i, _): &(usize, &Signal)| self.known.iter().all(|(k, _)| k != i);
        self.record.signals.iter().enumerate().filter(left_out).map(|(_, s)| s.name.as_str()).collect()
    }

    /// Sets the device time of the first sample, unix microseconds.
    pub fn start_at(&mut self, start_us: i64) {
        self.start_us = start_us;
    }

    /// Returns how long the record plays at its own speed, microseconds.
    pub fn duration_us(&self) -> i64 {
        self.record.duration_us()
    }

    /// Samples per body: about a second of waveform, or one row of numerics.
    fn stride(&self) -> usize {
        let fits = BODY_SAMPLES_MAX / self.known.len();
        (self.record.rate_hz.round() as usize).min(fits).max(1)
    }

    fn numerics(&self, row: usize) -> Body {
        let start_us = self.start_us + self.record.offset_us(row);
        let reading = |(i, metric): &(usize, &'static Metric)| {
            let signal = &self.record.signals[*i];
            let sample = signal.samples[row];
            (sample != 0 && signal.is_present(row)).then(|| NumericSeries {
                mdc_code: metric.mdc_code,
                ucum_unit: metric.ucum_unit.to_owned(),
                start_us,
                time_deltas_us: vec![0],
                values: vec![signal.physical(sample)],
                statuses: Vec::new(),
            })
        };
        Body { numerics: self.known.iter().filter_map(reading).collect(), ..Body::default() }
    }

    fn waveforms(&self, first: usize, end: usize) -> Body {
        let block = |(i, metric): &(usize, &'static Metric)| {
            let signal = &self.record.signals[*i];
            let samples: Vec<i32> = signal.samples[first..end].iter().map(|s| i32::from(*s)).collect();
            WaveformBlock {
                mdc_code: metric.mdc_code,
                ucum_unit: metric.ucum_unit.to_owned(),
                start_us: self.start_us + self.record.offset_us(first),
                interval_ns: self.record.interval_ns(),
                sample_deltas: delta_encode(&samples),
                scale: millivolts_per(metric, &signal.units) / signal.gain,
                offset: f64::from(signal.baseline),
                gaps: gaps(signal, first, end),
            }
        };
        Body { waveforms: self.known.iter().map(block).collect(), ..Body::default() }
    }
}

impl Iterator for Replay {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        while self.next_sample < self.record.samples_per_signal {
            let (first, numerics) = (self.next_sample, self.record.rate_hz < 1.0);
            let end = (first + self.stride()).min(self.record.samples_per_signal);
            self.next_sample = end;
            // A numeric is there when its row begins, a block when it is full.
            let (body, ready) =
                if numerics { (self.numerics(first), first) } else { (self.waveforms(first, end), end) };
            if body != Body::default() {
                return Some(Timed { ready_us: self.record.offset_us(ready), body });
            }
        }
        None
    }
}

/// ECG records are mostly in mV already; the catalogue's unit is mV.
fn millivolts_per(metric: &Metric, units: &str) -> f64 {
    match (metric.ucum_unit, units) {
        ("mV", "V") => 1e3,
        ("mV", "uV") => 1e-3,
        _ => 1.0,
    }
}

fn gaps(signal: &Signal, first: usize, end: usize) -> Vec<SampleGap> {
    let mut gaps: Vec<SampleGap> = Vec::new();
    for index in (first..end).filter(|i| !signal.is_present(*i)) {
        let at = (index - first) as u32;
        match gaps.last_mut() {
            Some(gap) if gap.first + gap.count == at => gap.count += 1,
            _ => gaps.push(SampleGap { first: at, count: 1 }),
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::frame::delta_decode;

    fn record(name: &str, rate_hz: f64, samples: Vec<i16>) -> Arc<Record> {
        let signal = Signal {
            name: name.to_owned(),
            gain: 10.0,
            baseline: 3,
            units: "mV".to_owned(),
            gap_sample: -2048,
            samples,
        };
        let samples_per_signal = signal.samples.len();
        let signals = vec![signal];
        let (name, comments) = ("r".to_owned(), Vec::new());
        Arc::new(Record { name, rate_hz, samples_per_signal, signals, comments })
    }

    #[test]
    fn every_row_of_the_table_names_a_metric_of_its_kind() {
        for (signal, kind, ref_id) in SIGNAL_METRICS {
            assert_eq!(codes::by_ref_id(ref_id).map(|m| m.kind), Some(*kind), "{signal}");
        }
    }

    #[test]
    fn samples_come_out_as_they_are_with_gaps_marked_and_no_drift() {
        let mut samples: Vec<i16> = (0..1000).collect();
        samples[400..403].fill(-2048);
        let mut replay = Replay::new(record("MLII", 360.0, samples.clone())).unwrap();
        replay.start_at(1_000_000);
        let blocks: Vec<_> = replay.flat_map(|t| t.body.waveforms).collect();
        let played: Vec<i32> = blocks.iter().flat_map(|b| delta_decode(&b.sample_deltas)).collect();
        assert_eq!(played, samples.iter().map(|s| i32::from(*s)).collect::<Vec<_>>());
        assert_eq!(blocks[1].gaps, [SampleGap { first: 40, count: 3 }]);
        assert_eq!(blocks[2].start_us, 3_000_000);
        assert_eq!((blocks[0].interval_ns, blocks[0].scale, blocks[0].offset), (2_777_778, 0.1, 3.0));
    }

    #[test]
    fn missing_numerics_are_not_sent() {
        let replay = Replay::new(record("HR", 1.0 / 60.0, vec![803, 0, -2048, 813])).unwrap();
        let rows: Vec<_> = replay.map(|t| (t.ready_us, t.body.numerics[0].values[0])).collect();
        assert_eq!(rows, [(0, 80.0), (180_000_000, 81.0)]);
    }
}
