//! The bytes of a segment file, version 1. Little endian throughout.
//!
//! A log is a folder of files `{base_offset:020}.wal`. A segment is a header of 512 bytes, batches back to back, an
//! end batch once it is sealed, and zeros up to its preallocated size.
//!
//! Segment header
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `WLJRNL\r\n` |
//! | 8 | 2 | version, 1 |
//! | 10 | 2 | length of the wrapped data key, at most 384 |
//! | 12 | 4 | CRC-32C of the whole header, this field taken as zero |
//! | 16 | 8 | base offset: the offset of the first record |
//! | 24 | 8 | when the segment was made, unix microseconds |
//! | 32 | 4 | nonce prefix: the segment's number under its data key |
//! | 36 | 1 | length of the master key's id, 1 to 64 |
//! | 37 | 64 | master key's id, zero padded |
//! | 101 | 384 | wrapped data key, zero padded |
//! | 485 | 27 | zeros |
//!
//! Batch
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `WLB1` |
//! | 4 | 4 | CRC-32C of everything after this field |
//! | 8 | 4 | length of the sealed body, tag included, at most 16 MiB |
//! | 12 | 4 | number of records; 0 marks the end batch |
//! | 16 | 8 | offset of the first record; of an end batch: the offset after the last |
//! | 24 | 8 | max time: when the writer took the batch, the time of each of its records, unix microseconds |
//! | 32 | 8 | counter: the batch's number in the segment; all ones in an end batch |
//! | 40 | .. | body, AES-256-GCM, tag of 16 bytes at its end |
//!
//! Record, inside the opened body, back to back: length (4), partition (2), class (1), zero (1), payload.
//!
//! **Sealing.** A batch is sealed as one message: per record it would cost 16 bytes and about 150 ns more for each,
//! and a reader always takes whole batches. The data key is made per process epoch and wrapped by the key provider.
//! Nonce = nonce prefix (4) and counter (8): both only count up under one data key, so no nonce repeats; an end
//! batch is a function of what precedes it, so writing it again after a crash gives the same bytes. Additional data =
//! base offset of the segment (8), then bytes 8 to 40 of the batch: a batch cannot be moved, reordered or relabelled.
//! Budget: [`SEALS_PER_KEY_MAX`] batches under one data key, checked by the writer.
//!
//! **Recovery.** Segments are contiguous. Only the last may lack an end batch: what follows its last valid batch is a
//! torn tail and is cut, unless any valid batch lies behind it. That cannot come from a crash, because a batch is
//! written only after the one before it is durable: it is a rotten middle, and the log refuses to open. So it does for
//! a bad header, a bad batch or a missing end in any other segment, and for a gap between segments. What cannot be told
//! from a torn tail is rot in the very last batch of an unsealed segment; sealed segments have no such spot.

mod batch;
mod segment;

pub(crate) use batch::BATCH_MAGIC;
pub use batch::{BatchBuilder, BatchHeader, open_batch, verify};
pub use segment::{SegmentCipher, SegmentHeader};

use crate::Offset;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 512;
/// Bytes of a batch's clear header.
pub const BATCH_HEADER_BYTES: usize = 40;
/// Bytes of a batch's authentication tag.
pub const TAG_BYTES: usize = 16;
/// What a batch costs beside its records: also the size of an end batch.
pub const BATCH_OVERHEAD_BYTES: usize = BATCH_HEADER_BYTES + TAG_BYTES;
/// What a record costs beside its payload.
pub const RECORD_HEADER_BYTES: usize = 8;
/// Largest batch body that is read or written, bytes.
pub const BATCH_BODY_BYTES_MAX: usize = 16 << 20;
/// Batches sealed under one data key; AES-GCM with counted nonces allows 2^32.
pub const SEALS_PER_KEY_MAX: u64 = 1 << 31;

/// Says what does not fit in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the structure needs.
    #[error("cut short")]
    Short,
    /// Not one of our magics.
    #[error("wrong magic")]
    Magic,
    /// A version that this program does not read.
    #[error("unknown version {0}")]
    Version(u16),
    /// The checksum differs.
    #[error("wrong checksum")]
    Checksum,
    /// A length or count is outside its limits.
    #[error("a length is out of bounds")]
    Length,
    /// An offset or counter does not follow the one before.
    #[error("out of order")]
    Order,
    /// The body does not open under the segment's key.
    #[error("not authentic")]
    Unauthentic,
    /// The opened body does not hold what its header says.
    #[error("malformed records")]
    Records,
    /// Valid batches lie behind a bad one.
    #[error("valid batches lie behind it")]
    RottenMiddle,
    /// A sealed segment has no end batch.
    #[error("the end is missing")]
    Endless,
    /// The data key's budget is spent.
    #[error("the key's nonce budget is spent")]
    Budget,
}

/// Returns the name of the segment that starts at `base`.
pub fn segment_name(base: Offset) -> String {
    format!("{:020}.wal", base.get())
}

/// Reads a segment's name.
pub fn segment_base(name: &str) -> Option<Offset> {
    let digits =
        name.strip_suffix(".wal").filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().map(Offset::new)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
