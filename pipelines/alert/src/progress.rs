//! How far the engine is behind, readable while it is stuck.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A healthy engine says where it is at least this often; less is no lag.
pub(crate) const TICK_US: i64 = 250_000;

/// Where the engine is. Times are unix microseconds.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Everything durable up to here was decided and committed.
    reached_us: AtomicI64,
    /// When the engine last took a turn.
    beat_us: AtomicI64,
    /// First journal offset that is not decided, and since when.
    next: AtomicU64,
    moved_us: AtomicI64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let now = now_us();
        Self {
            reached_us: AtomicI64::new(now),
            beat_us: AtomicI64::new(now),
            next: AtomicU64::new(0),
            moved_us: AtomicI64::new(now),
        }
    }

    /// Notes that all up to `us` is decided and committed.
    pub(crate) fn reached(&self, us: i64) {
        self.reached_us.store(us, Ordering::Relaxed);
    }

    /// Notes that the engine takes a turn.
    pub(crate) fn beat(&self) {
        self.beat_us.store(now_us(), Ordering::Relaxed);
    }

    /// Notes the first offset that is not decided.
    pub(crate) fn at(&self, next: u64) {
        if self.next.swap(next, Ordering::Relaxed) != next {
            self.moved_us.store(now_us(), Ordering::Relaxed);
        }
    }

    /// Returns the lag in milliseconds. It grows by itself when the engine says nothing any more.
    pub(crate) fn lag_ms(&self) -> u64 {
        let behind_us = now_us() - self.reached_us.load(Ordering::Relaxed) - 2 * TICK_US;
        u64::try_from(behind_us / 1000).unwrap_or(0)
    }

    /// Returns when the engine last took a turn.
    pub(crate) fn beat_us(&self) -> i64 {
        self.beat_us.load(Ordering::Relaxed)
    }

    /// Returns the first offset that is not decided, and since when it has been that.
    pub(crate) fn position(&self) -> (u64, i64) {
        (self.next.load(Ordering::Relaxed), self.moved_us.load(Ordering::Relaxed))
    }
}

/// Returns the wall clock, unix microseconds. The engine itself never calls it: time is an input there.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
