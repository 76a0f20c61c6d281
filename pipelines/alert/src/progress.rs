//! How far the engine is behind, readable while it is stuck.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A healthy engine says where it is at least this often; less is no lag.
pub(crate) const TICK_US: i64 = 250_000;

/// The time up to which everything durable was decided and committed.
#[derive(Debug)]
pub(crate) struct Progress(AtomicI64);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(now_us()))
    }

    /// Notes that all up to `us` is decided and committed.
    pub(crate) fn reached(&self, us: i64) {
        self.0.store(us, Ordering::Relaxed);
    }

    /// Returns the lag in milliseconds. It grows by itself when the engine says nothing any more.
    pub(crate) fn lag_ms(&self) -> u64 {
        let behind_us = now_us() - self.0.load(Ordering::Relaxed) - 2 * TICK_US;
        u64::try_from(behind_us / 1000).unwrap_or(0)
    }
}

/// Returns the wall clock, unix microseconds. The engine itself never calls it: time is an input there.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
