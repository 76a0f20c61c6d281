//! Reads a log without opening it: nothing is locked, cut or written, so a running gateway and evidence stay as they
//! are. Sees what is whole in the files now; of a log that is being written, the last batch may not be synced yet.

use crate::format::{
    FormatError, SEGMENT_HEADER_BYTES, SegmentHeader, open_batch, segment_base, segment_name,
};
use crate::recovery::{Cursor, Found, read_up_to};
use crate::storage::Storage;
use crate::{Entry, KeyProvider, Offset, OpenError};

/// What a scan has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// First offset that the log holds.
    pub start: Offset,
    /// First offset behind the last whole batch.
    pub end: Offset,
}

/// Gives every entry at or above `from` to `each`, in order. A torn tail ends the scan; anything else that does not fit
/// is an error. A `NotFound` means that retention dropped a segment meanwhile: scan again.
pub fn scan(
    storage: &dyn Storage,
    keys: &dyn KeyProvider,
    from: Offset,
    mut each: impl FnMut(Entry),
) -> Result<Scanned, OpenError> {
    let mut bases: Vec<Offset> = storage.list()?.iter().filter_map(|file| segment_base(&file.name)).collect();
    bases.sort_unstable();
    let start = bases.first().copied().unwrap_or_default();
    let mut seen = Scanned { start, end: start };
    for (number, base) in bases.iter().enumerate() {
        let behind = bases.get(number + 1);
        if behind.is_some_and(|next| *next <= from) {
            seen.end = Offset::new(behind.map_or(0, |next| next.get()));
            continue;
        }
        if *base != seen.end {
            return Err(OpenError::Missing { expected: seen.end, found: *base });
        }
        seen.end = scan_segment(storage, keys, *base, behind.is_none(), from, &mut each)?;
    }
    Ok(seen)
}

fn scan_segment(
    storage: &dyn Storage,
    keys: &dyn KeyProvider,
    base: Offset,
    is_last: bool,
    from: Offset,
    each: &mut impl FnMut(Entry),
) -> Result<Offset, OpenError> {
    let name = segment_name(base);
    let file = storage.open(&name)?;
    let corrupt =
        |position: u64, reason: FormatError| OpenError::Corrupt { segment: name.clone(), position, reason };
    let header = read_up_to(&*file, 0, SEGMENT_HEADER_BYTES)?;
    let header = SegmentHeader::decode(&header).map_err(|reason| corrupt(0, reason))?;
    let cipher = header.cipher(keys)?;
    let mut cursor = Cursor::new(base);
    loop {
        while cursor.skip_below(&*file, from)? {}
        let position = cursor.position;
        match cursor.next_batch(&*file)? {
            Found::Batch(_header, bytes) => {
                let entries = open_batch(&cipher, bytes).map_err(|reason| corrupt(position, reason))?;
                entries.into_iter().filter(|entry| entry.offset >= from).for_each(&mut *each);
            }
            Found::End => return Ok(cursor.next),
            Found::Bad(_torn) if is_last => return Ok(cursor.next),
            Found::Bad(reason) => return Err(corrupt(position, reason)),
        }
    }
}
