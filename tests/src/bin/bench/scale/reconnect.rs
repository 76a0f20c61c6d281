//! Devices that lost their session come back: one event per attempt, seeded.
//!
//! A device waits as the agent does (half of a doubling step certain, half drawn; the first retry early), calls one of
//! the fronts that live, is refused at once when the front's admission is spent, and otherwise waits its turn for the
//! cores that the steady load leaves over. Nobody is let in after the client's own patience.

use super::figures::Figures;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds of simulated time.
type Us = u64;

const SECOND: f64 = 1e6;
/// The agent's least and greatest delay between attempts, and how long it waits for an answer.
const DELAY_MIN: f64 = 1.0;
const DELAY_MAX: f64 = 60.0;
const PATIENCE: Us = 10_000_000;

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Return {
    /// Seconds until the device at this part of all is back: half, 99 of 100, the last.
    pub(crate) after_s: [f64; 3],
    /// Attempts that were refused or timed out.
    pub(crate) in_vain: usize,
}

struct Front {
    tokens: f64,
    filled: Us,
    busy_until: Us,
    service: f64,
}

impl Front {
    /// Takes an attempt; returns when it is answered, or nothing when it is refused.
    fn take(&mut self, figures: &Figures, now: Us) -> Option<Us> {
        let since = (now - self.filled) as f64 / SECOND;
        self.tokens = (self.tokens + since * figures.admitted_per_second).min(figures.admitted_burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return None;
        }
        self.tokens -= 1.0;
        self.busy_until = self.busy_until.max(now) + self.service as Us;
        Some(self.busy_until)
    }
}

/// Lets `lost` devices come back to `fronts`, each of which has `spare` cores for connects.
pub(crate) fn simulate(figures: &Figures, lost: usize, fronts: usize, spare: f64, seed: u64) -> Return {
    let mut random = SmallRng::seed_from_u64(seed);
    let service = figures.connect_us / spare.max(0.05);
    let front = || Front { tokens: figures.admitted_burst, filled: 0, busy_until: 0, service };
    let mut fronts: Vec<Front> = std::iter::repeat_with(front).take(fronts.max(1)).collect();
    let mut events = BinaryHeap::with_capacity(lost);
    for _ in 0..lost {
        events.push(Reverse((delay(&mut random, 0), 0_u32)));
    }
    let (mut back, mut in_vain) = (Vec::with_capacity(lost), 0);
    while let Some(Reverse((now, failures))) = events.pop() {
        let chosen = random.random_range(0..fronts.len());
        match fronts[chosen].take(figures, now) {
            Some(answered) if answered - now <= PATIENCE => back.push(answered),
            refused => {
                in_vain += 1;
                let heard = refused.map_or(now, |_too_late| now + PATIENCE);
                events.push(Reverse((heard + delay(&mut random, failures + 1), failures + 1)));
            }
        }
    }
    back.sort_unstable();
    let at = |part: f64| {
        let index = ((back.len() as f64 * part) as usize).min(back.len().saturating_sub(1));
        back.get(index).map_or(0.0, |&us| us as f64 / SECOND)
    };
    Return { after_s: [at(0.5), at(0.99), at(1.0)], in_vain }
}

/// The agent's delay after so many failures.
fn delay(random: &mut SmallRng, failures: u32) -> Us {
    let step = match failures {
        0 => DELAY_MIN / 4.0,
        n => (DELAY_MIN * f64::from(1_u32 << (n - 1).min(20))).min(DELAY_MAX),
    };
    (step * SECOND * random.random_range(0.5..1.0)) as Us
}
