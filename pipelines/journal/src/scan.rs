//! Reads a log without opening it: nothing is locked, cut or written, so a running gateway and evidence stay as they
//! are. Sees what is whole in the files now; of a log that is being written, the last batch may not be synced yet.

use crate::format::{
    FormatError, SEGMENT_HEADER_BYTES, SegmentHeader, open_batch, segment_base, segment_name,
};
use crate::recovery::{Cursor, Found, read_up_to};
use crate::storage::Storage;
use crate::{Entry, KeyProvider, Offset, OpenError};
use std::io;
use std::ops::ControlFlow;

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
    scan_while(storage, keys, from, |entry| {
        each(entry);
        ControlFlow::Continue(())
    })
}

/// Gives entries as [`scan`] does until `each` breaks, and returns when what it gave is durable: the file of the last
/// batch is synced, since its writer may not be done with that. `end` is then the first offset that was not given.
pub fn scan_durable(
    storage: &dyn Storage,
    keys: &dyn KeyProvider,
    from: Offset,
    each: impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<Scanned, OpenError> {
    let seen = scan_while(storage, keys, from, each)?;
    let last = storage.list()?.iter().filter_map(|file| segment_base(&file.name)).max();
    match last.map(|base| storage.open(&segment_name(base))) {
        Some(Ok(file)) => file.sync_data()?,
        // Whoever took it away had synced it.
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _gone => {}
    }
    Ok(seen)
}

fn scan_while(
    storage: &dyn Storage,
    keys: &dyn KeyProvider,
    from: Offset,
    mut each: impl FnMut(Entry) -> ControlFlow<()>,
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
        match scan_segment(storage, keys, *base, behind.is_none(), from, &mut each)? {
            ControlFlow::Continue(end) => seen.end = end,
            ControlFlow::Break(end) => return Ok(Scanned { end, ..seen }),
        }
    }
    Ok(seen)
}

fn scan_segment(
    storage: &dyn Storage,
    keys: &dyn KeyProvider,
    base: Offset,
    is_last: bool,
    from: Offset,
    each: &mut impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<ControlFlow<Offset, Offset>, OpenError> {
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
                for entry in entries.into_iter().filter(|entry| entry.offset >= from) {
                    let next = entry.offset.next();
                    if each(entry).is_break() {
                        return Ok(ControlFlow::Break(next));
                    }
                }
            }
            Found::End => return Ok(ControlFlow::Continue(cursor.next)),
            Found::Bad(_torn) if is_last => return Ok(ControlFlow::Continue(cursor.next)),
            Found::Bad(reason) => return Err(corrupt(position, reason)),
        }
    }
}
