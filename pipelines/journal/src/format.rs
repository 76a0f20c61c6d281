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
//! a bad header, a bad batch or a missing end in any other segment, and for a gap between segments.

use crate::keys::{KEY_ID_BYTES_MAX, cipher};
use crate::{Class, Entry, KeyError, KeyId, KeyProvider, Offset, Record};
use bytes::Bytes;
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use std::sync::Arc;
use wardline_proto::PartitionId;

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

const SEGMENT_MAGIC: &[u8; 8] = b"WLJRNL\r\n";
const VERSION: u16 = 1;
const WRAPPED_BYTES_MAX: usize = 384;
const ID_AT: usize = 37;
const WRAPPED_AT: usize = ID_AT + KEY_ID_BYTES_MAX;
pub(crate) const BATCH_MAGIC: &[u8; 4] = b"WLB1";
const END_COUNTER: u64 = u64::MAX;

const _: () = assert!(WRAPPED_AT + WRAPPED_BYTES_MAX <= SEGMENT_HEADER_BYTES);

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

/// A segment's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Offset of the first record.
    pub base: Offset,
    /// When the segment was made, unix microseconds.
    pub created_at_us: i64,
    /// The segment's number under its data key.
    pub nonce_prefix: u32,
    /// The master key that wraps the data key.
    pub master: KeyId,
    /// The wrapped data key.
    pub wrapped: Vec<u8>,
}

impl SegmentHeader {
    /// Writes the header.
    pub fn encode(&self) -> Result<[u8; SEGMENT_HEADER_BYTES], FormatError> {
        let id = self.master.as_str().as_bytes();
        if id.len() > KEY_ID_BYTES_MAX || self.wrapped.len() > WRAPPED_BYTES_MAX {
            return Err(FormatError::Length);
        }
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(self.wrapped.len() as u16).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created_at_us.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.nonce_prefix.to_le_bytes());
        bytes[36] = id.len() as u8;
        bytes[ID_AT..ID_AT + id.len()].copy_from_slice(id);
        bytes[WRAPPED_AT..WRAPPED_AT + self.wrapped.len()].copy_from_slice(&self.wrapped);
        let checksum = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut bytes: [u8; SEGMENT_HEADER_BYTES] =
            bytes.get(..SEGMENT_HEADER_BYTES).and_then(|b| b.try_into().ok()).ok_or(FormatError::Short)?;
        if !bytes.starts_with(SEGMENT_MAGIC) {
            return Err(FormatError::Magic);
        }
        let version = u16_at(&bytes, 8);
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let checksum = u32_at(&bytes, 12);
        bytes[12..16].fill(0);
        if crc32c::crc32c(&bytes) != checksum {
            return Err(FormatError::Checksum);
        }
        let wrapped_bytes = usize::from(u16_at(&bytes, 10));
        let id_bytes = usize::from(bytes[36]);
        if wrapped_bytes > WRAPPED_BYTES_MAX || id_bytes > KEY_ID_BYTES_MAX {
            return Err(FormatError::Length);
        }
        let id = std::str::from_utf8(&bytes[ID_AT..ID_AT + id_bytes]).map_err(|_utf8| FormatError::Length)?;
        Ok(Self {
            base: Offset::new(u64_at(&bytes, 16)),
            created_at_us: u64_at(&bytes, 24) as i64,
            nonce_prefix: u32_at(&bytes, 32),
            master: KeyId::new(id).map_err(|_id| FormatError::Length)?,
            wrapped: bytes[WRAPPED_AT..WRAPPED_AT + wrapped_bytes].to_vec(),
        })
    }

    /// Unwraps the data key.
    pub(crate) fn cipher(&self, keys: &dyn KeyProvider) -> Result<SegmentCipher, KeyError> {
        let key = cipher(&keys.unwrap_key(&self.master, &self.wrapped)?)?;
        Ok(SegmentCipher::new(Arc::new(key), self.base, self.nonce_prefix))
    }
}

/// Seals and opens the batches of one segment.
#[derive(Clone)]
pub struct SegmentCipher {
    key: Arc<LessSafeKey>,
    base: Offset,
    nonce_prefix: u32,
}

impl SegmentCipher {
    /// Binds a data key to a segment.
    pub fn new(key: Arc<LessSafeKey>, base: Offset, nonce_prefix: u32) -> Self {
        Self { key, base, nonce_prefix }
    }

    fn nonce(&self, counter: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..4].copy_from_slice(&self.nonce_prefix.to_le_bytes());
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn aad(&self, header: &[u8]) -> Aad<[u8; BATCH_HEADER_BYTES]> {
        let mut aad = [0; BATCH_HEADER_BYTES];
        aad[..8].copy_from_slice(&self.base.get().to_le_bytes());
        aad[8..].copy_from_slice(&header[8..BATCH_HEADER_BYTES]);
        Aad::from(aad)
    }
}

/// A batch's clear header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Length of the sealed body, tag included.
    pub sealed_bytes: u32,
    /// Number of records, 0 for the end.
    pub count: u32,
    /// Offset of the first record.
    pub base: Offset,
    /// Time of its records, unix microseconds.
    pub max_time_us: i64,
    /// The batch's number in the segment.
    pub counter: u64,
}

impl BatchHeader {
    /// Reads a header and checks its limits, not its checksum.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES).ok_or(FormatError::Short)?;
        if !bytes.starts_with(BATCH_MAGIC) {
            return Err(FormatError::Magic);
        }
        let header = Self {
            sealed_bytes: u32_at(bytes, 8),
            count: u32_at(bytes, 12),
            base: Offset::new(u64_at(bytes, 16)),
            max_time_us: u64_at(bytes, 24) as i64,
            counter: u64_at(bytes, 32),
        };
        let sealed = header.sealed_bytes as usize;
        let records_min = header.count as usize * RECORD_HEADER_BYTES;
        let fits = sealed >= TAG_BYTES + records_min && sealed <= BATCH_BODY_BYTES_MAX + TAG_BYTES;
        let end_fits = header.is_end() == (header.counter == END_COUNTER);
        let offsets_fit = header.base.get().checked_add(u64::from(header.count)).is_some();
        if fits && end_fits && offsets_fit { Ok(header) } else { Err(FormatError::Length) }
    }

    /// Tells whether this is the end of a sealed segment.
    pub fn is_end(&self) -> bool {
        self.count == 0
    }

    /// Returns the offset after the batch's last record.
    pub fn end(&self) -> Offset {
        self.base.plus(u64::from(self.count))
    }

    /// Returns the whole batch's length, bytes.
    pub fn batch_bytes(&self) -> u64 {
        (BATCH_HEADER_BYTES + self.sealed_bytes as usize) as u64
    }
}

/// Checks the checksum of a whole batch.
pub fn verify(batch: &[u8]) -> Result<(), FormatError> {
    let covered = batch.get(8..).ok_or(FormatError::Short)?;
    if crc32c::crc32c(covered) == u32_at(batch, 4) { Ok(()) } else { Err(FormatError::Checksum) }
}

/// Opens a whole batch whose checksum was verified.
pub fn open_batch(cipher: &SegmentCipher, mut batch: Vec<u8>) -> Result<Vec<Entry>, FormatError> {
    let header = BatchHeader::decode(&batch)?;
    if batch.len() as u64 != header.batch_bytes() {
        return Err(FormatError::Short);
    }
    let (clear, body) = batch.split_at_mut(BATCH_HEADER_BYTES);
    let plain_bytes = cipher
        .key
        .open_in_place(cipher.nonce(header.counter), cipher.aad(clear), body)
        .map_err(|_unspecified| FormatError::Unauthentic)?
        .len();
    let body = Bytes::from(batch).slice(BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + plain_bytes);
    let mut entries = Vec::with_capacity(header.count as usize);
    let mut at = 0;
    for number in 0..u64::from(header.count) {
        let fixed = body.get(at..at + RECORD_HEADER_BYTES).ok_or(FormatError::Records)?;
        let end = (at + RECORD_HEADER_BYTES)
            .checked_add(u32_at(fixed, 0) as usize)
            .filter(|end| *end <= body.len())
            .ok_or(FormatError::Records)?;
        entries.push(Entry {
            offset: header.base.plus(number),
            time_us: header.max_time_us,
            partition: PartitionId::new(u16_at(fixed, 4)).ok_or(FormatError::Records)?,
            class: Class::from_code(fixed[6]).ok_or(FormatError::Records)?,
            payload: body.slice(at + RECORD_HEADER_BYTES..end),
        });
        at = end;
    }
    if at == body.len() { Ok(entries) } else { Err(FormatError::Records) }
}

/// Builds batches in one buffer that is used again.
#[derive(Default)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    count: u32,
}

impl BatchBuilder {
    /// Starts a batch.
    pub fn begin(&mut self) {
        self.buffer.clear();
        self.buffer.resize(BATCH_HEADER_BYTES, 0);
        self.count = 0;
    }

    /// Returns what the batch would take on disk if it were finished now.
    pub fn batch_bytes(&self) -> usize {
        self.buffer.len() + TAG_BYTES
    }

    /// Returns the number of records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a record. The caller keeps to [`BATCH_BODY_BYTES_MAX`].
    pub fn push(&mut self, record: &Record) {
        self.buffer.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&record.partition.get().to_le_bytes());
        self.buffer.extend_from_slice(&[record.class.code(), 0]);
        self.buffer.extend_from_slice(&record.payload);
        self.count += 1;
    }

    /// Seals the batch and returns its bytes. `counter` must be fresh in this segment.
    pub fn finish(
        &mut self,
        cipher: &SegmentCipher,
        base: Offset,
        max_time_us: i64,
        counter: u64,
    ) -> Result<&[u8], FormatError> {
        let sealed_bytes = self.buffer.len() - BATCH_HEADER_BYTES + TAG_BYTES;
        let header = &mut self.buffer[..BATCH_HEADER_BYTES];
        header[..4].copy_from_slice(BATCH_MAGIC);
        header[8..12].copy_from_slice(&(sealed_bytes as u32).to_le_bytes());
        header[12..16].copy_from_slice(&self.count.to_le_bytes());
        header[16..24].copy_from_slice(&base.get().to_le_bytes());
        header[24..32].copy_from_slice(&max_time_us.to_le_bytes());
        header[32..40].copy_from_slice(&counter.to_le_bytes());
        let (nonce, aad) = (cipher.nonce(counter), cipher.aad(header));
        let tag = cipher
            .key
            .seal_in_place_separate_tag(nonce, aad, &mut self.buffer[BATCH_HEADER_BYTES..])
            .map_err(|_unspecified| FormatError::Length)?;
        self.buffer.extend_from_slice(tag.as_ref());
        let checksum = crc32c::crc32c(&self.buffer[8..]);
        self.buffer[4..8].copy_from_slice(&checksum.to_le_bytes());
        Ok(&self.buffer)
    }

    /// Makes the end batch of a segment that ends before `end`. `max_time_us` is that of its last batch.
    pub fn end(
        &mut self,
        cipher: &SegmentCipher,
        end: Offset,
        max_time_us: i64,
    ) -> Result<&[u8], FormatError> {
        self.begin();
        self.finish(cipher, end, max_time_us, END_COUNTER)
    }
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
