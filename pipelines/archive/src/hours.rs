//! The hours of streams in memory: changed ahead of a commit and written by it, as the streams are.
//!
//! A frame belongs to the hour in which it was sent by the agent's or device's clock, or, where it does not say or
//! says what cannot be, in which it was accepted. So a frame that waited a day in a spool counts where it was taken.

use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::intake::{Arrival, Content};
use crate::streams::{Counts, outside, stream_of};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use wardline_store::catalog::{Catalog, StreamId};
use wardline_store::hours::HourRow;

/// An hour, microseconds.
pub(crate) const HOUR_US: i64 = 3_600_000_000;
/// A frame that says it was sent longer ago counts in the hour in which it was accepted: a month and a day, which is
/// longer than a profile may promise to keep readings.
const SENT_AGO_MAX_US: i64 = 32 * 24 * HOUR_US;

/// Names one hour of one stream.
pub(crate) type HourId = (StreamId, i64);

/// One hour of one stream.
#[derive(Debug, Default)]
pub(crate) struct Hour {
    /// Positions that took their place in it.
    pub(crate) seen: Intervals,
    pub(crate) placed: u64,
    pub(crate) counts: Counts,
    changed: bool,
}

impl Hour {
    /// Takes a position that is new to its stream. One that finds no room in the set is counted all the same.
    pub(crate) fn place(&mut self, seq: u64) {
        self.placed += 1;
        self.seen.insert(seq);
    }
}

/// The hours in memory.
#[derive(Debug, Default)]
pub(crate) struct Hours(HashMap<HourId, Hour>);

/// Returns the begin of the hour of a time.
pub(crate) fn hour_of(at_us: i64) -> i64 {
    at_us.saturating_sub(at_us.rem_euclid(HOUR_US))
}

/// Returns the begin of the hour in which a publish counts.
pub(crate) fn hour_of_publish(sent_at_us: Option<i64>, ingest_us: i64) -> i64 {
    let is_sane = |sent: &i64| (ingest_us - SENT_AGO_MAX_US..=ingest_us + HOUR_US).contains(sent);
    hour_of(sent_at_us.filter(is_sane).unwrap_or(ingest_us))
}

impl Hours {
    /// Reads from the catalog what `arrivals` need and is not in memory.
    pub(crate) async fn load(
        &mut self,
        arrivals: impl Iterator<Item = &Arrival>,
        catalog: &Catalog,
    ) -> Result<(), ArchiveError> {
        for arrival in arrivals {
            let Content::Publish(arrived) = &arrival.content else { continue };
            let sent = hour_of_publish(arrived.sent_at_us, arrival.ingest_us);
            let stream = arrived.position.map(|position| stream_of(&arrived.key, position));
            let ids = [
                stream.map(|id| (id, sent)),
                Some((outside(&arrived.key), sent)),
                Some((outside(&arrived.key), hour_of(arrival.ingest_us))),
            ];
            for id in ids.into_iter().flatten() {
                if let Entry::Vacant(vacant) = self.0.entry(id) {
                    let hour = fetch(vacant.key(), catalog).await?;
                    vacant.insert(hour);
                }
            }
        }
        Ok(())
    }

    /// Returns a loaded hour, to be changed.
    pub(crate) fn change(&mut self, id: HourId) -> &mut Hour {
        let hour = self.0.entry(id).or_default();
        hour.changed = true;
        hour
    }

    /// Returns the rows of changed hours.
    pub(crate) fn changed(&self) -> Vec<HourRow> {
        self.0.iter().filter(|(_, hour)| hour.changed).map(|(id, hour)| row(id, hour)).collect()
    }

    /// Forgets all hours, of which nothing may wait for a commit: the catalog has changed behind them.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Marks all hours as committed, and forgets them when they are more than `kept_max`.
    pub(crate) fn committed(&mut self, kept_max: usize) {
        if self.0.len() > kept_max {
            self.0.clear();
        }
        self.0.values_mut().for_each(|hour| hour.changed = false);
    }
}

async fn fetch((id, hour_us): &HourId, catalog: &Catalog) -> Result<Hour, ArchiveError> {
    let Some(row) = catalog.hours(id, *hour_us, *hour_us).await?.pop() else { return Ok(Hour::default()) };
    Ok(Hour {
        seen: Intervals::decode(&row.seen).ok_or(ArchiveError::StreamState)?,
        placed: row.placed,
        counts: Counts {
            archived: row.archived,
            quarantined: row.quarantined,
            duplicates: row.duplicates,
            late: row.late,
            erased: row.erased,
        },
        changed: false,
    })
}

fn row((id, hour_us): &HourId, hour: &Hour) -> HourRow {
    HourRow {
        id: id.clone(),
        hour_us: *hour_us,
        seen: hour.seen.encode(),
        placed: hour.placed,
        archived: hour.counts.archived,
        duplicates: hour.counts.duplicates,
        quarantined: hour.counts.quarantined,
        late: hour.counts.late,
        erased: hour.counts.erased,
        revision: 0,
        told: Vec::new(),
    }
}
