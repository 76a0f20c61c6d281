//! One lane's log, and the parts that a link message falls into.

use super::kept::{LaneRoom, Sealed};
use super::{SpoolError, SpoolOptions};
use crate::lanes::{LANES, LaneIndex};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::Arc;
use wardline_journal::format::{segment_base, segment_name};
use wardline_journal::{
    AppendError, Class, Journal, JournalOptions, KeyProvider, Offset, OpenError, ReadError, Reader, Record,
    Storage,
};
use wardline_proto::PartitionId;
use wardline_proto::frame::encode_body;
use wardline_proto::v1::{Body, Encoding};

/// A batch holds the largest link message, and a segment four batches.
const BATCH_BYTES_MAX: usize = 128 * 1024;
const SMALL_SEGMENT_BYTES: u64 = 544 * 1024;
const LARGE_SEGMENT_BYTES: u64 = 2 * 1024 * 1024;
/// Appended and not yet written; a full queue holds the device back.
const QUEUE_BYTES_MAX: usize = 512 * 1024;
/// Recent records in memory, so that a live frame is not read back from disk.
const TAIL_BYTES_MAX: usize = 64 * 1024;
/// Free disk space that the agent leaves to others.
pub(super) const RESERVE_BYTES: u64 = 32 * 1024 * 1024;
/// Segments' room that is left to what comes between two looks at what may go.
const ROOM_SEGMENTS: u64 = 4;

const _: () = assert!(BATCH_BYTES_MAX > 2 * wardline_proto::limits::LINK_MESSAGE_BYTES_MAX - 1024);
const _: () = assert!(SMALL_SEGMENT_BYTES > 4 * BATCH_BYTES_MAX as u64);
// With a spare ahead no log is squeezed: a queue that was full for a moment costs nothing that is kept.
const _: () = assert!(SMALL_SEGMENT_BYTES / 4 * 3 > 3 * BATCH_BYTES_MAX as u64 + 8 * 1024);

/// One lane's items of a link message, encoded.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) lane: LaneIndex,
    pub(crate) encoding: Encoding,
    pub(crate) body: Bytes,
}

impl Part {
    /// Splits a body by lane: what a body carries travels in one lane only.
    pub(crate) fn split(body: Body) -> Vec<Self> {
        let Body { numerics, waveforms, alarms, events } = body;
        let bodies: [(LaneIndex, bool, Body); LANES] = [
            (LaneIndex::ALARM, alarms.is_empty(), Body { alarms, ..Body::default() }),
            (LaneIndex::EVENTS, events.is_empty(), Body { events, ..Body::default() }),
            (LaneIndex::NUMERICS, numerics.is_empty(), Body { numerics, ..Body::default() }),
            (LaneIndex::WAVEFORMS, waveforms.is_empty(), Body { waveforms, ..Body::default() }),
        ];
        let filled = bodies.into_iter().filter(|(_, is_empty, _)| !is_empty);
        filled.map(|(lane, _, body)| Self::encode(lane, &body)).collect()
    }

    fn encode(lane: LaneIndex, body: &Body) -> Self {
        let (encoding, body) = encode_body(body);
        Self { lane, encoding, body }
    }
}

/// The log of a lane.
pub(crate) struct LaneLog {
    lane: LaneIndex,
    pub(super) journal: Journal,
    /// Most bytes of files that kept records may bring it to.
    kept_up_to: u64,
    /// With less room than this it refuses, or will at the next batch.
    squeezed_below: u64,
}

impl LaneLog {
    pub(super) fn open(
        spool: &SpoolOptions,
        lane: LaneIndex,
        keys: &Arc<dyn KeyProvider>,
        settled: u64,
    ) -> Result<Self, SpoolError> {
        let dir = spool.dir.join(lane.name());
        let options = options(&dir, lane, spool.bytes_max);
        let kept_up_to = options.total_bytes_max - ROOM_SEGMENTS * options.segment_bytes;
        // A quarter of a segment's room is closed to telemetry.
        let squeezed_below = options.segment_bytes / 4 + 2 * BATCH_BYTES_MAX as u64;
        let storage = (spool.storage)(&dir);
        let journal = loop {
            let error = match Journal::open(options.clone(), Arc::clone(&storage), Arc::clone(keys)) {
                Ok(journal) => break journal,
                Err(error) => error,
            };
            if !give_up(&*storage, &error, settled)? {
                return Err(SpoolError::Open { lane: lane.name(), error });
            }
            tracing::warn!(%error, lane = lane.name(), "kept records rot; they and what is older are dropped");
        };
        Ok(Self { lane, journal, kept_up_to, squeezed_below })
    }

    /// Appends a frame; returns its offset.
    pub(super) fn append(&self, payload: Bytes, partition: PartitionId) -> Result<u64, AppendError> {
        let class = match self.lane {
            LaneIndex::ALARM => Class::Alarm,
            LaneIndex::EVENTS => Class::Audit,
            _ => Class::Telemetry,
        };
        self.append_as(class, payload, partition)
    }

    /// Appends a tombstone: it is admitted where telemetry is refused, because the hole must be known.
    pub(super) fn append_tombstone(
        &self,
        payload: Bytes,
        partition: PartitionId,
    ) -> Result<u64, AppendError> {
        self.append_as(Class::Audit, payload, partition)
    }

    fn append_as(&self, class: Class, payload: Bytes, partition: PartitionId) -> Result<u64, AppendError> {
        // The ticket is not kept: a message may be a duplicate of one whose ticket is gone. Durability is read
        // from the log's durable end, which moves only after the sync.
        let ticket = self.journal.append(Record { partition, class, payload })?;
        Ok(ticket.offset().get())
    }

    pub(super) fn name(&self) -> &'static str {
        self.lane.name()
    }

    pub(super) fn start(&self) -> u64 {
        self.journal.start().get()
    }

    pub(super) fn durable_end(&self) -> u64 {
        self.journal.durable_end().get()
    }

    pub(super) fn reader(&self, from: u64) -> Result<Reader, ReadError> {
        self.journal.reader(Offset::new(from))
    }

    /// Says whether the log has refused for want of room since the last look, when it had done so `refused_before` times.
    pub(super) fn is_squeezed(&self, refused_before: &mut u64) -> bool {
        let stats = self.journal.stats();
        let is_refused = stats.refused_full > std::mem::replace(refused_before, stats.refused_full);
        is_refused && stats.room_bytes < self.squeezed_below
    }

    /// Says what of the log below `watermark` may be dropped: all of it when some log is squeezed.
    pub(super) fn room(&self, watermark: u64, is_squeezed: bool) -> LaneRoom {
        let bytes = self.journal.stats().bytes;
        let over = if is_squeezed { u64::MAX } else { bytes.saturating_sub(self.kept_up_to) };
        let sealed = self.journal.sealed_below(Offset::new(watermark)).into_iter();
        LaneRoom { sealed: sealed.map(|(end, bytes)| Sealed { end: end.get(), bytes }).collect(), over }
    }

    /// Drops whole segments below `watermark`, but never the newest record: it says what the device has given.
    pub(super) fn drop_below(&self, watermark: u64) -> Result<(), SpoolError> {
        let newest = self.durable_end().saturating_sub(1);
        match self.journal.retain_from(Offset::new(watermark.min(newest))) {
            Ok(_dropped_bytes) => Ok(()),
            Err(error) => Err(SpoolError::Io(error.0)),
        }
    }
}

/// Removes the segment of which an open complains, and those before it, when the gateway has all of them: what is kept
/// may go at any time, and must not keep what was never sent from going. `false` when it is not so. The newest record,
/// which says what the device has given, is in a segment behind.
fn give_up(storage: &dyn Storage, error: &OpenError, settled: u64) -> io::Result<bool> {
    let OpenError::Corrupt { segment, .. } = error else { return Ok(false) };
    let Some(rotten) = segment_base(segment) else { return Ok(false) };
    let mut bases: Vec<_> = storage.list()?.iter().filter_map(|file| segment_base(&file.name)).collect();
    bases.sort_unstable();
    let behind = bases.partition_point(|base| *base <= rotten);
    if bases.get(behind).is_none_or(|next| next.get() >= settled) {
        return Ok(false);
    }
    for base in &bases[..behind] {
        storage.remove(&segment_name(*base))?;
    }
    storage.sync_dir()?;
    Ok(true)
}

fn options(dir: &Path, lane: LaneIndex, bytes_max: u64) -> JournalOptions {
    let segment_bytes = match lane {
        LaneIndex::WAVEFORMS | LaneIndex::NUMERICS => LARGE_SEGMENT_BYTES,
        _ => SMALL_SEGMENT_BYTES,
    };
    JournalOptions {
        segment_bytes,
        // Policy bounds what waits; this bounds the files, with room for sealing, tombstones and whole segments.
        total_bytes_max: bytes_max + bytes_max / 4 + 8 * segment_bytes,
        reserve_bytes: RESERVE_BYTES,
        queue_bytes_max: QUEUE_BYTES_MAX,
        batch_bytes_max: BATCH_BYTES_MAX,
        tail_bytes_max: TAIL_BYTES_MAX,
        ..JournalOptions::for_dir(dir)
    }
}
