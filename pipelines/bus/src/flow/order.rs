//! The worker's half: each (front, partition) in the order of its numbers, each number once.

use super::Resend;
use super::checkpoint::Checkpoint;
use crate::engine::Position;
use crate::limits::{FRONTS_MAX, HELD_BYTES_MAX, HELD_RECORDS_MAX, RESEND_RECORDS_MAX};
use crate::record::{Content, FrontId, Number, Record};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of a record that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// These bodies follow each other from `first` on. There is at least one.
    InOrder {
        /// The number of the first body.
        first: Number,
        /// The bodies, sealed.
        bodies: Vec<Bytes>,
    },
    /// It waits for an earlier number.
    Held,
    /// It was delivered before, or waits already.
    Duplicate,
    /// There was no room to hold it; it will be asked for again.
    Dropped,
    /// A mark: nothing to deliver.
    Noted,
    /// It is of another partition, or of one front too many: it should not be here. Nothing was changed.
    Foreign,
}

/// Counts of an order since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrderStats {
    /// Bodies delivered.
    pub delivered: u64,
    /// Arrivals that were known already.
    pub duplicates: u64,
    /// Arrivals that found no room.
    pub dropped: u64,
    /// Requests for missing numbers.
    pub resends: u64,
}

#[derive(Debug)]
struct Front {
    /// The number to be delivered next.
    next: Number,
    /// One past the greatest number known to exist.
    head: Number,
    held: BTreeMap<Number, (Position, Bytes)>,
    gap: Option<Gap>,
}

/// A gap that was noticed: from when on it is asked for, and how often it was.
#[derive(Debug)]
struct Gap {
    first: Number,
    due: Duration,
    asked: u32,
}

/// The order of one partition. Time is whatever the caller counts, since any start that does not move.
#[derive(Debug)]
pub struct Order {
    partition: wardline_proto::PartitionId,
    patience: Duration,
    fronts: BTreeMap<FrontId, Front>,
    held_bytes: usize,
    /// The position after the last arrival.
    read: Position,
    stats: OrderStats,
}

impl Order {
    /// Begins, or goes on from a checkpoint. A gap is asked for when it is older than `patience`: an engine may
    /// deliver a retry late.
    pub fn resume(checkpoint: &Checkpoint, patience: Duration) -> Self {
        let front = |next: Number| Front { next, head: next, held: BTreeMap::new(), gap: None };
        Self {
            partition: checkpoint.partition,
            patience,
            fronts: checkpoint.fronts.iter().map(|(id, next)| (*id, front(*next))).collect(),
            held_bytes: 0,
            read: checkpoint.position,
            stats: OrderStats::default(),
        }
    }

    /// Takes what was read at a position.
    pub fn arrive(&mut self, record: Record, position: Position, now: Duration) -> Arrival {
        let known = self.fronts.contains_key(&record.front);
        if record.partition != self.partition || (!known && self.fronts.len() >= FRONTS_MAX) {
            self.read = self.read.max(position.next());
            return Arrival::Foreign;
        }
        let new = || Front { next: Number::FIRST, head: Number::FIRST, held: BTreeMap::new(), gap: None };
        let front = self.fronts.entry(record.front).or_insert_with(new);
        let arrival = match record.content {
            Content::Mark => {
                front.head = front.head.max(record.n);
                Arrival::Noted
            }
            Content::Body(body) => {
                front.head = front.head.max(record.n.next());
                front.take(record.n, position, body, &mut self.held_bytes)
            }
        };
        front.note_gap(now, self.patience);
        self.read = self.read.max(position.next());
        match &arrival {
            Arrival::InOrder { bodies, .. } => self.stats.delivered += bodies.len() as u64,
            Arrival::Duplicate => self.stats.duplicates += 1,
            Arrival::Dropped => self.stats.dropped += 1,
            Arrival::Held | Arrival::Noted | Arrival::Foreign => {}
        }
        arrival
    }

    /// Returns the requests that are due. Each is repeated until its first number comes, every time after twice the
    /// wait, up to 16 times the patience.
    pub fn resends(&mut self, now: Duration) -> Vec<Resend> {
        let mut due = Vec::new();
        for (id, front) in &mut self.fronts {
            let Some(gap) = front.gap.as_mut().filter(|gap| gap.due <= now) else { continue };
            gap.due = now + self.patience * (1 << gap.asked.min(4));
            gap.asked = gap.asked.saturating_add(1);
            let missing = front.held.keys().next().copied().unwrap_or(front.head);
            let end = missing.min(front.next.plus(RESEND_RECORDS_MAX));
            let Some(last) = Number::new(end.get() - 1) else { continue };
            due.push(Resend { front: *id, partition: self.partition, first: front.next, last });
        }
        self.stats.resends += due.len() as u64;
        due
    }

    /// Returns what to keep with the delivered bodies' results, in their transaction. Reading on from it delivers
    /// exactly what comes next; what is held now is read once more.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            partition: self.partition,
            position: self.read_on(),
            fronts: self.fronts.iter().map(|(id, front)| (*id, front.next)).collect(),
        }
    }

    /// Returns where to read on when all that was delivered is worked on: before what is held.
    pub fn read_on(&self) -> Position {
        let held = self.fronts.values().flat_map(|f| f.held.values().map(|(position, _)| *position));
        held.min().map_or(self.read, |held| held.min(self.read))
    }

    /// Says whether a number is known to be missing.
    pub fn has_gaps(&self) -> bool {
        self.fronts.values().any(|front| front.gap.is_some())
    }

    /// Forgets a front whose log is gone for good and was delivered to its end; says whether it was known and
    /// complete.
    pub fn retire(&mut self, front: FrontId) -> bool {
        let complete = self.fronts.get(&front).is_some_and(|f| f.next == f.head);
        complete && self.fronts.remove(&front).is_some()
    }

    /// Returns the counts.
    pub fn stats(&self) -> OrderStats {
        self.stats
    }
}

impl Front {
    fn take(&mut self, n: Number, position: Position, body: Bytes, held_bytes: &mut usize) -> Arrival {
        if n < self.next || self.held.contains_key(&n) {
            return Arrival::Duplicate;
        }
        if n > self.next {
            // Only what a resend of the gap is followed by is worth its room.
            let in_reach = n.get() - self.next.get() <= HELD_RECORDS_MAX as u64;
            let fits = self.held.len() < HELD_RECORDS_MAX && *held_bytes + body.len() <= HELD_BYTES_MAX;
            if !(in_reach && fits) {
                return Arrival::Dropped;
            }
            *held_bytes += body.len();
            self.held.insert(n, (position, body));
            return Arrival::Held;
        }
        let mut bodies = vec![body];
        self.next = n.next();
        while let Some((_, body)) = self.held.remove(&self.next) {
            *held_bytes -= body.len();
            bodies.push(body);
            self.next = self.next.next();
        }
        Arrival::InOrder { first: n, bodies }
    }

    /// Notices a gap, keeps one that is known, and forgets one that has closed.
    fn note_gap(&mut self, now: Duration, patience: Duration) {
        if self.next == self.head {
            self.gap = None;
        } else if self.gap.as_ref().is_none_or(|gap| gap.first != self.next) {
            self.gap = Some(Gap { first: self.next, due: now + patience, asked: 0 });
        }
    }
}
