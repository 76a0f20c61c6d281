//! The queue and who may still enter it.
//!
//! A record is admitted only when the disk space that it can cost is already allocated: in the active segment or in
//! the spare one. So a full disk refuses and never loses. As the room shrinks because no spare can be made,
//! telemetry is refused first, then audit, then alarms; the same order holds for the queue's own bound.

use crate::options::Bounds;
use crate::{AppendError, Class, Offset, Record};
use std::collections::VecDeque;

/// Whether the log takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    Closing,
    Failed,
}

/// What the appenders and the writer share under one short lock.
pub(crate) struct Queue {
    pub(crate) records: VecDeque<Record>,
    pub(crate) next: Offset,
    /// Worst-case disk cost of all records that are not durable yet.
    pub(crate) cost: u64,
    /// Bytes that batches may still take in the active segment.
    pub(crate) active_room: u64,
    /// The same of the spare segment, 0 when there is none.
    pub(crate) spare_room: u64,
    pub(crate) phase: Phase,
    pub(crate) writer_sleeps: bool,
}

impl Queue {
    pub(crate) fn new(next: Offset, active_room: u64) -> Self {
        Self {
            records: VecDeque::new(),
            next,
            cost: 0,
            active_room,
            spare_room: 0,
            phase: Phase::Open,
            writer_sleeps: false,
        }
    }

    /// Queues the record and returns its offset, or refuses it.
    pub(crate) fn admit(&mut self, record: Record, bounds: &Bounds) -> Result<Offset, AppendError> {
        match self.phase {
            Phase::Open => {}
            Phase::Closing => return Err(AppendError::Closed),
            Phase::Failed => return Err(AppendError::Failed),
        }
        if record.payload.len() > bounds.record_bytes_max {
            return Err(AppendError::TooLarge(record));
        }
        if !self.has_room(record.class, record.payload.len(), bounds) {
            return Err(AppendError::Full(record));
        }
        let offset = self.next;
        self.next = offset.next();
        self.cost += Bounds::cost(record.payload.len());
        self.records.push_back(record);
        Ok(offset)
    }

    /// Says whether a record of this class and payload would be admitted.
    pub(crate) fn has_room(&self, class: Class, payload_bytes: usize, bounds: &Bounds) -> bool {
        let cost = self.cost + Bounds::cost(payload_bytes);
        let queue_share = share_kept(class, bounds.queue_bytes_max as u64);
        let room_share = share_kept(class, bounds.segment_room());
        self.phase == Phase::Open
            && payload_bytes <= bounds.record_bytes_max
            && cost + queue_share <= bounds.queue_bytes_max as u64
            && cost + room_share <= self.room(bounds)
    }

    /// Bytes that are allocated for records to come. With a spare, as much as the largest record may stay unused at the
    /// end of the active segment.
    pub(crate) fn room(&self, bounds: &Bounds) -> u64 {
        let both = (self.active_room + self.spare_room).saturating_sub(bounds.waste_max());
        if self.spare_room > 0 { both.max(self.active_room) } else { self.active_room }
    }
}

/// What a class must leave of a bound to the classes above it.
fn share_kept(class: Class, bound: u64) -> u64 {
    match class {
        Class::Alarm => 0,
        Class::Audit => bound / 8,
        Class::Telemetry => bound / 4,
    }
}
