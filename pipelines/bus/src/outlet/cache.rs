//! The newest part of the journal in memory, and a way to the rest.

use super::OutletError;
use crate::limits::{RELAY_CACHE_BYTES_MAX, RELAY_READ_BYTES};
use std::collections::BTreeMap;
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
}

impl Cache {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, reader: None, entries: BTreeMap::new(), bytes: 0 }
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
        let journal = self.journal.clone();
        let work = move || journal.reader(at)?.next_batch(RELAY_READ_BYTES);
        let entries = spawn_blocking(work).await??;
        let wanted = entries.first().cloned().ok_or(ReadError::PastEnd { end: at })?;
        self.keep(entries);
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
