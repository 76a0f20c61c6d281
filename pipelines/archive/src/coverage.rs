//! How whole the data behind an answer is: what was expected of the streams and hours that it is about, and what came.
//!
//! Counts frames, in the hours in which they were sent, as `completeness` does; with what stands behind the committed
//! position, as far as the answer has it.

use crate::completeness::{HourReport, about, have_no_room, report};
use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::hours::hour_of;
use crate::read::ArchiveReader;
use crate::streams::partition_of;
use crate::tail::Tail;
use std::collections::{BTreeMap, BTreeSet};
use wardline_proto::PartitionId;
use wardline_store::catalog::StreamId;
use wardline_store::hour_sums::{HourLook, HourSum};
use wardline_store::hours::HourRow;
use wardline_store::standings::Standings;

/// Streams that are counted; an answer about more says that it was not counted.
const STREAMS_MAX: usize = 50_000;
/// Streams with holes whose hours are looked at one by one. Of more that have nothing else in the hours than a hole it is
/// not known whether they count: an answer about such says that it was not counted.
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

    fn hours(&self) -> Range {
        (hour_of(self.times_us.0), self.times_us.1)
    }
}

/// First and last begin of an hour.
type Range = (i64, i64);

fn together(ranges: impl Iterator<Item = Range>) -> Option<Range> {
    ranges.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
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

impl Coverage {
    fn add(&mut self, (placed, archived, duplicates): (u64, u64, u64), (late, quarantined): (u64, u64)) {
        self.expected += placed;
        self.received += archived;
        self.duplicates += duplicates;
        self.late += late;
        self.quarantined += quarantined;
    }
}

impl ArchiveReader {
    /// Counts what an answer rests on that asked for these, of a tenant or of all: a stream that was asked for more than
    /// once counts once, in the hours of all. `sees` says whose streams the caller sees. All of it is of one moment, with
    /// the tail as long as nothing was committed since that was read. None when it is about too many streams to be
    /// counted.
    pub async fn coverage(
        &self,
        tenant: Option<&str>,
        asked: &[Asked],
        tail: &Tail,
        sees: impl Fn(&str, &str) -> bool,
    ) -> Result<Option<Coverage>, ArchiveError> {
        let mine = |id: &StreamId| {
            let about = asked.iter().filter(|asked| asked.is_about(id) && sees(&id.tenant, &id.device));
            together(about.map(Asked::hours))
        };
        let mut look = self.catalog.hour_look().await?;
        let Some(sums) = sums(&mut look, tenant, asked, &mine).await? else { return Ok(None) };
        let (mut found, mut counted) = (Coverage::default(), BTreeSet::new());
        for row in sums {
            found.add((row.placed, row.archived, row.duplicates), (row.late, row.quarantined));
            counted.insert(row.id);
        }
        let behind = Behind::of(tail, &mut look).await?;
        for row in &behind.hours {
            if mine(&row.id).is_some_and(|hours| (hours.0..=hours.1).contains(&row.hour_us)) {
                found.add((row.placed, row.archived, row.duplicates), (row.late, row.quarantined));
                counted.insert(row.id.clone());
            }
        }
        let missing = missing_of(&mut look, tenant, asked, (&counted, mine), &behind).await?;
        let Some(missing) = missing else { return Ok(None) };
        // What was silent all the time has no other trace in it than a hole that ends behind it.
        counted.extend(missing.iter().filter(|(_, count)| **count > 0).map(|(id, _)| id.clone()));
        found.missing = missing.values().sum();
        found.expected += found.missing;
        found.streams = counted.len() as u64;
        Ok(Some(found))
    }
}

/// What a tail has of streams of which nothing was committed since it was read: the rest is counted by the sums already.
struct Behind<'a> {
    hours: Vec<&'a HourRow>,
    seen: Vec<(&'a StreamId, &'a Intervals)>,
}

impl<'a> Behind<'a> {
    async fn of(tail: &'a Tail, look: &mut HourLook) -> Result<Self, ArchiveError> {
        let is_one = tail.standings.of == 0;
        let now = if is_one { Standings::default() } else { look.standings().await? };
        let is_unmoved = look.next_offset().is_none_or(|position| position <= tail.from);
        let is_behind = |id: &StreamId| match PartitionId::new(partition_of(id)) {
            Some(device) if !is_one => now.next_offset(device) <= tail.standings.next_offset(device),
            _ => is_unmoved,
        };
        let hours = tail.hours.iter().filter(|row| is_behind(&row.id)).collect();
        Ok(Self { hours, seen: tail.seen.iter().filter(|(id, _)| is_behind(id)).collect() })
    }
}

/// Adds up each stream in the hours in which it counts; none when there are too many.
async fn sums(
    look: &mut HourLook,
    tenant: Option<&str>,
    asked: &[Asked],
    mine: impl Fn(&StreamId) -> Option<Range>,
) -> Result<Option<Vec<HourSum>>, ArchiveError> {
    let (mut found, mut looked_at) = (Vec::new(), BTreeSet::new());
    let mut ranges: BTreeSet<Range> = together(asked.iter().map(Asked::hours)).into_iter().collect();
    while let Some(range) = ranges.pop_first() {
        looked_at.insert(range);
        let rows = look.sums(tenant, range, STREAMS_MAX + 1).await?;
        if rows.len() > STREAMS_MAX {
            return Ok(None);
        }
        for row in rows {
            match mine(&row.id) {
                Some(hours) if hours == range => found.push(row),
                Some(hours) if !looked_at.contains(&hours) => drop(ranges.insert(hours)),
                _counted_or_none => {}
            }
        }
    }
    Ok(Some(found))
}

/// Counts what is missing of streams in the hours in which they count, with what a tail knows of them: also of those that
/// have nothing there but a hole which may have begun there. None when these are too many to be looked at.
async fn missing_of(
    look: &mut HourLook,
    tenant: Option<&str>,
    asked: &[Asked],
    (counted, mine): (&BTreeSet<StreamId>, impl Fn(&StreamId) -> Option<Range>),
    behind: &Behind<'_>,
) -> Result<Option<BTreeMap<StreamId, u64>>, ArchiveError> {
    let Some((from_us, _)) = together(asked.iter().map(Asked::hours)) else {
        return Ok(Some(BTreeMap::new()));
    };
    let mut known = BTreeMap::new();
    for (id, seen) in look.seen(tenant, from_us).await? {
        if let Some(hours) = mine(&id) {
            known.insert(id, (Intervals::decode(&seen).ok_or(ArchiveError::StreamState)?, hours));
        }
    }
    for (id, seen) in &behind.seen {
        if let Some(hours) = mine(id) {
            known.insert((*id).clone(), ((*seen).clone(), hours));
        }
    }
    let (mut missing, mut looked_at) = (BTreeMap::new(), 0);
    for (id, (seen, hours)) in known {
        let holes: u64 = seen.missing().map(|hole| hole.end() - hole.start() + 1).sum();
        if holes == 0 {
            continue;
        }
        looked_at += 1;
        let count = match looked_at > HOLED_MAX {
            false => missing_in(look, &id, &seen, hours, behind).await?,
            // Not placed in its hour any more, and never left out.
            true if counted.contains(&id) => holes,
            true => return Ok(None),
        };
        missing.insert(id, count);
    }
    Ok(Some(missing))
}

/// Counts what is missing of a stream in some hours.
async fn missing_in(
    look: &mut HourLook,
    id: &StreamId,
    seen: &Intervals,
    range: Range,
    behind: &Behind<'_>,
) -> Result<u64, ArchiveError> {
    let mut hours = look.hours(id, (range.0, i64::MAX)).await?;
    // A hole before a frame for which its hour had no room is told of the last such hour: of all there are.
    if have_no_room(&hours)? {
        hours = look.hours(id, (i64::MIN, i64::MAX)).await?;
    }
    hours.extend(behind.hours.iter().filter(|hour| hour.id == *id).map(|hour| (*hour).clone()));
    hours.sort_by_key(|hour| hour.hour_us);
    Ok(about(by_hour(report(seen, &hours)?), range).missing_count())
}

/// Puts together what was committed of an hour and what a tail has of it.
fn by_hour(reports: Vec<HourReport>) -> Vec<HourReport> {
    let mut hours: Vec<HourReport> = Vec::with_capacity(reports.len());
    for report in reports {
        match hours.last_mut().filter(|last| last.hour_us == report.hour_us) {
            Some(last) => {
                last.missing.extend(report.missing);
                last.missing.sort_by_key(|hole| *hole.start());
                last.first = last.first.zip(report.first).map(|(one, other)| one.min(other));
            }
            None => hours.push(report),
        }
    }
    hours
}
