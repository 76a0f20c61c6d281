//! The times that batches are stamped with: never falling, and for a reader without records a way to know how far time
//! has come.
//!
//! A batch is stamped before it is written and seen by readers after its sync. Between the two a clock says nothing: a
//! reader that trusted it would find a record of before the time that it had reached. So who waits asks here, and what
//! it is told is a promise to it.
//!
//! Behind a clock that was ahead and is set back time goes on at half its speed, by a clock that nobody sets, until the
//! clock has caught up: what waits for a time waits twice as long at most, and not until then.

use crate::journal::now_us;
use std::time::{Duration, Instant};

/// What the writer has promised and what it is about. Times are unix microseconds.
#[derive(Debug)]
pub(crate) struct Stamps {
    /// No batch from here on is stamped earlier.
    floor_us: i64,
    /// The stamp of a batch that no reader sees yet.
    open_us: Option<i64>,
    /// Up to when what went by is in the floor.
    looked: Instant,
}

impl Stamps {
    /// Goes on behind what was recovered.
    pub(crate) fn new(recovered_us: i64) -> Self {
        Self { floor_us: recovered_us, open_us: None, looked: Instant::now() }
    }

    /// Returns the stamp of a batch that is about to be written.
    pub(crate) fn open(&mut self) -> i64 {
        self.advance(now_us(), Instant::now());
        self.open_us = Some(self.floor_us);
        self.floor_us
    }

    /// Notes that readers see the batch, or never will.
    pub(crate) fn close(&mut self) {
        self.open_us = None;
    }

    /// Returns a time, and promises that what readers do not see yet is stamped with it or later. It is at least
    /// `reached_us`, which an earlier process was told, unless a batch is open.
    pub(crate) fn promise(&mut self, reached_us: i64) -> i64 {
        if let Some(open_us) = self.open_us {
            return open_us;
        }
        self.advance(now_us(), Instant::now());
        self.floor_us = self.floor_us.max(reached_us);
        self.floor_us
    }

    /// Moves on to the clock's time, or by half of what went by.
    fn advance(&mut self, now_us: i64, now: Instant) {
        let half = Duration::from_micros(
            (now.saturating_duration_since(self.looked).as_micros() / 2).try_into().unwrap_or(u64::MAX),
        );
        // What is less than a microsecond counts at the next look.
        self.looked += 2 * half;
        self.floor_us = now_us.max(self.floor_us.saturating_add(half.as_micros() as i64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_stamped_before_what_was_promised() {
        let mut stamps = Stamps::new(0);
        let ahead = now_us() + 3_600_000_000;
        assert_eq!(stamps.promise(ahead), ahead, "what an earlier process was told holds on");
        assert!(stamps.open() >= ahead);
        stamps.close();
        assert!(stamps.promise(0) >= ahead);
    }

    #[test]
    fn behind_a_clock_that_was_ahead_time_goes_on_at_half_its_speed() {
        const SECOND_US: i64 = 1_000_000;
        let mut stamps = Stamps::new(3_600 * SECOND_US);
        let began = stamps.looked;
        let after = |micros: u64| began + Duration::from_micros(micros);
        // However often it is looked at.
        for micro in 1..=60_001 {
            stamps.advance(micro, after(micro as u64));
        }
        assert_eq!(stamps.floor_us, 3_600 * SECOND_US + 30_000);
        stamps.advance(60 * SECOND_US, after(60_000_000));
        assert_eq!(stamps.floor_us, 3_630 * SECOND_US, "a timer of 30 s is due after 60");
        // The clock has caught up: it is followed again.
        let caught_up_us = 7_200 * SECOND_US;
        stamps.advance(caught_up_us - 2, after(caught_up_us as u64 - 2));
        assert_eq!(stamps.floor_us, caught_up_us - 1);
        stamps.advance(caught_up_us + SECOND_US, after((caught_up_us + SECOND_US) as u64));
        assert_eq!(stamps.floor_us, caught_up_us + SECOND_US);
    }

    #[test]
    fn time_stands_still_while_a_batch_is_open() {
        let mut stamps = Stamps::new(0);
        let open = stamps.open();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(stamps.promise(0), open, "its records are not there yet");
        stamps.close();
        assert!(stamps.promise(0) > open);
    }
}
