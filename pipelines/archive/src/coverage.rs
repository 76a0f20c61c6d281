//! How whole the data behind an answer is: what was expected of the streams and hours that it is about, and what came.
//!
//! Counts frames, in the hours in which they were sent, as `completeness` does; with what stands behind the committed
//! position, as far as the answer has it.

use crate::completeness::{about, report};
use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::hours::hour_of;
use crate::read::ArchiveReader;
use crate::tail::Tail;
use std::collections::{BTreeMap, BTreeSet};
use wardline_store::catalog::StreamId;

/// Streams that are counted; an answer about more says that it was not counted.
const STREAMS_MAX: usize = 50_000;
/// Streams with holes whose hours are looked at one by one.
const HOLED_MAX: usize = 1_000;

/// Which streams and hours an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// These devices; none: all.
    pub devices: Option<BTreeSet<String>>,
    /// Lanes, by number; what came outside any stream counts always.
    pub lanes: BTreeSet<i32>,
    /// First and last time, unix microseconds.
    pub times_us: (i64, i64),
}

impl Asked {
    fn is_about(&self, id: &StreamId) -> bool {
        (id.lane == 0 || self.lanes.contains(&id.lane))
            && self.devices.as_ref().is_none_or(|devices| devices.contains(&id.device))
    }

    fn hours(&self) -> (i64, i64) {
        (hour_of(self.times_us.0), self.times_us.1)
    }
}

/// What was expected, and what came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Streams that have something in the hours.
    pub streams: u64,
    /// Positions that are about the hours: those that came, and those that are missing.
    pub expected: u64,
    /// Frames archived.
    pub received: u64,
    /// Positions that never came, those before the first frame behind the hours included: they may have been due in them.
    pub missing: u64,
    /// Frames that came again: stored once.
    pub duplicates: u64,
    /// Frames that came after a later one.
    pub late: u64,
    /// Frames in the quarantine.
    pub quarantined: u64,
}

impl ArchiveReader {
    /// Counts what an answer about a tenant, or all, rests on; `sees` says whose streams the caller sees. None when it
    /// is about too many streams to be counted.
    pub async fn coverage(
        &self,
        tenant: Option<&str>,
        asked: &Asked,
        tail: &Tail,
        sees: impl Fn(&str, &str) -> bool,
    ) -> Result<Option<Coverage>, ArchiveError> {
        let (from_us, to_us) = asked.hours();
        let sums = self.catalog.hour_sums(tenant, (from_us, to_us), STREAMS_MAX + 1).await?;
        if sums.rows.len() > STREAMS_MAX {
            return Ok(None);
        }
        let mine = |id: &StreamId| asked.is_about(id) && sees(&id.tenant, &id.device);
        let mut found = Coverage::default();
        let mut counted = BTreeSet::new();
        for row in sums.rows.iter().filter(|row| mine(&row.id)) {
            found.expected += row.placed;
            found.received += row.archived;
            found.duplicates += row.duplicates;
            found.late += row.late;
            found.quarantined += row.quarantined;
            counted.insert(row.id.clone());
        }
        let mut missing = self.missing_of(tenant, &counted, &mine, (from_us, to_us)).await?;
        // What was silent all the time has no other trace in it than a hole that ends behind it.
        counted.extend(missing.iter().filter(|(_, count)| **count > 0).map(|(id, _)| id.clone()));
        // What was committed since the answer's view was taken is counted by the sums already.
        if sums.next_offset.is_none_or(|position| position <= tail.from) {
            let within = |hour_us: i64| (from_us..=to_us).contains(&hour_us);
            for row in tail.hours.iter().filter(|row| mine(&row.id) && within(row.hour_us)) {
                found.expected += row.placed;
                found.received += row.archived;
                found.duplicates += row.duplicates;
                found.late += row.late;
                found.quarantined += row.quarantined;
                counted.insert(row.id.clone());
            }
            for (id, change) in tail.missing.iter().filter(|(id, _)| counted.contains(*id)) {
                let of = missing.entry(id.clone()).or_default();
                *of = of.saturating_add_signed(*change);
            }
        }
        found.missing = missing.values().sum();
        found.expected += found.missing;
        found.streams = counted.len() as u64;
        Ok(Some(found))
    }

    /// Counts what is missing of streams in hours: of those that were counted there, and of the caller's that have a hole
    /// which may have begun there.
    async fn missing_of(
        &self,
        tenant: Option<&str>,
        counted: &BTreeSet<StreamId>,
        mine: impl Fn(&StreamId) -> bool,
        range: (i64, i64),
    ) -> Result<BTreeMap<StreamId, u64>, ArchiveError> {
        let mut missing = BTreeMap::new();
        let mut looked_at = 0;
        for (id, seen) in self.catalog.seen(tenant).await? {
            let is_counted = counted.contains(&id);
            if !is_counted && (!mine(&id) || looked_at >= HOLED_MAX) {
                continue;
            }
            let seen = Intervals::decode(&seen).ok_or(ArchiveError::StreamState)?;
            let holes: u64 = seen.missing().map(|hole| hole.end() - hole.start() + 1).sum();
            if holes == 0 {
                continue;
            }
            looked_at += 1;
            if looked_at > HOLED_MAX {
                // Not placed in its hour any more, and never left out.
                missing.insert(id, holes);
                continue;
            }
            let hours = self.catalog.hours(&id, i64::MIN, i64::MAX).await?;
            let found = about(report(&seen, &hours)?, range).missing_count();
            if is_counted || found > 0 {
                missing.insert(id, found);
            }
        }
        Ok(missing)
    }
}
