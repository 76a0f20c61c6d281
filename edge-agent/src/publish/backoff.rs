//! How long to wait before the next attempt: exponential, jittered, the first retry fast. Sans-IO.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Doublings are counted no further than this; every bound is reached long before.
const DOUBLINGS_MAX: u32 = 20;
/// The first retry waits this part of the least delay.
const FIRST_RETRY_DIVISOR: u32 = 4;

/// Least and greatest delay between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffOptions {
    /// Delay that the second retry is drawn around; later ones double it.
    pub delay_min: Duration,
    /// No delay is longer than this.
    pub delay_max: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self { delay_min: Duration::from_secs(1), delay_max: Duration::from_secs(60) }
    }
}

/// Counts failures and draws delays.
#[derive(Debug)]
pub(crate) struct Backoff {
    options: BackoffOptions,
    failures: u32,
    random: u64,
}

impl Backoff {
    /// Seeds itself from the process's random hash keys: a fleet that lost its gateway must not return in step.
    pub(crate) fn new(options: BackoffOptions) -> Self {
        Self::seeded(options, RandomState::new().build_hasher().finish())
    }

    fn seeded(options: BackoffOptions, seed: u64) -> Self {
        Self { options, failures: 0, random: seed | 1 }
    }

    /// Forgets the failures so far.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Skips the fast first retry: the server has just said that it wants less.
    pub(crate) fn slow_down(&mut self) {
        self.failures = self.failures.max(1);
    }

    /// Counts a failure and returns the delay before the next attempt: half of the step is certain, half is drawn.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let step = match self.failures {
            0 => self.options.delay_min / FIRST_RETRY_DIVISOR,
            n => self.options.delay_min.saturating_mul(1 << (n - 1).min(DOUBLINGS_MAX)),
        };
        self.failures = self.failures.saturating_add(1);
        let step = step.min(self.options.delay_max);
        step / 2 + (step / 2).mul_f64(self.draw())
    }

    /// Draws from 0 to 1. Xorshift64*: good enough to spread retries and renewals; nothing else is drawn from it.
    pub(crate) fn draw(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let bits = self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40;
        bits as f64 / (1_u64 << 24) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_start_over() {
        let options = BackoffOptions::default();
        for seed in 0..200 {
            let mut backoff = Backoff::seeded(options, seed);
            assert!(backoff.next_delay() <= Duration::from_millis(250));
            for doubling in 0..40_u32 {
                let step = Duration::from_secs(1 << doubling.min(10)).min(options.delay_max);
                let delay = backoff.next_delay();
                assert!(delay >= step / 2 && delay <= step, "seed {seed} doubling {doubling}");
            }
            backoff.reset();
            backoff.slow_down();
            assert!(backoff.next_delay() >= Duration::from_millis(500));
        }
    }

    #[test]
    fn two_agents_do_not_wait_in_step() {
        let options = BackoffOptions::default();
        let (mut one, mut two) = (Backoff::seeded(options, 1), Backoff::seeded(options, 99));
        assert!((0..8).any(|_| one.next_delay() != two.next_delay()));
    }
}
