//! Losses that are recorded: frames of which an agent says that it dropped them by policy, and will not send.

use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::read::{ArchiveReader, Columns};
use crate::table::Table;
use std::ops::RangeInclusive;
use wardline_store::catalog::{Catalog, FileRow, StreamId};

/// Positions of a stream that an agent dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Which stream.
    pub id: StreamId,
    /// The positions.
    pub positions: RangeInclusive<u64>,
}

/// Reads what agents recorded of a device name, from files of `events`. Blocks.
pub fn losses(reader: &ArchiveReader, files: &[FileRow], device: &str) -> Result<Vec<Loss>, ArchiveError> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.table == Table::Events.name()) {
        for batch in reader.read(file)? {
            let batch = batch?;
            let columns = Columns(&batch);
            let own = (0..batch.num_rows()).filter(|row| columns.term("device", *row) == Some(device));
            found.extend(own.filter_map(|row| loss(&columns, &file.tenant, row)));
        }
    }
    Ok(found)
}

/// Reads the loss of an event; none when it tells none.
fn loss(columns: &Columns<'_>, tenant: &str, row: usize) -> Option<Loss> {
    let lane = crate::rows::lane_of_name(columns.term("gap_lane", row)?)?;
    let id = StreamId {
        tenant: tenant.to_owned(),
        device: columns.term("device", row)?.to_owned(),
        epoch: columns.number("epoch", row),
        lane: lane.into(),
    };
    Some(Loss { id, positions: columns.number("gap_first_seq", row)..=columns.number("gap_last_seq", row) })
}

/// Returns what of some positions of a stream has not come yet, as far as it is committed.
pub async fn still_missing(
    catalog: &Catalog,
    id: &StreamId,
    ranges: &[RangeInclusive<u64>],
) -> Result<Vec<RangeInclusive<u64>>, ArchiveError> {
    let Some(row) = catalog.stream(id).await? else { return Ok(ranges.to_vec()) };
    let seen = Intervals::decode(&row.seen).ok_or(ArchiveError::StreamState)?;
    // What follows the last one that came is a hole too: nobody knows yet how long it is.
    let behind = seen.last().map_or(1, |last| last.saturating_add(1))..=u64::MAX;
    let holes: Vec<_> = seen.missing().chain([behind]).collect();
    Ok(ranges.iter().flat_map(|range| common(range, &holes)).collect())
}

/// Returns what of a range is in some others, which ascend.
pub fn common<'a>(
    range: &'a RangeInclusive<u64>,
    others: &'a [RangeInclusive<u64>],
) -> impl Iterator<Item = RangeInclusive<u64>> + 'a {
    let from = others.partition_point(|other| other.end() < range.start());
    let within = others[from..].iter().take_while(|other| other.start() <= range.end());
    within.map(|other| *range.start().max(other.start())..=*range.end().min(other.end()))
}

/// Parts a hole of a stream into what is recorded as lost, `true`, and what is not known.
pub fn parts(id: &StreamId, hole: &RangeInclusive<u64>, losses: &[Loss]) -> Vec<(RangeInclusive<u64>, bool)> {
    let mut own: Vec<_> = losses.iter().filter(|loss| loss.id == *id).map(|loss| &loss.positions).collect();
    own.sort_by_key(|positions| *positions.start());
    let (mut parts, mut next) = (Vec::new(), *hole.start());
    for positions in own {
        let (first, last) = (next.max(*positions.start()), (*hole.end()).min(*positions.end()));
        if first > last {
            continue;
        }
        if first > next {
            parts.push((next..=first - 1, false));
        }
        parts.push((first..=last, true));
        next = last.saturating_add(1);
    }
    if next <= *hole.end() {
        parts.push((next..=*hole.end(), false));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_narrowed_to_what_is_missing() {
        let holes = [3..=5, 9..=9, 20..=u64::MAX];
        let of = |range: RangeInclusive<u64>| common(&range, &holes).collect::<Vec<_>>();
        assert_eq!(of(1..=30), [3..=5, 9..=9, 20..=30]);
        assert_eq!(of(4..=9), [4..=5, 9..=9]);
        assert_eq!((of(6..=8), of(1..=2)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_hole_is_parted_into_recorded_and_unknown() {
        let id = StreamId { tenant: "t".into(), device: "d".into(), epoch: 1, lane: 2 };
        let loss = |positions| Loss { id: id.clone(), positions };
        let losses = [loss(12..=14), loss(5..=9), loss(8..=10), loss(30..=40)];
        let expected = [(7..=9, true), (10..=10, true), (11..=11, false), (12..=14, true), (15..=20, false)];
        assert_eq!(parts(&id, &(7..=20), &losses), expected);
        assert_eq!(parts(&id, &(15..=20), &losses), [(15..=20, false)]);
        assert_eq!(parts(&id, &(31..=40), &losses), [(31..=40, true)]);
        let other = StreamId { epoch: 2, ..id.clone() };
        assert_eq!(parts(&other, &(7..=20), &losses), [(7..=20, false)]);
    }
}
