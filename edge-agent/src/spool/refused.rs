//! Frames that the gateway refused for good: kept, sealed and bounded, so that one bad frame neither blocks its
//! lane for ever nor vanishes.
//!
//! Payload of a record: lane place (u8), MQTT reason code (u8), the frame as it was sent. The oldest go first when
//! the log is at its bound. The log is made at the first refusal: most agents never have one. It works with as little
//! room on the disk as the lanes do; where even that is missing the frame is told of, and lost.

use super::SpoolError;
use super::lane::RESERVE_BYTES;
use crate::lanes::LaneIndex;
use bytes::{BufMut, Bytes, BytesMut};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use wardline_journal::{AppendError, Class, Journal, JournalOptions, KeyProvider, Record, Storage, Ticket};
use wardline_proto::PartitionId;

const FOLDER: &str = "refused";
const SEGMENT_BYTES: u64 = 1024 * 1024;
const TOTAL_BYTES_MAX: u64 = 8 * SEGMENT_BYTES;

pub(super) struct RefusedLog {
    keys: Arc<dyn KeyProvider>,
    storage: fn(&Path) -> Arc<dyn Storage>,
    journal: Mutex<Option<Journal>>,
}

impl RefusedLog {
    pub(super) fn new(keys: Arc<dyn KeyProvider>, storage: fn(&Path) -> Arc<dyn Storage>) -> Self {
        Self { keys, storage, journal: Mutex::new(None) }
    }

    /// Keeps a frame; returns when it is durable.
    pub(super) fn keep(
        &self,
        spool: &Path,
        lane: LaneIndex,
        reason: u8,
        frame: &[u8],
        partition: PartitionId,
    ) -> Result<(), SpoolError> {
        let mut payload = BytesMut::with_capacity(2 + frame.len());
        payload.put_u8(lane.get() as u8);
        payload.put_u8(reason);
        payload.put_slice(frame);
        let mut slot = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let journal = match slot.take() {
            Some(journal) => journal,
            None => self.open(&spool.join(FOLDER))?,
        };
        let ticket = append(&journal, payload.freeze(), partition)?;
        ticket.wait(&journal.durable()).map_err(|_| SpoolError::Failed)?;
        // One that failed takes nothing more: it goes, and the next frame finds it opened anew.
        *slot = Some(journal);
        Ok(())
    }

    pub(super) fn close(&self) {
        if let Some(journal) = self.journal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            journal.close();
        }
    }

    fn open(&self, dir: &Path) -> Result<Journal, SpoolError> {
        let options = JournalOptions {
            segment_bytes: SEGMENT_BYTES,
            total_bytes_max: TOTAL_BYTES_MAX,
            reserve_bytes: RESERVE_BYTES,
            queue_bytes_max: SEGMENT_BYTES as usize,
            batch_bytes_max: (SEGMENT_BYTES / 4) as usize,
            tail_bytes_max: 0,
            ..JournalOptions::for_dir(dir)
        };
        Journal::open(options, (self.storage)(dir), Arc::clone(&self.keys))
            .map_err(|error| SpoolError::Open { lane: FOLDER, error })
    }
}

fn append(journal: &Journal, payload: Bytes, partition: PartitionId) -> Result<Ticket, SpoolError> {
    let record = Record { partition, class: Class::Audit, payload };
    match journal.append(record) {
        Ok(ticket) => Ok(ticket),
        Err(AppendError::Full(record)) => {
            journal.retain_from(journal.durable_end()).map_err(|error| SpoolError::Io(error.0))?;
            journal.append(record).map_err(|_| SpoolError::Failed)
        }
        Err(_) => Err(SpoolError::Failed),
    }
}
