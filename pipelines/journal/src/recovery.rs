//! Opens what a former process left: checks every batch, cuts a torn tail, refuses anything else.

use crate::format::{
    BATCH_HEADER_BYTES, BATCH_MAGIC, BATCH_OVERHEAD_BYTES, BatchBuilder, BatchHeader, FormatError,
    SEGMENT_HEADER_BYTES, SegmentCipher, SegmentHeader, segment_base, segment_name, verify,
};
use crate::spare::SPARE_NAME;
use crate::storage::{LogFile, Storage};
use crate::{KeyProvider, Offset, OpenError};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are searched at a time for batches behind a bad one.
const SEARCH_BYTES: usize = 1 << 20;
const ACTIVE: u64 = u64::MAX;

/// A segment file.
pub(crate) struct Segment {
    pub(crate) base: Offset,
    /// Size of the file.
    pub(crate) bytes: AtomicU64,
    pub(crate) cipher: SegmentCipher,
    end: AtomicU64,
}

impl Segment {
    pub(crate) fn active(base: Offset, bytes: u64, cipher: SegmentCipher) -> Self {
        Self { base, bytes: AtomicU64::new(bytes), cipher, end: AtomicU64::new(ACTIVE) }
    }

    pub(crate) fn seal(&self, end: Offset, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.end.store(end.get(), Ordering::Release);
    }

    /// Returns the offset after its last record when it is sealed.
    pub(crate) fn end(&self) -> Option<Offset> {
        let end = self.end.load(Ordering::Acquire);
        (end != ACTIVE).then_some(Offset::new(end))
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.base)
    }
}

/// What was found: sealed segments and the offset that comes next.
pub(crate) struct Recovered {
    pub(crate) segments: VecDeque<Arc<Segment>>,
    pub(crate) next: Offset,
    /// Time of the newest batch; the clock of the log goes on from here.
    pub(crate) max_time_us: i64,
    /// A spare that the former process left ready.
    pub(crate) has_spare: bool,
}

/// Says whether a storage holds a log that has begun.
pub fn has_begun(storage: &dyn Storage) -> std::io::Result<bool> {
    match storage.list() {
        Ok(files) => Ok(files.iter().any(|file| segment_base(&file.name).is_some())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Recovers the log. Changes nothing but the last segment's torn tail and leftover temporary files.
///
/// A log without a segment begins at `first`.
pub(crate) fn recover(
    storage: &dyn Storage,
    keys: &dyn KeyProvider,
    first: Offset,
) -> Result<Recovered, OpenError> {
    let mut bases = Vec::new();
    let mut recovered =
        Recovered { segments: VecDeque::new(), next: first, max_time_us: 0, has_spare: false };
    for file in storage.list()? {
        recovered.has_spare |= file.name == SPARE_NAME;
        bases.extend(segment_base(&file.name));
    }
    bases.sort_unstable();
    for (number, base) in bases.iter().enumerate() {
        if number > 0 && *base != recovered.next {
            return Err(OpenError::Missing { expected: recovered.next, found: *base });
        }
        recovered.next = *base;
        let is_last = number + 1 == bases.len();
        recover_segment(storage, keys, is_last, &mut recovered)?;
    }
    Ok(recovered)
}

fn recover_segment(
    storage: &dyn Storage,
    keys: &dyn KeyProvider,
    is_last: bool,
    recovered: &mut Recovered,
) -> Result<(), OpenError> {
    let base = recovered.next;
    let name = segment_name(base);
    let file = storage.open(&name)?;
    let corrupt =
        |position: u64, reason: FormatError| OpenError::Corrupt { segment: name.clone(), position, reason };
    let header = read_up_to(&*file, 0, SEGMENT_HEADER_BYTES)?;
    let header = SegmentHeader::decode(&header).map_err(|reason| corrupt(0, reason))?;
    if header.base != base {
        return Err(corrupt(16, FormatError::Order));
    }
    let cipher = header.cipher(keys)?;
    let mut cursor = Cursor::new(base);
    let found = loop {
        match cursor.next_batch(&*file)? {
            Found::Batch(..) => {}
            found => break found,
        }
    };
    match found {
        Found::End if is_last => write_end(&*file, &cipher, &cursor)?,
        Found::End => {}
        Found::Bad(reason) if !is_last => return Err(corrupt(cursor.position, reason)),
        _torn if has_batch_behind(&*file, &cursor)? => {
            return Err(corrupt(cursor.position, FormatError::RottenMiddle));
        }
        _torn if cursor.next > base => cut(&*file, &cipher, &cursor)?,
        _torn => {}
    }
    let bytes = cursor.position + BATCH_OVERHEAD_BYTES as u64;
    if cursor.next > base {
        let segment = Segment::active(base, bytes, cipher);
        segment.seal(cursor.next, bytes);
        recovered.segments.push_back(Arc::new(segment));
    }
    // An empty last segment is replaced by the new one, which has the same name.
    recovered.next = cursor.next;
    recovered.max_time_us = recovered.max_time_us.max(cursor.max_time_us);
    Ok(())
}

/// Writes the valid part again, ends it and cuts the rest.
///
/// Again, because after a failed sync the page cache may hold bytes that the disk never got and that no later sync
/// would write: only a rewrite makes what was read durable.
fn cut(file: &dyn LogFile, cipher: &SegmentCipher, cursor: &Cursor) -> Result<(), OpenError> {
    let mut position = 0;
    while position < cursor.position {
        let chunk = (cursor.position - position).min(SEARCH_BYTES as u64);
        file.write_all_at(&read_up_to(file, position, chunk as usize)?, position)?;
        position += chunk;
    }
    file.sync_data()?;
    write_end(file, cipher, cursor)
}

/// Ends a segment whose batches are durable; also again, when an end is there that may be in the page cache only. An
/// end is never written before its batches are synced, so one that is found vouches for them.
fn write_end(file: &dyn LogFile, cipher: &SegmentCipher, cursor: &Cursor) -> Result<(), OpenError> {
    let mut builder = BatchBuilder::default();
    let end = builder
        .end(cipher, cursor.next, cursor.max_time_us)
        .map_err(|reason| OpenError::Io(io::Error::other(reason)))?;
    file.write_all_at(end, cursor.position)?;
    file.sync_data()?;
    file.truncate(cursor.position + end.len() as u64)?;
    Ok(())
}

/// Searches everything after the cursor for a batch that is valid and not older than the one expected.
fn has_batch_behind(file: &dyn LogFile, cursor: &Cursor) -> io::Result<bool> {
    let mut position = cursor.position + 1;
    loop {
        let window = read_up_to(file, position, SEARCH_BYTES)?;
        let Some(last) = window.len().checked_sub(BATCH_MAGIC.len()) else { return Ok(false) };
        for at in (0..=last).filter(|at| window[*at..].starts_with(BATCH_MAGIC)) {
            if let Ok((header, _bytes)) = read_batch(file, position + at as u64)? {
                if header.base >= cursor.next {
                    return Ok(true);
                }
            }
        }
        position += last as u64 + 1;
    }
}

/// Walks the batches of a segment file.
pub(crate) struct Cursor {
    /// Where the next batch starts.
    pub(crate) position: u64,
    /// The offset it must start with.
    pub(crate) next: Offset,
    pub(crate) max_time_us: i64,
    counter: u64,
}

/// What lies at a cursor.
pub(crate) enum Found {
    /// A valid batch, its checksum checked; the cursor has moved behind it.
    Batch(BatchHeader, Vec<u8>),
    /// The segment's end batch.
    End,
    /// Something else.
    Bad(FormatError),
}

impl Cursor {
    pub(crate) fn new(base: Offset) -> Self {
        Self { position: SEGMENT_HEADER_BYTES as u64, next: base, max_time_us: 0, counter: 0 }
    }

    /// Reads and checks the next batch.
    pub(crate) fn next_batch(&mut self, file: &dyn LogFile) -> io::Result<Found> {
        let (header, bytes) = match read_batch(file, self.position)? {
            Ok(batch) => batch,
            Err(reason) => return Ok(Found::Bad(reason)),
        };
        if header.base != self.next || (!header.is_end() && header.counter != self.counter) {
            return Ok(Found::Bad(FormatError::Order));
        }
        if header.is_end() {
            return Ok(Found::End);
        }
        self.position += header.batch_bytes();
        self.next = header.end();
        self.max_time_us = header.max_time_us;
        self.counter += 1;
        Ok(Found::Batch(header, bytes))
    }

    /// Moves over the next batch by its header alone when it ends at or below `offset`.
    pub(crate) fn skip_below(&mut self, file: &dyn LogFile, offset: Offset) -> io::Result<bool> {
        let clear = read_up_to(file, self.position, BATCH_HEADER_BYTES)?;
        let Ok(header) = BatchHeader::decode(&clear) else { return Ok(false) };
        if header.is_end() || header.base != self.next || header.end() > offset {
            return Ok(false);
        }
        self.position += header.batch_bytes();
        self.next = header.end();
        self.counter += 1;
        Ok(true)
    }
}

fn read_batch(file: &dyn LogFile, position: u64) -> io::Result<Result<(BatchHeader, Vec<u8>), FormatError>> {
    let clear = read_up_to(file, position, BATCH_HEADER_BYTES)?;
    let header = match BatchHeader::decode(&clear) {
        Ok(header) => header,
        Err(reason) => return Ok(Err(reason)),
    };
    // Checked against the file before the allocation: a length may be rotten.
    if position + header.batch_bytes() > file.bytes()? {
        return Ok(Err(FormatError::Short));
    }
    let bytes = read_up_to(file, position, header.batch_bytes() as usize)?;
    if bytes.len() as u64 != header.batch_bytes() {
        return Ok(Err(FormatError::Short));
    }
    Ok(verify(&bytes).map(|()| (header, bytes)))
}

pub(crate) fn read_up_to(file: &dyn LogFile, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}
