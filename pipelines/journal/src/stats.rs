//! Counters of a log.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a log holds and has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalStats {
    /// Segments, the active one included.
    pub segments: u64,
    /// Bytes of all segment files, the spare included.
    pub bytes: u64,
    /// Records made durable.
    pub records: u64,
    /// Batches made durable.
    pub batches: u64,
    /// Data syncs, those of segment changes included.
    pub syncs: u64,
    /// Bytes written in batches.
    pub batch_bytes: u64,
    /// Records in the largest batch.
    pub batch_records_max: u64,
    /// Time spent in data syncs of batches, microseconds.
    pub sync_us_total: u64,
    /// Longest data sync of a batch, microseconds.
    pub sync_us_max: u64,
    /// Worst-case disk cost of what waits to become durable, bytes.
    pub queue_bytes: u64,
    /// Bytes allocated for records to come.
    pub room_bytes: u64,
    /// Bytes of the in-memory tail.
    pub tail_bytes: u64,
    /// Records refused because of a bound.
    pub refused_full: u64,
}

/// The counters behind [`JournalStats`]; all but `refused_full` have one writer.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) records: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) batch_bytes: AtomicU64,
    pub(crate) batch_records_max: AtomicU64,
    pub(crate) sync_us_total: AtomicU64,
    pub(crate) sync_us_max: AtomicU64,
    pub(crate) refused_full: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn count_batch(&self, records: u64, bytes: u64, sync_us: u64) {
        Self::add(&self.records, records);
        Self::add(&self.batches, 1);
        Self::add(&self.syncs, 1);
        Self::add(&self.batch_bytes, bytes);
        Self::add(&self.sync_us_total, sync_us);
        self.batch_records_max.fetch_max(records, Ordering::Relaxed);
        self.sync_us_max.fetch_max(sync_us, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> JournalStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        JournalStats {
            records: get(&self.records),
            batches: get(&self.batches),
            syncs: get(&self.syncs),
            batch_bytes: get(&self.batch_bytes),
            batch_records_max: get(&self.batch_records_max),
            sync_us_total: get(&self.sync_us_total),
            sync_us_max: get(&self.sync_us_max),
            refused_full: get(&self.refused_full),
            ..JournalStats::default()
        }
    }
}
