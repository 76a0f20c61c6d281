//! Losses that are recorded: frames of which an agent says that it dropped them by policy, and will not send.

use crate::error::ArchiveError;
use crate::read::{ArchiveReader, Columns};
use crate::table::Table;
use std::ops::RangeInclusive;
use wardline_store::catalog::{FileRow, StreamId};

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
