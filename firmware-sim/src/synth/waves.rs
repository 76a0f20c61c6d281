//! Waveform shapes: the heart's beats and the breath as phases, and the signals as functions of them.
//!
//! ECG after ECGSYN (McSharry, Clifford, Tarassenko, Smith, IEEE Trans Biomed Eng 50(3), 2003): a sum of Gaussians on
//! the phase of an RR process with respiratory sinus arrhythmia, widths scaled with the square root of the rate.

use rand::Rng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::f64::consts::{PI, TAU};

/// Angle, height in mV and width of P, Q, R, S and T in lead II; angles and widths as in ECGSYN at 60 per minute.
const ECG_II: [(f64, f64, f64); 5] = [
    (-PI / 3.0, 0.12, 0.25),
    (-PI / 12.0, -0.12, 0.10),
    (0.0, 1.20, 0.10),
    (PI / 12.0, -0.28, 0.10),
    (PI / 2.0, 0.32, 0.40),
];
/// Phase, height and width of the systolic and the dicrotic wave.
const PLETH: [(f64, f64, f64); 2] = [(-1.2, 1.0, 0.55), (0.6, 0.38, 0.75)];
/// RR intervals that a heart rate is averaged over.
const RATE_BEATS: usize = 8;
/// Share of the RR interval that respiration moves at rest.
const ARRHYTHMIA: f64 = 0.04;
/// Share of the RR interval that is noise, as a standard deviation.
const JITTER: f64 = 0.008;

/// The heart and the breath, moving on together.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// Time since the source's start, seconds.
    now_s: f64,
    beat_start_s: f64,
    rr_s: f64,
    recent_rr_s: VecDeque<f64>,
    breath_turns: f64,
    breath_rate: f64,
}

/// Where heart and breath are at one instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    /// Angle within the beat, -pi to pi, R wave at 0.
    pub(super) beat: f64,
    /// RR interval of this beat, seconds.
    pub(super) rr_s: f64,
    /// Breath in whole turns.
    pub(super) breath_turns: f64,
}

impl Rhythm {
    /// Starts at a beat's beginning.
    pub(super) fn new(heart_rate: f64, breath_rate: f64) -> Self {
        Self {
            now_s: 0.0,
            beat_start_s: 0.0,
            rr_s: 60.0 / heart_rate,
            recent_rr_s: VecDeque::from([60.0 / heart_rate]),
            breath_turns: 0.0,
            breath_rate,
        }
    }

    /// Moves on to `at_s`, with the rates per minute that hold from the next beat on.
    pub(super) fn advance(
        &mut self,
        at_s: f64,
        heart_rate: f64,
        breath_rate: f64,
        rng: &mut StdRng,
    ) -> Phase {
        self.breath_turns += (at_s - self.now_s) * breath_rate / 60.0;
        self.breath_rate = breath_rate;
        self.now_s = at_s;
        while at_s - self.beat_start_s >= self.rr_s {
            self.beat_start_s += self.rr_s;
            // Inspiration quickens the heart; the faster it beats, the less.
            let arrhythmia = ARRHYTHMIA * (70.0 / heart_rate).min(1.5) * (TAU * self.breath_turns).sin();
            let noise = JITTER * gaussian(rng);
            self.rr_s = 60.0 / heart_rate * (1.0 - arrhythmia + noise);
            if self.recent_rr_s.len() == RATE_BEATS {
                self.recent_rr_s.pop_front();
            }
            self.recent_rr_s.push_back(self.rr_s);
        }
        let beat = TAU * (at_s - self.beat_start_s) / self.rr_s - PI;
        Phase { beat, rr_s: self.rr_s, breath_turns: self.breath_turns }
    }

    /// Returns the heart rate over the last beats, per minute.
    pub(super) fn heart_rate(&self) -> f64 {
        60.0 * self.recent_rr_s.len() as f64 / self.recent_rr_s.iter().sum::<f64>()
    }

    /// Returns the breaths per minute.
    pub(super) fn breath_rate(&self) -> f64 {
        self.breath_rate
    }
}

impl Phase {
    /// Returns lead II, mV.
    pub(super) fn ecg_ii(&self) -> f64 {
        // ECGSYN's alpha: waves keep part of their length in time when the rate rises.
        let alpha = (1.0 / self.rr_s).sqrt();
        let beats = bumps(&ECG_II, self.beat, alpha);
        beats + 0.04 * (TAU * self.breath_turns).sin()
    }

    /// Returns the plethysmogram for a relative pulse strength, around 0 to 1.
    pub(super) fn pleth(&self, strength: f64) -> f64 {
        // The pulse reaches the finger a good fifth of a second after the R wave.
        let delayed = wrap(self.beat - TAU * 0.22 / self.rr_s);
        let breath = 1.0 + 0.06 * (TAU * self.breath_turns).sin();
        strength * breath * bumps(&PLETH, delayed, 1.0)
    }

    /// Returns the impedance of the chest: quick in, slower out.
    pub(super) fn respiration(&self) -> f64 {
        let turn = TAU * self.breath_turns;
        turn.sin() + 0.18 * (2.0 * turn).sin()
    }
}

fn bumps(waves: &[(f64, f64, f64)], phase: f64, stretch: f64) -> f64 {
    let bump = |(angle, height, width): &(f64, f64, f64)| {
        // Only the waves that surround R move away from it as the rate rises.
        let distance = wrap(phase - angle * stretch.sqrt());
        height * (-distance * distance / (2.0 * (width * stretch).powi(2))).exp()
    };
    waves.iter().map(bump).sum()
}

fn wrap(angle: f64) -> f64 {
    (angle + PI).rem_euclid(TAU) - PI
}

/// Draws from the standard normal distribution (Box and Muller).
pub(super) fn gaussian(rng: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
}
