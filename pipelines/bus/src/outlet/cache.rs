//! The newest part of the journal in memory, and a way to the rest.
//!
//! After an outage of the bus what has to be sent is older than what is in memory. It is asked for in the order of the
//! journal, so a read of it is kept apart from the newest part, which would only drive it out again.

use super::OutletError;
use crate::limits::{RELAY_CACHE_BYTES_MAX, RELAY_READ_BYTES, RELAY_READS_BEHIND};
use std::collections::{BTreeMap, VecDeque};
use tokio::task::spawn_blocking;
use wardline_journal::{Entry, Journal, Offset, ReadError, Reader};
use wardline_proto::PartitionId;

/// An entry's cost beside its payload.
const ENTRY_BYTES: usize = 128;

pub(super) struct Cache {
    journal: Journal,
    reader: Option<Reader>,
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
    /// The last reads of what is not in memory any more: partitions may be sent at different places.
    behind: VecDeque<Vec<Entry>>,
    reads_behind: u64,
}

impl Cache {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            reader: None,
            entries: BTreeMap::new(),
            bytes: 0,
            behind: VecDeque::new(),
            reads_behind: 0,
        }
    }

    /// Reads some records from `from` on, and returns where they are and of which partition.
    pub(super) async fn read(&mut self, from: Offset) -> Result<Vec<(Offset, PartitionId)>, OutletError> {
        let reader = self.reader.take().filter(|reader| reader.position() == from);
        let journal = self.journal.clone();
        let work = move || {
            let mut reader = reader.map_or_else(|| journal.reader(from), Ok)?;
            let entries = reader.next_batch(RELAY_READ_BYTES)?;
            Ok::<_, ReadError>((reader, entries))
        };
        let (reader, entries) = spawn_blocking(work).await??;
        self.reader = Some(reader);
        let read = entries.iter().map(|entry| (entry.offset, entry.partition)).collect();
        self.keep(entries);
        Ok(read)
    }

    /// Returns the record at an offset.
    pub(super) async fn entry(&mut self, at: Offset) -> Result<Entry, OutletError> {
        if let Some(entry) = self.entries.get(&at.get()) {
            return Ok(entry.clone());
        }
        let found = self.behind.iter().find_map(|read| {
            let found = read.binary_search_by_key(&at, |entry| entry.offset).ok()?;
            read.get(found).cloned()
        });
        if let Some(entry) = found {
            return Ok(entry);
        }
        let journal = self.journal.clone();
        let work = move || journal.reader(at)?.next_batch(RELAY_READ_BYTES);
        let read = spawn_blocking(work).await??;
        let wanted = read.first().cloned().ok_or(ReadError::PastEnd { end: at })?;
        self.behind.push_front(read);
        self.behind.truncate(RELAY_READS_BEHIND);
        self.reads_behind += 1;
        Ok(wanted)
    }

    fn keep(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let bytes = entry.payload.len() + ENTRY_BYTES;
            if self.entries.insert(entry.offset.get(), entry).is_none() {
                self.bytes += bytes;
            }
        }
        while self.bytes > RELAY_CACHE_BYTES_MAX {
            let Some((_, gone)) = self.entries.pop_first() else { break };
            self.bytes -= gone.payload.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wardline_journal::{Class, DiskStorage, JournalOptions, Keyring, Record};

    /// A backlog many times the cache is read about once, not once for each record of it.
    #[tokio::test]
    async fn a_backlog_is_read_in_its_order_and_not_for_each_record() {
        const RECORDS: u64 = 600;
        const BYTES: usize = 64 * 1024;
        let folder = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&folder.path().join("keyring.json")).unwrap());
        keyring.ensure(wardline_journal::KeyPurpose::Journal, None).unwrap();
        let options = JournalOptions::for_dir(folder.path());
        let journal = Journal::open(options, Arc::new(DiskStorage::new(folder.path())), keyring).unwrap();
        let mut cache = Cache::new(journal.clone());
        for number in 0..RECORDS {
            let payload = vec![number as u8; BYTES].into();
            let record = Record { class: Class::Telemetry, partition: PartitionId::default(), payload };
            journal.append(record).unwrap().wait(&journal.durable()).unwrap();
        }
        let mut at = Offset::ZERO;
        while at < journal.durable_end() {
            at = cache.read(at).await.unwrap().last().unwrap().0.next();
        }
        assert!(!cache.entries.contains_key(&0), "the beginning is not in memory any more");
        for number in 0..RECORDS {
            let entry = cache.entry(Offset::new(number)).await.unwrap();
            assert_eq!((entry.offset.get(), entry.payload[0]), (number, number as u8));
        }
        let bytes = RECORDS as usize * BYTES;
        let least = (bytes - RELAY_CACHE_BYTES_MAX).div_ceil(RELAY_READ_BYTES) as u64;
        assert!(cache.reads_behind <= 2 * least + 2, "{} reads, {least} at least", cache.reads_behind);
    }
}
