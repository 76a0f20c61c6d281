//! What is missing, per stream and hour: a pure function of what was seen.
//!
//! A hole belongs to the hour of the frame that follows it: that is when it was known. So the hours of a stream add up
//! to its positions: `expected` is what took a place in the hour and what is missing before it.

use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::streams::Counts;
use ring::digest::{SHA256, digest};
use std::ops::RangeInclusive;
use wardline_store::catalog::StreamId;
use wardline_store::hours::HourRow;

/// What came of one stream in one hour, and what did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourReport {
    /// Which stream; epoch and lane 0 are what the device sent outside any stream.
    pub id: StreamId,
    /// Begin of the hour, unix microseconds.
    pub hour_us: i64,
    /// Positions of the stream that belong to the hour: those that came, and those that are missing.
    pub expected: u64,
    /// Where its frames went.
    pub counts: Counts,
    /// Positions that never came.
    pub missing: Vec<RangeInclusive<u64>>,
    /// The least position that took its place in the hour; none when that is not known.
    pub(crate) first: Option<u64>,
}

impl HourReport {
    /// Returns how many positions are missing.
    pub fn missing_count(&self) -> u64 {
        self.missing.iter().map(|hole| hole.end() - hole.start() + 1).sum()
    }

    /// Returns a digest of all that it says.
    pub(crate) fn digest(&self) -> Vec<u8> {
        let Counts { archived, quarantined, duplicates, late, erased } = self.counts;
        let numbers = [self.expected, archived, quarantined, duplicates, late].into_iter();
        let holes = self.missing.iter().flat_map(|hole| [*hole.start(), *hole.end()]);
        // An hour of before erasures has the digest that it had then.
        let erased = Some(erased).filter(|erased| *erased > 0);
        let bytes: Vec<u8> = numbers.chain(holes).chain(erased).flat_map(u64::to_le_bytes).collect();
        digest(&SHA256, &bytes).as_ref()[..16].to_vec()
    }
}

/// Reports hours of one stream, in order; `seen` is what the stream has seen. What is told of an hour is right also when
/// others are left out: a hole whose following frame is in none of these is told of none.
pub(crate) fn report(seen: &Intervals, hours: &[HourRow]) -> Result<Vec<HourReport>, ArchiveError> {
    let sets: Vec<Intervals> = hours
        .iter()
        .map(|hour| Intervals::decode(&hour.seen).ok_or(ArchiveError::StreamState))
        .collect::<Result<_, _>>()?;
    let mut reports: Vec<HourReport> = hours.iter().zip(&sets).map(|(hour, set)| empty(hour, set)).collect();
    for hole in seen.missing() {
        let after = hole.end() + 1;
        let at = sets.iter().position(|set| set.contains(after));
        // The last hour whose set had no room is as near as is known. What came before hours were counted has none.
        let had_no_room = || hours.iter().zip(&sets).rposition(|(hour, set)| hour.placed > set.len());
        if let Some(report) = at.or_else(had_no_room).and_then(|at| reports.get_mut(at)) {
            report.expected += hole.end() - hole.start() + 1;
            report.missing.push(hole);
        }
    }
    Ok(reports)
}

/// Keeps what a range of time is about: the hours that begin in it, and of the first hour behind it the hole before its
/// first frame, which may have begun in the range. That hour's counts are none of the range.
pub(crate) fn about(reports: Vec<HourReport>, (from_us, to_us): (i64, i64)) -> About {
    let of_stream = reports.into_iter().filter(|hour| hour.hour_us >= from_us);
    let (within, behind): (Vec<_>, Vec<_>) = of_stream.partition(|hour| hour.hour_us <= to_us);
    let behind = behind.into_iter().min_by_key(|hour| hour.hour_us).map(|mut hour| {
        let first = hour.first;
        hour.missing.truncate(1);
        hour.missing.retain(|hole| first.is_none_or(|first| *hole.end() < first));
        hour
    });
    About { within, behind }
}

/// What a range of time is about.
pub(crate) struct About {
    within: Vec<HourReport>,
    behind: Option<HourReport>,
}

impl About {
    /// Counts the positions that are missing.
    pub(crate) fn missing_count(&self) -> u64 {
        self.within.iter().chain(&self.behind).map(HourReport::missing_count).sum()
    }

    /// Returns the hours.
    pub(crate) fn reports(self) -> impl Iterator<Item = HourReport> {
        self.within.into_iter().chain(self.behind)
    }
}

/// Says whether some of these hours have frames for which their sets had no room.
pub(crate) fn have_no_room(hours: &[HourRow]) -> Result<bool, ArchiveError> {
    let set = |hour: &HourRow| Intervals::decode(&hour.seen).ok_or(ArchiveError::StreamState);
    hours.iter().try_fold(false, |found, hour| Ok(found || hour.placed > set(hour)?.len()))
}

fn empty(hour: &HourRow, set: &Intervals) -> HourReport {
    let counts = Counts {
        archived: hour.archived,
        quarantined: hour.quarantined,
        duplicates: hour.duplicates,
        late: hour.late,
        erased: hour.erased,
    };
    HourReport {
        id: hour.id.clone(),
        hour_us: hour.hour_us,
        expected: hour.placed,
        counts,
        missing: Vec::new(),
        // What found no room in the set may have come before all that did.
        first: set.first().filter(|_| hour.placed <= set.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hours::{HOUR_US, Hour};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn row(hour: usize, of: &Hour) -> HourRow {
        let id = StreamId { tenant: "t".into(), device: "d".into(), epoch: 1, lane: 1 };
        HourRow {
            id,
            hour_us: hour as i64 * HOUR_US,
            seen: of.seen.encode(),
            placed: of.placed,
            archived: 0,
            duplicates: 0,
            quarantined: 0,
            late: 0,
            erased: 0,
            revision: 0,
            told: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn hours_add_up_to_the_stream_in_whatever_order_frames_come(
            frames in proptest::collection::vec((1_u64..120, 0_usize..5), 0..150),
        ) {
            let mut model: BTreeMap<u64, usize> = BTreeMap::new();
            let (mut seen, mut hours) = (Intervals::default(), BTreeMap::<usize, Hour>::new());
            for (seq, hour) in frames {
                if !seen.contains(seq) {
                    seen.insert(seq);
                    hours.entry(hour).or_default().place(seq);
                    model.insert(seq, hour);
                }
            }
            let rows: Vec<_> = hours.iter().map(|(hour, of)| row(*hour, of)).collect();
            let reports = report(&seen, &rows).unwrap();
            for (report, hour) in reports.iter().zip(hours.keys()) {
                let placed = model.values().filter(|h| *h == hour).count() as u64;
                // Missing, naively: no frame of that number, and the next one there is counts in this hour.
                let last = model.keys().next_back().copied().unwrap_or(0);
                let is_missing = |seq: &u64| {
                    !model.contains_key(seq) && model.range(seq..).next().is_some_and(|(_, h)| h == hour)
                };
                let missing: Vec<u64> = (1..=last).filter(is_missing).collect();
                let told: Vec<u64> = report.missing.iter().cloned().flatten().collect();
                prop_assert_eq!(&told, &missing);
                prop_assert_eq!(report.expected, placed + missing.len() as u64);
                prop_assert_eq!(report.missing_count(), missing.len() as u64);
            }
            prop_assert_eq!(reports.iter().map(|r| r.expected).sum::<u64>(), seen.last().unwrap_or(0));
        }
    }
}
