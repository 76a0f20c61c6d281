//! Which frames the files hold: each in one file, each where its file says, as many as the catalog counts.

use super::{Discrepancy, StreamName};
use crate::dedup::Intervals;
use std::collections::{BTreeMap, BTreeSet};
use wardline_store::catalog::{FileRow, StreamRow};

/// Frames of all files so far.
#[derive(Debug, Default)]
pub(super) struct Frames {
    found: BTreeMap<StreamName, Intervals>,
    /// Streams with more holes than are kept: their frames are not counted.
    unsure: BTreeSet<StreamName>,
    /// Of the file at hand.
    here: BTreeMap<StreamName, Intervals>,
    /// Of the file at hand: what stands outside its range of offsets.
    outside: bool,
}

impl Frames {
    /// Takes a row: its stream with its position, and its offset in the journal.
    pub(super) fn take(&mut self, file: &FileRow, row: Option<(&StreamName, u64)>, offset: Option<u64>) {
        if let Some((stream, seq)) = row {
            if !self.here.contains_key(stream) {
                self.here.insert(stream.clone(), Intervals::default());
            }
            if self.here.get_mut(stream).is_some_and(|seen| !seen.insert(seq)) {
                self.unsure.insert(stream.clone());
            }
        }
        self.outside |= offset.is_some_and(|at| !(file.offset_first..=file.offset_last).contains(&at));
    }

    /// Ends a file: names a frame that another file has too, and rows outside the file's range of offsets.
    pub(super) fn end(&mut self, file: &FileRow, say: &mut impl FnMut(Discrepancy)) {
        if std::mem::take(&mut self.outside) {
            say(Discrepancy::Offsets(file.path.clone()));
        }
        for (stream, here) in std::mem::take(&mut self.here) {
            let found = self.found.entry(stream.clone()).or_default();
            let twice = here.iter().flatten().find(|seq| found.contains(*seq));
            if let Some(seq) = twice {
                say(Discrepancy::Twice(file.path.clone(), name(&stream), seq));
            }
            if !here.iter().flatten().all(|seq| found.insert(seq)) {
                self.unsure.insert(stream);
            }
        }
    }

    /// Returns how many frames of a stream are in files, when that is known.
    pub(super) fn of(&self, stream: &StreamName) -> Option<u64> {
        let frames = self.found.get(stream).map_or(0, Intervals::len);
        (!self.unsure.contains(stream)).then_some(frames)
    }
}

/// Names a stream for people.
pub(super) fn name((tenant, device, epoch, lane): &StreamName) -> String {
    format!("{tenant}/{device} epoch {epoch} lane {lane}")
}

/// Compares what a stream has seen with its own counts: every place is taken by what was archived or quarantined, and of
/// what was quarantined some took none.
pub(super) fn counted(row: &StreamRow, seen: &Intervals) -> Option<String> {
    let (places, most) = (seen.len(), row.archived + row.quarantined + row.erased);
    let fits = row.id.epoch == 0 || (row.archived..=most).contains(&places);
    (!fits).then(|| format!("{places} positions are seen, and {} to {most} were taken", row.archived))
}
