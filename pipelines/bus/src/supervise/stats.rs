//! Counts of the bus since it began.

use std::sync::atomic::{AtomicU64, Ordering};

/// What happened on the bus so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusStats {
    /// Records that an engine committed for us.
    pub published: u64,
    /// Records whose publish failed, or of which nobody knows.
    pub failed: u64,
    /// Records read.
    pub read: u64,
    /// Connections made, the first ones included.
    pub connects: u64,
    /// Connections thrown away after an error.
    pub rebuilds: u64,
    /// Streams opened again because of a hole in their positions.
    pub skips: u64,
    /// Streams opened again because they were silent although there was more to read.
    pub stalls: u64,
    /// Streams begun anew because the engine has less than was read before.
    pub resets: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) read: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) rebuilds: AtomicU64,
    pub(super) skips: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) resets: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn snapshot(&self) -> BusStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusStats {
            published: get(&self.published),
            failed: get(&self.failed),
            read: get(&self.read),
            connects: get(&self.connects),
            rebuilds: get(&self.rebuilds),
            skips: get(&self.skips),
            stalls: get(&self.stalls),
            resets: get(&self.resets),
        }
    }
}
