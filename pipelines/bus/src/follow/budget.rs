//! What all partitions that are followed may keep together.

use super::Bounds;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Room for records.
#[derive(Debug)]
pub(super) struct Budget {
    bounds: Bounds,
    /// Records and bytes that are kept.
    taken: Mutex<(usize, usize)>,
    freed: Notify,
}

impl Budget {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, taken: Mutex::default(), freed: Notify::new() }
    }

    /// Waits until there is room. What is read then is taken whole: each partition is at most one arrival above it.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if !self.is_full() {
                return;
            }
            freed.await;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        let (records, bytes) = *self.taken();
        records >= self.bounds.records_max || bytes >= self.bounds.bytes_max
    }

    pub(super) fn take(&self, bytes: usize) {
        let mut taken = self.taken();
        *taken = (taken.0 + 1, taken.1 + bytes);
    }

    pub(super) fn give_back(&self, records: usize, bytes: usize) {
        let mut taken = self.taken();
        *taken = (taken.0.saturating_sub(records), taken.1.saturating_sub(bytes));
        drop(taken);
        self.freed.notify_waiters();
    }

    fn taken(&self) -> MutexGuard<'_, (usize, usize)> {
        // What is behind the lock is never left half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
