//! Batches: sealed, checksummed, ordered.

use super::{
    BATCH_BODY_BYTES_MAX, BATCH_HEADER_BYTES, FormatError, RECORD_HEADER_BYTES, SegmentCipher, TAG_BYTES,
    u16_at, u32_at, u64_at,
};
use crate::zeros::PAGE_BYTES;
use crate::{Class, Entry, Offset, Record};
use bytes::Bytes;
use wardline_proto::PartitionId;

pub(crate) const BATCH_MAGIC: &[u8; 4] = b"WLB1";
const END_COUNTER: u64 = u64::MAX;

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

    /// Returns the batch that was finished last, to be written at `position`, with zeros to the end of its last page in
    /// a file of `file_bytes`. They are zeros already; but a page that is written whole need not be read from the disk
    /// first.
    pub(crate) fn with_whole_pages(&mut self, position: u64, file_bytes: u64) -> &[u8] {
        let page_end = (position + self.buffer.len() as u64).next_multiple_of(PAGE_BYTES).min(file_bytes);
        self.buffer.resize(page_end.saturating_sub(position).max(self.buffer.len() as u64) as usize, 0);
        &self.buffer
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
