//! The hours of streams in memory: changed ahead of a commit and written by it, as the streams are.
//!
//! A frame belongs to the hour in which it was sent by the agent's or device's clock, or, where it does not say or
//! says what cannot be, in which it was accepted. So a frame that waited a day in a spool counts where it was taken.

use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::streams::{Counts, StreamSlot, Streams};
use std::collections::HashMap;
use wardline_store::catalog::{Catalog, StreamId};
use wardline_store::hours::HourRow;

/// An hour, microseconds.
pub(crate) const HOUR_US: i64 = 3_600_000_000;
/// A frame that says it was sent longer ago counts in the hour in which it was accepted: a month and a day, which is
/// longer than a profile may promise to keep readings.
const SENT_AGO_MAX_US: i64 = 32 * 24 * HOUR_US;

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

/// Where an hour is in memory, until it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HourSlot(usize);

/// The hours in memory.
#[derive(Debug, Default)]
pub(crate) struct Hours {
    slots: HashMap<(StreamSlot, i64), HourSlot>,
    /// By stream, the hour that was found last: mostly that of the next frame too.
    last: Vec<Option<(i64, HourSlot)>>,
    all: Vec<((StreamSlot, i64), Hour)>,
}

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
    /// Returns an hour that is in memory.
    pub(crate) fn find(&mut self, stream: StreamSlot, hour_us: i64) -> Option<HourSlot> {
        if let Some(Some((last_us, slot))) = self.last.get(stream.get())
            && *last_us == hour_us
        {
            return Some(*slot);
        }
        let slot = *self.slots.get(&(stream, hour_us))?;
        if self.last.len() <= stream.get() {
            self.last.resize(stream.get() + 1, None);
        }
        self.last[stream.get()] = Some((hour_us, slot));
        Some(slot)
    }

    /// Returns an hour of a stream of a name, read from the catalog when it is not in memory.
    pub(crate) async fn load(
        &mut self,
        (stream, id): (StreamSlot, &StreamId),
        hour_us: i64,
        catalog: &Catalog,
    ) -> Result<HourSlot, ArchiveError> {
        if let Some(slot) = self.find(stream, hour_us) {
            return Ok(slot);
        }
        let hour = fetch(id, hour_us, catalog).await?;
        let slot = HourSlot(self.all.len());
        self.all.push(((stream, hour_us), hour));
        self.slots.insert((stream, hour_us), slot);
        Ok(slot)
    }

    /// Returns an hour of a stream; one that is not in memory begins with nothing.
    pub(crate) fn make(&mut self, stream: StreamSlot, hour_us: i64) -> HourSlot {
        if let Some(slot) = self.find(stream, hour_us) {
            return slot;
        }
        let slot = HourSlot(self.all.len());
        self.all.push(((stream, hour_us), Hour::default()));
        self.slots.insert((stream, hour_us), slot);
        slot
    }

    /// Returns an hour, to be changed.
    pub(crate) fn change(&mut self, slot: HourSlot) -> &mut Hour {
        let hour = &mut self.all[slot.0].1;
        hour.changed = true;
        hour
    }

    /// Returns the rows of changed hours of streams.
    pub(crate) fn changed(&self, streams: &Streams) -> Vec<HourRow> {
        let changed = self.all.iter().filter(|(_, hour)| hour.changed);
        changed.map(|((stream, hour_us), hour)| row(streams.id(*stream), *hour_us, hour)).collect()
    }

    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Marks all hours as committed.
    pub(crate) fn committed(&mut self) {
        self.all.iter_mut().for_each(|(_, hour)| hour.changed = false);
    }
}

async fn fetch(id: &StreamId, hour_us: i64, catalog: &Catalog) -> Result<Hour, ArchiveError> {
    let Some(row) = catalog.hours(id, hour_us, hour_us).await?.pop() else { return Ok(Hour::default()) };
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

fn row(id: &StreamId, hour_us: i64, hour: &Hour) -> HourRow {
    HourRow {
        id: id.clone(),
        hour_us,
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
