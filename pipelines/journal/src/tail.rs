//! Recent durable batches in memory, so that live readers neither read nor open what was just sealed.

use crate::{Entry, Offset};
use std::collections::VecDeque;
use std::sync::Arc;

/// What an entry costs beside its payload, roughly.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// A bounded run of batches that ends at the durable end.
pub(crate) struct Tail {
    batches: VecDeque<Arc<TailBatch>>,
    bytes: usize,
    bytes_max: usize,
}

/// A batch's entries, never none.
pub(crate) struct TailBatch {
    pub(crate) entries: Vec<Entry>,
    bytes: usize,
}

impl TailBatch {
    fn base(&self) -> Offset {
        self.entries.first().map_or(Offset::ZERO, |entry| entry.offset)
    }

    fn end(&self) -> Offset {
        self.entries.last().map_or(Offset::ZERO, |entry| entry.offset.next())
    }
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds a durable batch and drops the oldest ones beyond the bound.
    pub(crate) fn push(&mut self, entries: Vec<Entry>) {
        let bytes = entries.iter().map(|entry| ENTRY_BYTES + entry.payload.len()).sum();
        self.bytes += bytes;
        self.batches.push_back(Arc::new(TailBatch { entries, bytes }));
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
    }

    /// Returns the batch that holds the offset.
    pub(crate) fn get(&self, offset: Offset) -> Option<Arc<TailBatch>> {
        let at = self.batches.partition_point(|batch| batch.end() <= offset);
        self.batches.get(at).filter(|batch| batch.base() <= offset).cloned()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
