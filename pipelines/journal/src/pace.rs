//! When the next batch may be taken: syncs keep a distance while many records come, and only then.
//!
//! A fast disk would otherwise sync a handful of records at a time, and a sync costs 50 to 150 us of CPU however few it
//! carries. What counts is the rate, not the size of a batch: a few devices that happen to speak together are no load,
//! and a pause would be all that their acknowledgements wait for.

use std::time::{Duration, Instant};

/// Least time from one sync's start to the next while paced. Far below what a network adds.
pub(crate) const PACE: Duration = Duration::from_millis(1);
/// How long records are counted before their rate is judged.
const WINDOW: Duration = Duration::from_millis(4);
/// From so many records in each [`PACE`] on syncs are paced: 6,000 a second.
const PACED_RECORDS_MIN: u64 = 6;

/// Judges the rate of records. Holds no clock.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    window_started: Option<Instant>,
    records: u64,
    is_paced: bool,
}

impl Pacer {
    /// Counts a batch whose sync began at `started`; returns before when no next batch is to be taken, or `None`.
    pub(crate) fn note(&mut self, started: Instant, records: u32) -> Option<Instant> {
        self.records += u64::from(records);
        let counted = self.window_started.map(|since| started.saturating_duration_since(since));
        if counted.is_none_or(|counted| counted >= WINDOW) {
            // Without a window before it, a batch says nothing about a rate.
            self.is_paced = counted.is_some_and(|counted| {
                u128::from(self.records) * PACE.as_nanos()
                    >= u128::from(PACED_RECORDS_MIN) * counted.as_nanos()
            });
            (self.window_started, self.records) = (Some(started), 0);
        }
        self.is_paced.then(|| started + PACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes batches of `records` every `step_us`, and returns which of them were followed by a pause.
    fn pauses(pacer: &mut Pacer, start: Instant, step_us: u64, records: u32, batches: u64) -> Vec<bool> {
        let at = |batch| start + Duration::from_micros(batch * step_us);
        (1..=batches).map(|batch| pacer.note(at(batch), records).is_some()).collect()
    }

    #[test]
    fn a_low_rate_is_never_paced_however_it_is_bunched() {
        let start = Instant::now();
        for (step_us, records) in [(500, 1), (2_000, 4), (5_000, 10), (1_000_000, 500)] {
            let paused = pauses(&mut Pacer::default(), start, step_us, records, 200);
            assert!(!paused.contains(&true), "{records} each {step_us} us");
        }
    }

    #[test]
    fn a_high_rate_is_paced_within_two_windows_and_its_end_is_seen() {
        let start = Instant::now();
        for (step_us, records) in [(100, 1), (500, 5), (1_000, 20)] {
            let mut pacer = Pacer::default();
            let batches = 50_000 / step_us;
            let paused = pauses(&mut pacer, start, step_us, records, batches);
            let first = paused.iter().position(|paused| *paused).unwrap() as u64;
            assert!(first * step_us <= 2 * WINDOW.as_micros() as u64, "{records} each {step_us} us: {first}");
            assert!(paused[first as usize..].iter().all(|paused| *paused));
            let later = start + Duration::from_secs(1);
            assert!(pacer.note(later, 3).is_none(), "a lone batch after a second is not paced");
        }
    }

    #[test]
    fn a_pause_ends_one_pace_after_the_sync_began() {
        let start = Instant::now();
        let mut pacer = Pacer::default();
        for batch in 0..20 {
            let began = start + batch * PACE;
            let until = pacer.note(began, 100);
            assert!(until.is_none_or(|until| until == began + PACE));
        }
    }
}
