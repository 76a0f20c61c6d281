//! The patient behind the signals: a baseline of their own, the time of day, episodes, and slow answers to both.

use super::episode::{Episode, EpisodeKind};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::f64::consts::TAU;

const DAY_S: f64 = 86_400.0;
/// The hour at which heart rate and temperature are lowest.
const TROUGH_HOUR: f64 = 4.0;
/// How fast the heart follows, seconds.
const HEART_TAU_S: f64 = 4.0;
/// How fast saturation falls, and comes back, seconds.
const DESATURATION_TAU_S: f64 = 6.0;
const RECOVERY_TAU_S: f64 = 9.0;
/// Charge that a battery loses, percent per hour.
const BATTERY_LOSS: f64 = 4.0;

/// What the patient is like when nothing happens.
#[derive(Debug, Clone, Copy)]
struct Baseline {
    heart_rate: f64,
    breath_rate: f64,
    spo2: f64,
    temperature: f64,
    systolic: f64,
    diastolic: f64,
    battery: f64,
}

/// The vitals, moving on second by second.
#[derive(Debug)]
pub(super) struct Vitals {
    baseline: Baseline,
    /// Heart rate that the rhythm follows, per minute.
    pub(super) heart_rate: f64,
    /// Breaths per minute.
    pub(super) breath_rate: f64,
    /// Oxygen saturation, percent.
    pub(super) spo2: f64,
    /// Strength of the pulse at the finger, about 1.
    pub(super) perfusion: f64,
    /// Charge, percent.
    pub(super) battery: f64,
    wander: f64,
    time_of_day_s: f64,
}

impl Vitals {
    /// Draws a patient.
    pub(super) fn new(rng: &mut StdRng) -> Self {
        let baseline = Baseline {
            heart_rate: rng.random_range(62.0..88.0),
            breath_rate: rng.random_range(12.0..18.0),
            spo2: rng.random_range(96.0..98.6),
            temperature: rng.random_range(36.5..37.2),
            systolic: rng.random_range(108.0..136.0),
            diastolic: rng.random_range(64.0..84.0),
            battery: rng.random_range(70.0..100.0),
        };
        Self {
            baseline,
            heart_rate: baseline.heart_rate,
            breath_rate: baseline.breath_rate,
            spo2: baseline.spo2,
            perfusion: 1.0,
            battery: baseline.battery,
            wander: 0.0,
            time_of_day_s: 0.0,
        }
    }

    /// Moves on by one second, to `seconds` since the start; `start_us` is the device time of the start.
    pub(super) fn step(&mut self, seconds: f64, start_us: i64, episodes: &[Episode], rng: &mut StdRng) {
        self.time_of_day_s = ((start_us.rem_euclid(DAY_S as i64 * 1_000_000)) as f64 / 1e6 + seconds) % DAY_S;
        self.wander = 0.98 * self.wander + 0.2 * super::waves::gaussian(rng);
        let level = |kind| episodes.iter().find(|e| e.kind == kind && e.is_on(seconds)).map(|e| e.level);
        let desaturation = level(EpisodeKind::Desaturation);
        let resting = self.baseline.heart_rate + 5.0 * self.day() + self.wander;
        let stressed = if desaturation.is_some() { resting + 14.0 } else { resting };
        let heart = level(EpisodeKind::Tachycardia).or(level(EpisodeKind::Bradycardia)).unwrap_or(stressed);
        self.heart_rate = approach(self.heart_rate, heart, HEART_TAU_S).clamp(20.0, 250.0);
        let breath = self.baseline.breath_rate + if desaturation.is_some() { 6.0 } else { 0.0 };
        self.breath_rate = approach(self.breath_rate, breath + 0.3 * self.wander, HEART_TAU_S * 2.0);
        let (spo2, tau_s) = match desaturation {
            Some(level) => (level, DESATURATION_TAU_S),
            None => (self.baseline.spo2 + 0.15 * self.wander, RECOVERY_TAU_S),
        };
        self.spo2 = approach(self.spo2, spo2, tau_s).clamp(40.0, 100.0);
        self.perfusion = approach(self.perfusion, (70.0 / self.heart_rate).clamp(0.5, 1.1), 5.0);
        self.battery = (self.baseline.battery - seconds / 3600.0 * BATTERY_LOSS).max(1.0);
    }

    /// -1 at the trough, 1 twelve hours later.
    fn day(&self) -> f64 {
        -(TAU * (self.time_of_day_s / 3600.0 - TROUGH_HOUR) / 24.0).cos()
    }

    /// Returns the body's temperature, degrees Celsius.
    pub(super) fn temperature(&self) -> f64 {
        self.baseline.temperature + 0.35 * self.day()
    }

    /// Returns systolic, diastolic and mean pressure, mm[Hg].
    pub(super) fn pressure(&self) -> [f64; 3] {
        let excitement = 0.25 * (self.heart_rate - self.baseline.heart_rate);
        let systolic = self.baseline.systolic + 5.0 * self.day() + excitement;
        let diastolic = self.baseline.diastolic + 3.0 * self.day() + 0.4 * excitement;
        [systolic, diastolic, diastolic + (systolic - diastolic) / 3.0]
    }
}

fn approach(from: f64, to: f64, tau_s: f64) -> f64 {
    to + (from - to) * (-1.0 / tau_s).exp()
}

/// Makes the generator of one device: same seed and name, same patient.
pub(crate) fn generator(seed: u64, device: &str) -> StdRng {
    let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    StdRng::seed_from_u64(device.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed.rotate_left(17), hash))
}
