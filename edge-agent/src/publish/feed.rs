//! What goes out next: reads the lanes' logs, alarms first, and keeps count of what is settled.

use super::backoff::{Backoff, BackoffOptions};
use super::progress::Progress;
use super::window::{Flight, Window};
use crate::lanes::{LANES, LaneIndex};
use crate::spool::record::{Content, Spooled};
use crate::spool::{Spool, SpoolError};
use bytes::Bytes;
use prost::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use wardline_journal::{Entry, Reader};

/// Bytes that are read of a lane at once, and so the most that waits in memory per lane.
const READ_BYTES: usize = 64 * 1024;

/// A record on its way out, or a run of tombstones.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Offset of the record, or of the first of the run.
    pub(crate) first: u64,
    /// Offset of the record, or of the last of the run.
    pub(crate) last: u64,
    /// When the first was taken from the device, edge clock.
    pub(crate) taken_at_us: i64,
    /// The spooled record; `None` for a run of tombstones.
    pub(crate) payload: Option<Bytes>,
}

impl Item {
    fn bytes(&self) -> u64 {
        self.payload.as_ref().map_or(0, |payload| payload.len() as u64)
    }

    /// Makes the frame to publish; `None` for a run of tombstones.
    pub(crate) fn frame(&self, epoch: u64, lane: LaneIndex) -> Result<Option<Bytes>, SpoolError> {
        let Some(payload) = self.payload.clone() else { return Ok(None) };
        let frame = decode(payload)?.into_frame(epoch, self.first + 1, lane.lane());
        Ok(frame.map(|frame| frame.encode_to_vec().into()))
    }
}

/// One lane's way out.
struct LaneFeed {
    lane: LaneIndex,
    reader: Option<Reader>,
    read_to: u64,
    pending: VecDeque<Item>,
    progress: Progress,
    backoff: Backoff,
    held_until: Option<Instant>,
}

/// All lanes' way out.
pub(crate) struct Feeds {
    spool: Arc<Spool>,
    lanes: [LaneFeed; LANES],
}

impl Feeds {
    /// Starts at each lane's first unsettled record.
    pub(crate) fn open(spool: Arc<Spool>, backoff: BackoffOptions) -> Result<Self, SpoolError> {
        let mut lanes = Vec::with_capacity(LANES);
        for lane in LaneIndex::ALL {
            let from = spool.settled_below(lane);
            lanes.push(LaneFeed {
                lane,
                reader: Some(spool.reader(lane)?),
                read_to: from,
                pending: VecDeque::new(),
                progress: Progress::new(from),
                backoff: Backoff::new(backoff),
                held_until: None,
            });
        }
        let lanes = lanes.try_into().map_err(|_| SpoolError::Failed)?;
        Ok(Self { spool, lanes })
    }

    /// Reads on in every lane that has nothing at hand and more in its log. Not cancel safe.
    pub(crate) async fn refill(&mut self) -> Result<(), SpoolError> {
        for feed in &mut self.lanes {
            if feed.pending.is_empty() && self.spool.durable_end(feed.lane) > feed.read_to {
                feed.read().await?;
            }
        }
        Ok(())
    }

    /// Takes the most urgent item that may go now.
    pub(crate) fn next(&mut self, window: &Window, now: Instant) -> Option<(LaneIndex, Item)> {
        self.lanes.iter_mut().find_map(|feed| {
            let is_held = feed.held_until.is_some_and(|until| now < until);
            let is_gap = feed.pending.front()?.payload.is_none();
            let may_go = is_gap || (!is_held && window.has_room(feed.lane));
            if may_go { feed.pending.pop_front().map(|item| (feed.lane, item)) } else { None }
        })
    }

    /// Settles an item: it needs no more sending. Returns how many records of it were not settled before.
    pub(crate) fn settle(&mut self, lane: LaneIndex, item: &Item) -> u64 {
        let feed = &mut self.lanes[lane.get()];
        let fresh = feed.progress.settle(item.first, item.last);
        let bytes = if fresh == 0 { 0 } else { item.bytes() };
        self.spool.settle(lane, feed.progress.watermark(), bytes);
        fresh
    }

    /// Notes that the gateway takes frames of the lane again.
    pub(crate) fn accepted(&mut self, lane: LaneIndex) {
        self.lanes[lane.get()].backoff.reset();
    }

    /// Puts a frame back and holds its lane: the gateway has asked for less. True when it was not held before.
    pub(crate) fn hold(&mut self, flight: Flight, now: Instant) -> bool {
        let feed = &mut self.lanes[flight.lane.get()];
        let is_new = feed.held_until.is_none_or(|until| until <= now);
        if is_new {
            feed.backoff.slow_down();
            feed.held_until = Some(now + feed.backoff.next_delay());
        }
        feed.put_back(flight.item);
        is_new
    }

    /// Puts frames back in their places: their connection is gone.
    pub(crate) fn give_back(&mut self, flights: Vec<Flight>) {
        for flight in flights.into_iter().rev() {
            self.lanes[flight.lane.get()].put_back(flight.item);
        }
    }

    /// When the next held lane may go on.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        let waiting = self.lanes.iter().filter(|feed| !feed.pending.is_empty());
        waiting.filter_map(|feed| feed.held_until).filter(|until| *until > now).min()
    }

    /// When the oldest item at hand was taken from the device.
    pub(crate) fn oldest_taken_at_us(&self) -> Option<i64> {
        self.lanes.iter().filter_map(|feed| feed.pending.front()).map(|item| item.taken_at_us).min()
    }
}

impl LaneFeed {
    async fn read(&mut self) -> Result<(), SpoolError> {
        let mut reader = self.reader.take().ok_or(SpoolError::Failed)?;
        let read = move || {
            let batch = reader.next_batch(READ_BYTES);
            (reader, batch)
        };
        let (reader, batch) = tokio::task::spawn_blocking(read).await.map_err(|_| SpoolError::Failed)?;
        self.reader = Some(reader);
        for entry in batch? {
            self.read_to = entry.offset.get() + 1;
            self.take(entry)?;
        }
        Ok(())
    }

    /// Queues an entry; adjacent tombstones become one run.
    fn take(&mut self, entry: Entry) -> Result<(), SpoolError> {
        let offset = entry.offset.get();
        let record = decode(entry.payload.clone())?;
        let is_tombstone = record.content == Content::Tombstone;
        if let Some(run) = self.pending.back_mut().filter(|back| is_tombstone && back.payload.is_none()) {
            run.last = offset;
            return Ok(());
        }
        let payload = (!is_tombstone).then_some(entry.payload);
        self.pending.push_back(Item {
            first: offset,
            last: offset,
            taken_at_us: record.taken_at_us,
            payload,
        });
        Ok(())
    }

    fn put_back(&mut self, item: Item) {
        let place = self.pending.partition_point(|other| other.first < item.first);
        self.pending.insert(place, item);
    }
}

fn decode(payload: Bytes) -> Result<Spooled, SpoolError> {
    Spooled::decode(payload).map_err(|_| SpoolError::Damaged("a record is of a later version of the agent"))
}
