//! Reads durable records in order: from the tail while it keeps up, from the files when it has fallen behind.

use crate::format::open_batch;
use crate::journal::{Shared, lock};
use crate::recovery::{Cursor, Found, Segment};
use crate::storage::LogFile;
use crate::{Entry, Offset, ReadError};
use std::io;
use std::sync::Arc;

/// A position in the log. Sees only what is durable. Blocks on the disk when it has fallen behind the tail.
pub struct Reader {
    shared: Arc<Shared>,
    next: Offset,
    open: Option<OpenSegment>,
}

struct OpenSegment {
    segment: Arc<Segment>,
    file: Box<dyn LogFile>,
    cursor: Cursor,
    /// Entries of the batch at hand that were not returned yet.
    opened: std::vec::IntoIter<Entry>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from: Offset) -> Result<Self, ReadError> {
        let reader = Self { shared, next: from, open: None };
        reader.check()?;
        Ok(reader)
    }

    /// Returns the offset of the next entry.
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Returns the next entries: at least one, then as many as fit `bytes_max` of payload. None when the reader
    /// has caught up. After an error the position is unchanged.
    pub fn next_batch(&mut self, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let mut bytes_left = bytes_max;
        let end = self.shared.durable.end();
        while self.next < end {
            let before = entries.len();
            if !self.take_from_tail(&mut bytes_left, &mut entries) {
                match self.take_from_file(end, &mut bytes_left, &mut entries) {
                    Err(_later) if !entries.is_empty() => break,
                    taken => taken?,
                }
            }
            if entries.len() == before || bytes_left == 0 {
                break;
            }
        }
        Ok(entries)
    }

    fn check(&self) -> Result<(), ReadError> {
        let (start, end) = (self.shared.start(), self.shared.durable.end());
        if self.next < start {
            return Err(ReadError::Dropped { start });
        }
        if self.next > end { Err(ReadError::PastEnd { end }) } else { Ok(()) }
    }

    /// Takes entries of one batch in the tail; false when the tail does not hold the position.
    fn take_from_tail(&mut self, bytes_left: &mut usize, into: &mut Vec<Entry>) -> bool {
        let Some(batch) = lock(&self.shared.tail).get(self.next) else { return false };
        self.open = None;
        let at = batch.entries.partition_point(|entry| entry.offset < self.next);
        for entry in &batch.entries[at..] {
            if !take(entry.payload.len(), bytes_left, into.is_empty()) {
                break;
            }
            self.next = entry.offset.next();
            into.push(entry.clone());
        }
        true
    }

    /// Takes entries of one batch in the files.
    fn take_from_file(
        &mut self,
        end: Offset,
        bytes_left: &mut usize,
        into: &mut Vec<Entry>,
    ) -> Result<(), ReadError> {
        self.check()?;
        let mut open = match self.open.take() {
            Some(open) if open.holds(self.next) => open,
            _other => self.open_segment()?,
        };
        if open.opened.as_slice().first().is_none_or(|entry| entry.offset != self.next) {
            open.read_batch(self.next, end)?;
        }
        while let Some(entry) = open.opened.as_slice().first() {
            if !take(entry.payload.len(), bytes_left, into.is_empty()) {
                break;
            }
            self.next = entry.offset.next();
            into.extend(open.opened.next());
        }
        self.open = Some(open);
        Ok(())
    }

    fn open_segment(&self) -> Result<OpenSegment, ReadError> {
        let dropped = || ReadError::Dropped { start: self.shared.start() };
        let segment = self.shared.segment_of(self.next).ok_or_else(dropped)?;
        let file = self.shared.storage.open(&segment.name()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => dropped(),
            _other => ReadError::Io(error),
        })?;
        let cursor = Cursor::new(segment.base);
        Ok(OpenSegment { segment, file, cursor, opened: Vec::new().into_iter() })
    }
}

impl OpenSegment {
    fn holds(&self, offset: Offset) -> bool {
        self.segment.base <= offset
            && self.segment.end().is_none_or(|end| offset < end)
            && (self.cursor.next <= offset
                || self.opened.as_slice().first().is_some_and(|e| e.offset == offset))
    }

    /// Opens the batch that holds the offset.
    fn read_batch(&mut self, offset: Offset, end: Offset) -> Result<(), ReadError> {
        while self.cursor.skip_below(&*self.file, offset)? {}
        let position = self.cursor.position;
        let corrupt = |reason| ReadError::Corrupt { base: self.segment.base, position, reason };
        let (header, bytes) = match self.cursor.next_batch(&*self.file)? {
            Found::Batch(header, bytes) => (header, bytes),
            Found::End => return Err(corrupt(crate::format::FormatError::Endless)),
            Found::Bad(reason) => return Err(corrupt(reason)),
        };
        if header.end() > end {
            return Err(corrupt(crate::format::FormatError::Order));
        }
        let mut opened = open_batch(&self.segment.cipher, bytes).map_err(corrupt)?;
        opened.drain(..opened.partition_point(|entry| entry.offset < offset));
        self.opened = opened.into_iter();
        Ok(())
    }
}

/// Takes `bytes` of what is left; the first entry always fits.
fn take(bytes: usize, left: &mut usize, is_first: bool) -> bool {
    if bytes > *left && !is_first {
        *left = 0;
        return false;
    }
    *left = left.saturating_sub(bytes);
    true
}
