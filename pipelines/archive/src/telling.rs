//! The hours of streams become rows of `completeness`, when they have come to rest.
//!
//! An hour is archived once it is over by a while, as the journal tells the time, and again, as the next revision,
//! when what it says has changed: by a late frame, a replay, or a hole that was filled. The rows and the mark that
//! they are archived are one transaction.

use crate::completeness::{HourReport, report};
use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::hours::HOUR_US;
use crate::streams::partition_of;
use crate::worker::Parts;
use wardline_proto::limits::PARTITIONS;
use wardline_store::hours::Told;

/// An hour rests when it has been over for so long, microseconds.
const REST_US: i64 = 5 * 60 * 1_000_000;
/// Streams whose hours are archived in one commit.
pub(crate) const STREAMS_MAX: usize = 512;

/// What is to be archived of the hours, and what is to be marked.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    /// Reports that differ from what was archived, with their revisions.
    pub(crate) reports: Vec<(HourReport, u64)>,
    pub(crate) told: Vec<Told>,
}

/// Where several workers look at the same list, the ones of the others stand in between.
fn wide(parts: &Parts, limit: usize) -> usize {
    parts.catalog.share().map_or(limit, |_own| limit * usize::from(PARTITIONS))
}

/// Reports what has come to rest before `now_us` and is not archived as it is, of some streams.
pub(crate) async fn untold(parts: &Parts, now_us: i64) -> Result<Untold, ArchiveError> {
    let until_us = now_us.saturating_sub(HOUR_US + REST_US);
    let mut untold = Untold::default();
    for id in parts.catalog.untold_streams(until_us, wide(parts, STREAMS_MAX)).await? {
        if !parts.catalog.owns(partition_of(&id)) {
            continue;
        }
        let hours = parts.catalog.unsettled_hours(&id).await?;
        let stream = parts.catalog.stream(&id).await?;
        let seen = stream.map_or(Some(Intervals::default()), |row| Intervals::decode(&row.seen));
        let reports = report(&seen.ok_or(ArchiveError::StreamState)?, &hours)?;
        for (report, hour) in reports.into_iter().zip(&hours).filter(|(_, hour)| hour.hour_us <= until_us) {
            let (told, holes) = (report.digest(), report.missing.len() as u64);
            let revision = hour.revision + u64::from(told != hour.told);
            if told != hour.told {
                untold.reports.push((report, revision));
            }
            untold.told.push(Told { id: hour.id.clone(), hour_us: hour.hour_us, revision, told, holes });
        }
    }
    Ok(untold)
}
