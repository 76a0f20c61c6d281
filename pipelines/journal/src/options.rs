//! The journal's settings and every bound that follows from them.

use crate::Offset;
use crate::format::{BATCH_BODY_BYTES_MAX, BATCH_OVERHEAD_BYTES, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use std::path::{Path, PathBuf};

/// Smallest segment, bytes.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
/// Largest segment, bytes: positions inside one fit 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segments that a log may always hold: the active one, the spare, and two sealed ones.
pub(crate) const SEGMENTS_MIN: u64 = 4;

const _: () = assert!(SEGMENT_BYTES_MIN > 8 * (SEGMENT_HEADER_BYTES + BATCH_OVERHEAD_BYTES) as u64);

/// Where a log lies and how much it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOptions {
    /// The log's own folder.
    pub dir: PathBuf,
    /// Size that a segment is preallocated to. Lowered to a quarter of `total_bytes_max` when that is less.
    pub segment_bytes: u64,
    /// Most bytes of all segments, the preallocated ones included. A log that is opened at its bound adds 16 KiB, so
    /// that it can be drained.
    pub total_bytes_max: u64,
    /// Disk space that is left free: no segment is allocated below it.
    pub reserve_bytes: u64,
    /// Most bytes that wait to become durable.
    pub queue_bytes_max: usize,
    /// Most bytes of records in one batch, hence in one `fdatasync`.
    pub batch_bytes_max: usize,
    /// Most bytes of recent durable records kept in memory for readers.
    pub tail_bytes_max: usize,
    /// Number of the first record of a log that holds none. A log that has begun goes on by its own numbers.
    pub first_offset: Offset,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self::for_dir("journal")
    }
}

impl JournalOptions {
    /// Returns the defaults for a front's log in `dir`.
    pub fn for_dir(dir: impl AsRef<Path>) -> Self {
        Self {
            dir: dir.as_ref().to_path_buf(),
            segment_bytes: 32 << 20,
            total_bytes_max: 4 << 30,
            reserve_bytes: 256 << 20,
            queue_bytes_max: 16 << 20,
            batch_bytes_max: 1 << 20,
            tail_bytes_max: 16 << 20,
            first_offset: Offset::ZERO,
        }
    }

    /// Returns the largest payload that a log with these options takes, bytes.
    pub fn record_bytes_max(&self) -> usize {
        Bounds::of(self).record_bytes_max
    }
}

/// The options after clamping, with what follows from them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) segment_bytes: u64,
    pub(crate) total_bytes_max: u64,
    pub(crate) reserve_bytes: u64,
    pub(crate) queue_bytes_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) tail_bytes_max: usize,
    /// Largest payload.
    pub(crate) record_bytes_max: usize,
}

impl Bounds {
    pub(crate) fn of(options: &JournalOptions) -> Self {
        let total_bytes_max = options.total_bytes_max.max(SEGMENTS_MIN * SEGMENT_BYTES_MIN);
        let segment_bytes = options
            .segment_bytes
            .min(total_bytes_max / SEGMENTS_MIN)
            .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let quarter = (segment_bytes / 4) as usize - BATCH_OVERHEAD_BYTES;
        let batch_bytes_max = options.batch_bytes_max.clamp(1024, BATCH_BODY_BYTES_MAX).min(quarter);
        let record_bytes_max = batch_bytes_max - RECORD_HEADER_BYTES;
        Self {
            segment_bytes,
            total_bytes_max,
            reserve_bytes: options.reserve_bytes,
            queue_bytes_max: options.queue_bytes_max.max(4 * batch_bytes_max),
            batch_bytes_max,
            tail_bytes_max: options.tail_bytes_max,
            record_bytes_max,
        }
    }

    /// Bytes for batches in an empty segment: without its header and the end batch.
    pub(crate) fn segment_room(&self) -> u64 {
        Self::room_of(self.segment_bytes)
    }

    /// The same of a file of another size.
    pub(crate) fn room_of(file_bytes: u64) -> u64 {
        file_bytes - (SEGMENT_HEADER_BYTES + BATCH_OVERHEAD_BYTES) as u64
    }

    /// Most that a record of `payload` bytes can cost on disk: as if it were a batch of its own.
    pub(crate) fn cost(payload: usize) -> u64 {
        (payload + RECORD_HEADER_BYTES + BATCH_OVERHEAD_BYTES) as u64
    }

    /// Most that can stay unused at a segment's end because the next record did not fit.
    pub(crate) fn waste_max(&self) -> u64 {
        Self::cost(self.record_bytes_max)
    }
}
