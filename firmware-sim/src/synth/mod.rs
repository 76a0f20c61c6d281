//! Synthetic signals of a bedside monitor, deterministic per (seed, device).
//!
//! | what | metric | cadence |
//! |---|---|---|
//! | ECG lead II | `MDC_ECG_ELEC_POTL_II`, mV | 250 Hz, blocks of 1 s |
//! | plethysmogram | `MDC_PULS_OXIM_PLETH`, 1 | 125 Hz |
//! | respiration | `MDC_IMPED_TTHOR`, 1 | 62.5 Hz, blocks of 62 and 63 samples in turn |
//! | heart rate, SpO2, pulse rate, respiration rate | | 1 Hz |
//! | temperature, battery charge | | each minute |
//! | non-invasive pressure | | every 15 minutes, first after 10 s |
//!
//! **Invariant:** no clock is read here; time is the count of seconds made.

mod episode;
mod probe;
mod vitals;
mod waves;

pub use episode::{Episode, EpisodeError, EpisodeKind, parse_duration};
pub use probe::{EVT_HI, EVT_SENSOR_DISCONNECTED};
pub(crate) use vitals::generator;

use crate::source::Timed;
use probe::Watch;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use vitals::Vitals;
use wardline_proto::codes::{self, status};
use wardline_proto::frame::delta_encode;
use wardline_proto::v1::{Body, NumericSeries, SampleGap, WaveformBlock};
use waves::{Phase, Rhythm, gaussian};

const SECOND_US: i64 = 1_000_000;
/// Samples are made on the grid of the fastest signal.
const GRID_HZ: u64 = 250;
const NIBP_FIRST_S: u64 = 10;
const NIBP_EVERY_S: u64 = 900;
const MINUTE_FIRST_S: u64 = 5;
/// What an oximeter says of a reading without a probe.
const NO_PROBE: u32 = status::INVALID | status::NOT_AVAILABLE;

/// What to synthesise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SynthOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// What goes wrong, and when.
    pub episodes: Vec<Episode>,
    /// Raise alarms of the device itself on low SpO2 and high or low heart rate. Technical alarms are always raised.
    pub device_alarms: bool,
}

/// One waveform of the monitor.
struct Wave {
    ref_id: &'static str,
    /// One sample per so many steps of the grid.
    every: u64,
    interval_ns: u64,
    scale: f64,
    offset: f64,
}

const ECG: Wave =
    Wave { ref_id: "MDC_ECG_ELEC_POTL_II", every: 1, interval_ns: 4_000_000, scale: 0.0025, offset: 0.0 };
const PLETH: Wave =
    Wave { ref_id: "MDC_PULS_OXIM_PLETH", every: 2, interval_ns: 8_000_000, scale: 0.0005, offset: 512.0 };
const RESPIRATION: Wave =
    Wave { ref_id: "MDC_IMPED_TTHOR", every: 4, interval_ns: 16_000_000, scale: 0.001, offset: 2048.0 };

/// A synthetic monitor on a synthetic patient.
#[derive(Debug)]
pub struct Synth {
    options: SynthOptions,
    start_us: i64,
    rng: StdRng,
    vitals: Vitals,
    rhythm: Rhythm,
    watch: Watch,
    second: u64,
    ready: VecDeque<Timed>,
}

impl Synth {
    /// Makes the monitor called `device`.
    pub fn new(options: SynthOptions, device: &str) -> Self {
        let mut rng = vitals::generator(options.seed, device);
        let vitals = Vitals::new(&mut rng);
        let rhythm = Rhythm::new(vitals.heart_rate, vitals.breath_rate);
        let watch = Watch::new(options.device_alarms);
        Self { options, start_us: 0, rng, vitals, rhythm, watch, second: 0, ready: VecDeque::new() }
    }

    /// Sets the device time of the first sample, unix microseconds.
    pub fn start_at(&mut self, start_us: i64) {
        self.start_us = start_us;
    }

    /// Makes one second: alarms first, then events, numerics and waveforms.
    fn make_second(&mut self) {
        let seconds = self.second as f64;
        let begin_us = self.start_us + self.second as i64 * SECOND_US;
        self.vitals.step(seconds, self.start_us, &self.options.episodes, &mut self.rng);
        let off = |e: &&Episode| e.kind == EpisodeKind::ProbeOff && e.is_on(seconds);
        let probe_is_off = self.options.episodes.iter().find(off).is_some();
        let waveforms = self.waveforms(begin_us, probe_is_off);
        let end_us = begin_us + SECOND_US;
        let ready_us = end_us - self.start_us;
        let found = self.watch.look(&self.vitals, self.rhythm.heart_rate(), probe_is_off, end_us);
        let alarms = Body { alarms: found.0, ..Body::default() };
        let events = Body { events: found.1, ..Body::default() };
        let numerics = Body { numerics: self.numerics(end_us, probe_is_off), ..Body::default() };
        for body in [alarms, events, numerics, Body { waveforms, ..Body::default() }] {
            if body != Body::default() {
                self.ready.push_back(Timed { ready_us, body });
            }
        }
        self.second += 1;
    }

    fn waveforms(&mut self, begin_us: i64, probe_is_off: bool) -> Vec<WaveformBlock> {
        let (mut ecg, mut pleth, mut breath) = (Vec::new(), Vec::new(), Vec::new());
        let first_step = self.second * GRID_HZ;
        for step in first_step..first_step + GRID_HZ {
            let at_s = step as f64 / GRID_HZ as f64;
            let (heart_rate, breath_rate) = (self.vitals.heart_rate, self.vitals.breath_rate);
            let phase: Phase = self.rhythm.advance(at_s, heart_rate, breath_rate, &mut self.rng);
            ecg.push(ECG.digitise(phase.ecg_ii() + 0.008 * gaussian(&mut self.rng)));
            if step % PLETH.every == 0 {
                let sample = phase.pleth(self.vitals.perfusion) + 0.004 * gaussian(&mut self.rng);
                pleth.push(if probe_is_off { 0 } else { PLETH.digitise(sample) });
            }
            if step % RESPIRATION.every == 0 {
                breath.push(RESPIRATION.digitise(phase.respiration() + 0.01 * gaussian(&mut self.rng)));
            }
        }
        let mut pleth = PLETH.block(first_step, begin_us, &pleth);
        if probe_is_off {
            pleth.gaps = vec![SampleGap { first: 0, count: pleth.sample_deltas.len() as u32 }];
        }
        vec![ECG.block(first_step, begin_us, &ecg), pleth, RESPIRATION.block(first_step, begin_us, &breath)]
    }

    fn numerics(&self, at_us: i64, probe_is_off: bool) -> Vec<NumericSeries> {
        let heart_rate = self.rhythm.heart_rate().round();
        let mut series = vec![
            reading("MDC_ECG_HEART_RATE", at_us, heart_rate),
            reading("MDC_RESP_RATE", at_us, self.rhythm.breath_rate().round()),
        ];
        let oximeter =
            [("MDC_PULS_OXIM_SAT_O2", self.vitals.spo2.round()), ("MDC_PULS_OXIM_PULS_RATE", heart_rate)];
        series.extend(oximeter.map(|(ref_id, value)| match probe_is_off {
            false => reading(ref_id, at_us, value),
            true => NumericSeries { statuses: vec![NO_PROBE], ..reading(ref_id, at_us, 0.0) },
        }));
        if self.second % 60 == MINUTE_FIRST_S {
            let temperature = (self.vitals.temperature() * 10.0).round() / 10.0;
            series.push(reading("MDC_TEMP_BODY", at_us, temperature));
            series.push(reading("MDC_ATTR_VAL_BATT_CHARGE", at_us, self.vitals.battery.round()));
        }
        if self.second % NIBP_EVERY_S == NIBP_FIRST_S {
            let ref_ids =
                ["MDC_PRESS_BLD_NONINV_SYS", "MDC_PRESS_BLD_NONINV_DIA", "MDC_PRESS_BLD_NONINV_MEAN"];
            let values = ref_ids.into_iter().zip(self.vitals.pressure());
            series.extend(values.map(|(ref_id, value)| reading(ref_id, at_us, value.round())));
        }
        series
    }
}

impl Iterator for Synth {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        if self.ready.is_empty() {
            self.make_second();
        }
        self.ready.pop_front()
    }
}

impl Wave {
    fn digitise(&self, value: f64) -> i32 {
        let sample = (value / self.scale + self.offset).round();
        sample.clamp(f64::from(i16::MIN + 1), f64::from(i16::MAX)) as i32
    }

    fn block(&self, first_step: u64, begin_us: i64, samples: &[i32]) -> WaveformBlock {
        let (mdc_code, ucum_unit) = metric(self.ref_id);
        // The first sample lies on the next step of this wave's own grid.
        let skipped = first_step.next_multiple_of(self.every) - first_step;
        WaveformBlock {
            mdc_code,
            ucum_unit,
            start_us: begin_us + (skipped * 1_000_000 / GRID_HZ) as i64,
            interval_ns: self.interval_ns,
            sample_deltas: delta_encode(samples),
            scale: self.scale,
            offset: self.offset,
            gaps: Vec::new(),
        }
    }
}

fn reading(ref_id: &str, at_us: i64, value: f64) -> NumericSeries {
    let (mdc_code, ucum_unit) = metric(ref_id);
    NumericSeries {
        mdc_code,
        ucum_unit,
        start_us: at_us,
        time_deltas_us: vec![0],
        values: vec![value],
        statuses: Vec::new(),
    }
}

fn metric(ref_id: &str) -> (u32, String) {
    codes::by_ref_id(ref_id).map_or((0, String::new()), |m| (m.mdc_code, m.ucum_unit.to_owned()))
}

#[cfg(test)]
mod tests;
