//! The streams in memory: a bounded cache over the catalog, changed ahead of a commit and written by it.

use crate::dedup::StreamState;
use crate::error::ArchiveError;
use crate::intake::{Arrived, Position};
use crate::names::NameNumber;
use std::collections::HashMap;
use wardline_proto::v1::Lane;
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

/// Where a stream is in memory, until it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StreamSlot(usize);

impl StreamSlot {
    /// Returns the slot's number, from 0.
    pub(crate) fn get(self) -> usize {
        self.0
    }
}

/// A device in memory, until it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) number: usize,
    /// The stream that counts what has no position.
    pub(crate) outside: StreamSlot,
}

/// The streams in memory: found by name once a frame, and by slot from then on.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    devices: HashMap<DeviceKey, Device>,
    /// By the number of a sender's name, the device that was found last of that number.
    named: Vec<Option<(DeviceKey, Device)>>,
    slots: HashMap<(usize, u64, Lane), StreamSlot>,
    /// By device and lane, the epoch that was found last: mostly that of the next frame too.
    latest: Vec<[Option<(u64, StreamSlot)>; LANES]>,
    all: Vec<(StreamId, Stream)>,
}

/// Numbers of lanes, from 0.
const LANES: usize = 5;

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
    /// Makes the streams of rows of the catalog, and of those that it does not have, with the epochs that are known.
    /// Of each device, what has no position is among them.
    pub(crate) fn of(
        rows: &[StreamRow],
        fresh: &[(StreamId, u64)],
        epochs_max: u64,
    ) -> Result<Self, ArchiveError> {
        let known = rows.iter().map(|row| Ok((row.id.clone(), stream(row)?)));
        let mut all = known.collect::<Result<Vec<_>, ArchiveError>>()?;
        let mut opened = HashMap::<_, u64>::new();
        for (id, epochs) in fresh {
            let opened = opened.entry((&id.tenant, &id.device, id.lane)).or_default();
            let refused = id.epoch > 0 && epochs + *opened >= epochs_max;
            *opened += u64::from(!refused);
            all.push((id.clone(), Stream { refused, ..Stream::default() }));
        }
        let mut streams = Self { all, ..Self::default() };
        streams.index();
        Ok(streams)
    }

    /// Finds the streams by name, devices first.
    fn index(&mut self) {
        let key = |id: &StreamId| {
            let names = TenantId::new(&id.tenant).ok().zip(DeviceId::new(&id.device).ok());
            names.map(|(tenant, device)| DeviceKey { tenant, device })
        };
        for (slot, (id, _)) in
            self.all.iter().enumerate().filter(|(_, (id, _))| (id.epoch, id.lane) == (0, 0))
        {
            if let Some(key) = key(id) {
                let device = Device { number: self.devices.len(), outside: StreamSlot(slot) };
                self.devices.insert(key, device);
            }
        }
        for (slot, (id, _)) in self.all.iter().enumerate() {
            let device = key(id).and_then(|key| self.devices.get(&key));
            let lane = Lane::try_from(id.lane).ok();
            if let Some((device, lane)) = device.zip(lane).filter(|_| (id.epoch, id.lane) != (0, 0)) {
                self.slots.insert((device.number, id.epoch, lane), StreamSlot(slot));
            }
        }
    }

    /// Returns what has been seen of each.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&StreamId, &StreamState)> {
        self.all.iter().map(|(id, stream)| (id, &stream.state))
    }

    /// Returns a device that is in memory. The number of its name says where to look first, and proves nothing.
    pub(crate) fn device(&mut self, key: &DeviceKey, name: NameNumber) -> Option<Device> {
        if let Some(Some((known, device))) = self.named.get(name.get())
            && known == key
        {
            return Some(*device);
        }
        let device = *self.devices.get(key)?;
        if self.named.len() <= name.get() {
            self.named.resize(name.get() + 1, None);
        }
        self.named[name.get()] = Some((key.clone(), device));
        Some(device)
    }

    /// Returns the stream of a position that is in memory.
    pub(crate) fn find(&mut self, device: Device, position: Position) -> Option<StreamSlot> {
        let lane = position.lane as usize;
        let latest = self.latest.get(device.number).and_then(|lanes| *lanes.get(lane)?);
        if let Some((_, slot)) = latest.filter(|(epoch, _)| *epoch == position.epoch) {
            return Some(slot);
        }
        let slot = *self.slots.get(&(device.number, position.epoch, position.lane))?;
        if self.latest.len() <= device.number {
            self.latest.resize(device.number + 1, [None; LANES]);
        }
        if let Some(latest) = self.latest[device.number].get_mut(lane) {
            *latest = Some((position.epoch, slot));
        }
        Some(slot)
    }

    /// Returns a device and the stream of its frame, read from the catalog when they are not in memory.
    pub(crate) async fn load(
        &mut self,
        arrived: &Arrived,
        catalog: &Catalog,
        epochs_max: u64,
    ) -> Result<(Device, Option<StreamSlot>), ArchiveError> {
        let device = match self.device(&arrived.key, arrived.name) {
            Some(device) => device,
            None => {
                let outside = self.fetch(outside(&arrived.key), catalog, epochs_max).await?;
                let device = Device { number: self.devices.len(), outside };
                self.devices.insert(arrived.key.clone(), device);
                device
            }
        };
        let Some(position) = arrived.position else { return Ok((device, None)) };
        if let Some(slot) = self.find(device, position) {
            return Ok((device, Some(slot)));
        }
        let slot = self.fetch(stream_of(&arrived.key, position), catalog, epochs_max).await?;
        self.slots.insert((device.number, position.epoch, position.lane), slot);
        Ok((device, Some(slot)))
    }

    async fn fetch(
        &mut self,
        id: StreamId,
        catalog: &Catalog,
        epochs_max: u64,
    ) -> Result<StreamSlot, ArchiveError> {
        let stream = fetch(&id, catalog, epochs_max, self).await?;
        self.all.push((id, stream));
        Ok(StreamSlot(self.all.len() - 1))
    }

    /// Returns a stream, to be changed.
    pub(crate) fn change(&mut self, slot: StreamSlot) -> &mut Stream {
        let stream = &mut self.all[slot.0].1;
        stream.changed = true;
        stream
    }

    /// Returns a stream's name.
    pub(crate) fn id(&self, slot: StreamSlot) -> &StreamId {
        &self.all[slot.0].0
    }

    /// Says whether the catalog has no room for the epoch of a stream.
    pub(crate) fn is_refused(&self, slot: StreamSlot) -> bool {
        self.all[slot.0].1.refused
    }

    /// Returns the rows of changed streams, in which content stands as a tag.
    pub(crate) fn changed(&mut self, tag_of: impl Fn(&[u8]) -> u64) -> Vec<StreamRow> {
        let changed = self.all.iter_mut().filter(|(_, stream)| stream.changed && !stream.refused);
        changed.map(|(id, stream)| row(id, stream, &tag_of)).collect()
    }

    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Marks all streams as committed.
    pub(crate) fn committed(&mut self) {
        self.all.iter_mut().for_each(|(_, stream)| stream.changed = false);
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
            loaded.all.iter().filter(|(other, s)| s.changed && !s.refused && same(other)).count() as u64;
        let refused = id.epoch > 0 && catalog.epochs(id).await? + fresh >= epochs_max;
        return Ok(Stream { refused, ..Stream::default() });
    };
    stream(&row)
}

fn stream(row: &StreamRow) -> Result<Stream, ArchiveError> {
    let state = StreamState::decode(&row.seen, &row.recent).ok_or(ArchiveError::StreamState)?;
    Ok(Stream { state, counts: counts_of(row), changed: false, refused: false })
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

fn row(id: &StreamId, stream: &mut Stream, tag_of: impl Fn(&[u8]) -> u64) -> StreamRow {
    StreamRow {
        id: id.clone(),
        seen: stream.state.seen().encode(),
        recent: stream.state.encode_recent(tag_of),
        archived: stream.counts.archived,
        duplicates: stream.counts.duplicates,
        quarantined: stream.counts.quarantined,
        late: stream.counts.late,
        erased: stream.counts.erased,
    }
}
