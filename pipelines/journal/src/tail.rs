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

    /// Adds a durable batch and returns the oldest ones, beyond the bound, for the caller to drop without the lock.
    pub(crate) fn push(&mut self, entries: Vec<Entry>) -> Vec<Arc<TailBatch>> {
        let bytes = entries.iter().map(|entry| ENTRY_BYTES + entry.payload.len()).sum();
        self.bytes += bytes;
        self.batches.push_back(Arc::new(TailBatch { entries, bytes }));
        let mut evicted = Vec::new();
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.bytes -= oldest.bytes;
            evicted.push(oldest);
        }
        evicted
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;
    use wardline_proto::PartitionId;

    fn batch(offsets: std::ops::Range<u64>) -> Vec<Entry> {
        let entry = |offset| Entry {
            offset: Offset::new(offset),
            time_us: 0,
            partition: PartitionId::new(0).unwrap(),
            class: Class::Alarm,
            payload: vec![0; 100].into(),
        };
        offsets.map(entry).collect()
    }

    #[test]
    fn the_newest_batches_stay_within_the_bound() {
        let mut tail = Tail::new(3 * (ENTRY_BYTES + 100));
        assert!(tail.push(batch(5..7)).is_empty());
        assert_eq!(tail.push(batch(7..9)).len(), 1);
        assert!(tail.get(Offset::new(6)).is_none());
        assert_eq!(tail.get(Offset::new(8)).unwrap().base(), Offset::new(7));
        assert!(tail.get(Offset::new(9)).is_none());
        assert_eq!(tail.push(batch(9..19)).len(), 2, "a batch beyond the bound is not kept either");
        assert_eq!(tail.bytes(), 0);
    }
}
