//! The streams in memory: a bounded cache over the catalog, changed ahead of a commit and written by it.

use crate::dedup::StreamState;
use crate::error::ArchiveError;
use crate::intake::{Arrived, Position};
use std::collections::HashMap;
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::catalog::{Catalog, StreamId, StreamRow};

/// How many frames of a stream or device went where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Archived.
    pub archived: u64,
    /// In the quarantine.
    pub quarantined: u64,
    /// Came again: acknowledged, stored once.
    pub duplicates: u64,
    /// Archived, and came after a later one.
    pub late: u64,
    /// Of which nothing is kept any more: what they held was erased.
    pub erased: u64,
}

impl Counts {
    /// Adds `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.archived += other.archived;
        self.quarantined += other.quarantined;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.erased += other.erased;
    }
}

/// One stream in memory.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) state: StreamState,
    pub(crate) counts: Counts,
    changed: bool,
    /// The device opened more epochs than are kept.
    pub(crate) refused: bool,
}

/// The streams in memory.
#[derive(Debug, Default)]
pub(crate) struct Streams(HashMap<StreamId, Stream>);

/// Returns the stream that counts what has no position.
pub(crate) fn outside(key: &DeviceKey) -> StreamId {
    StreamId {
        tenant: key.tenant.as_str().to_owned(),
        device: key.device.as_str().to_owned(),
        epoch: 0,
        lane: 0,
    }
}

/// Returns the stream of a position.
pub(crate) fn stream_of(key: &DeviceKey, position: Position) -> StreamId {
    StreamId { epoch: position.epoch, lane: position.lane.into(), ..outside(key) }
}

/// Returns the partition of a stream's device; 0 for a name that no device has.
pub(crate) fn partition_of(id: &StreamId) -> u16 {
    let key = TenantId::new(&id.tenant).ok().zip(DeviceId::new(&id.device).ok());
    key.map_or(0, |(tenant, device)| DeviceKey { tenant, device }.partition().get())
}

impl Streams {
    /// Reads from the catalog what `arrived` needs and is not in memory.
    pub(crate) async fn load(
        &mut self,
        arrived: impl Iterator<Item = &Arrived>,
        catalog: &Catalog,
        epochs_max: u64,
    ) -> Result<(), ArchiveError> {
        for publish in arrived {
            let ids = [Some(outside(&publish.key)), publish.position.map(|p| stream_of(&publish.key, p))];
            for id in ids.into_iter().flatten() {
                if !self.0.contains_key(&id) {
                    let stream = fetch(&id, catalog, epochs_max, self).await?;
                    self.0.insert(id, stream);
                }
            }
        }
        Ok(())
    }

    /// Returns a loaded stream, to be changed.
    pub(crate) fn change(&mut self, id: &StreamId) -> &mut Stream {
        let stream = self.0.entry(id.clone()).or_default();
        stream.changed = true;
        stream
    }

    /// Says whether the catalog has no room for the epoch of a stream.
    pub(crate) fn is_refused(&self, id: &StreamId) -> bool {
        self.0.get(id).is_some_and(|stream| stream.refused)
    }

    /// Returns the rows of changed streams.
    pub(crate) fn changed(&self) -> Vec<StreamRow> {
        let changed = self.0.iter().filter(|(_, stream)| stream.changed && !stream.refused);
        changed.map(|(id, stream)| row(id, stream)).collect()
    }

    /// Forgets all streams, of which nothing may wait for a commit: the catalog has changed behind them.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Marks all streams as committed, and forgets them when they are more than `kept_max`.
    pub(crate) fn committed(&mut self, kept_max: usize) {
        if self.0.len() > kept_max {
            self.0.clear();
        }
        self.0.values_mut().for_each(|stream| stream.changed = false);
    }
}

async fn fetch(
    id: &StreamId,
    catalog: &Catalog,
    epochs_max: u64,
    loaded: &Streams,
) -> Result<Stream, ArchiveError> {
    let Some(row) = catalog.stream(id).await? else {
        let same = |other: &StreamId| {
            (&other.tenant, &other.device, other.lane) == (&id.tenant, &id.device, id.lane)
        };
        let fresh =
            loaded.0.iter().filter(|(other, s)| s.changed && !s.refused && same(other)).count() as u64;
        let refused = id.epoch > 0 && catalog.epochs(id).await? + fresh >= epochs_max;
        return Ok(Stream { refused, ..Stream::default() });
    };
    let state = StreamState::decode(&row.seen, &row.recent).ok_or(ArchiveError::StreamState)?;
    Ok(Stream { state, counts: counts_of(&row), changed: false, refused: false })
}

/// Returns the counts of a catalog row.
pub(crate) fn counts_of(row: &StreamRow) -> Counts {
    Counts {
        archived: row.archived,
        quarantined: row.quarantined,
        duplicates: row.duplicates,
        late: row.late,
        erased: row.erased,
    }
}

fn row(id: &StreamId, stream: &Stream) -> StreamRow {
    StreamRow {
        id: id.clone(),
        seen: stream.state.seen().encode(),
        recent: stream.state.encode_recent(),
        archived: stream.counts.archived,
        duplicates: stream.counts.duplicates,
        quarantined: stream.counts.quarantined,
        late: stream.counts.late,
        erased: stream.counts.erased,
    }
}
