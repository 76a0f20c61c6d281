//! The worker's half: each (front, partition) in the order of its numbers, each number once.
//!
//! Fronts that nothing is awaited of are laid aside when others need their place: of them the next number is kept. So
//! names that come and go cost a number each, and none is forgotten, which would make old records new.

use super::Resend;
use super::checkpoint::Checkpoint;
use crate::engine::Position;
use crate::limits::{FRONTS_KNOWN_MAX, FRONTS_MAX, HELD_BYTES_MAX, HELD_RECORDS_MAX, RESEND_RECORDS_MAX};
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
    /// It is of one front too many: of all others something is awaited, or too many are known. It is left, and missed
    /// when there is a place.
    Crowded,
    /// It is of another partition: it should not be here. Nothing was changed.
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
    /// Arrivals of one front too many, and of other partitions.
    pub left: u64,
}

#[derive(Debug)]
struct Front {
    /// The number to be delivered next.
    next: Number,
    /// One past the greatest number known to exist.
    head: Number,
    held: BTreeMap<Number, (Position, Bytes)>,
    gap: Option<Gap>,
    /// Which arrival its last one was.
    heard: u64,
}

/// A gap that was noticed: from when on it is asked for, and how often it was.
#[derive(Debug)]
struct Gap {
    first: Number,
    since: Duration,
    due: Duration,
    asked: u32,
}

/// The order of one partition. Time is whatever the caller counts, since any start that does not move.
#[derive(Debug)]
pub struct Order {
    partition: wardline_proto::PartitionId,
    patience: Duration,
    /// Those that records came from lately: [`FRONTS_MAX`] at most.
    fronts: BTreeMap<FrontId, Front>,
    /// The next numbers of all others: with them [`FRONTS_KNOWN_MAX`] at most.
    aside: BTreeMap<FrontId, Number>,
    arrivals: u64,
    held_bytes: usize,
    /// The position after the last arrival.
    read: Position,
    stats: OrderStats,
}

impl Order {
    /// Begins, or goes on from a checkpoint. A gap is asked for when it is older than `patience`: an engine may
    /// deliver a retry late.
    pub fn resume(checkpoint: &Checkpoint, patience: Duration) -> Self {
        Self {
            partition: checkpoint.partition,
            patience,
            fronts: BTreeMap::new(),
            aside: checkpoint.fronts.clone(),
            arrivals: 0,
            held_bytes: 0,
            read: checkpoint.position,
            stats: OrderStats::default(),
        }
    }

    /// Takes what was read at a position.
    pub fn arrive(&mut self, record: Record, position: Position, now: Duration) -> Arrival {
        self.read = self.read.max(position.next());
        if record.partition != self.partition {
            self.stats.left += 1;
            return Arrival::Foreign;
        }
        self.arrivals += 1;
        self.place(record.front);
        let Some(front) = self.fronts.get_mut(&record.front) else {
            self.stats.left += 1;
            return Arrival::Crowded;
        };
        front.heard = self.arrivals;
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
        match &arrival {
            Arrival::InOrder { bodies, .. } => self.stats.delivered += bodies.len() as u64,
            Arrival::Duplicate => self.stats.duplicates += 1,
            Arrival::Dropped => self.stats.dropped += 1,
            Arrival::Held | Arrival::Noted | Arrival::Crowded | Arrival::Foreign => {}
        }
        arrival
    }

    /// Takes a front's numbers below `next` as delivered, since somebody else has worked on them; returns the bodies
    /// behind them that waited, the first with the number `next`.
    pub fn pass(&mut self, id: FrontId, next: Number, now: Duration) -> Vec<Bytes> {
        let has_room = self.fronts.len() + self.aside.len() < FRONTS_KNOWN_MAX;
        let Some(front) = self.fronts.get_mut(&id) else {
            match self.aside.get_mut(&id) {
                Some(known) => *known = next.max(*known),
                None if has_room => drop(self.aside.insert(id, next)),
                None => {}
            }
            return Vec::new();
        };
        let bodies = front.pass(next, &mut self.held_bytes);
        front.note_gap(now, self.patience);
        self.stats.delivered += bodies.len() as u64;
        bodies
    }

    /// Says whether a number is known to be missing, however long.
    pub fn has_gap(&self) -> bool {
        self.fronts.values().any(|front| front.gap.is_some())
    }

    /// Finds a place for a front, if there is one.
    fn place(&mut self, id: FrontId) {
        if self.fronts.contains_key(&id) || (self.fronts.len() >= FRONTS_MAX && !self.lay_aside()) {
            return;
        }
        let has_room = self.fronts.len() + self.aside.len() < FRONTS_KNOWN_MAX;
        if let Some(next) = self.aside.remove(&id).or_else(|| has_room.then_some(Number::FIRST)) {
            self.fronts.insert(id, Front::at(next));
        }
    }

    /// Lays aside the front that was silent for longest, of those that nothing is awaited of.
    fn lay_aside(&mut self) -> bool {
        let complete = self.fronts.iter().filter(|(_, front)| front.next == front.head);
        let id = complete.min_by_key(|(_, front)| front.heard).map(|(id, _)| *id);
        let Some((id, front)) = id.and_then(|id| self.fronts.remove_entry(&id)) else { return false };
        self.aside.insert(id, front.next);
        true
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
        let heard = self.fronts.iter().map(|(id, front)| (*id, front.next));
        Checkpoint {
            partition: self.partition,
            position: self.read_on(),
            fronts: self.aside.iter().map(|(id, next)| (*id, *next)).chain(heard).collect(),
        }
    }

    /// Returns where to read on when all that was delivered is worked on: before what is held.
    pub fn read_on(&self) -> Position {
        let held = self.fronts.values().flat_map(|f| f.held.values().map(|(position, _)| *position));
        held.min().map_or(self.read, |held| held.min(self.read))
    }

    /// Says whether a number is known to be missing that may come soon: for less than `most`.
    pub fn waits(&self, now: Duration, most: Duration) -> bool {
        let gaps = self.fronts.values().filter_map(|front| front.gap.as_ref());
        gaps.map(|gap| now.saturating_sub(gap.since)).any(|waited| waited < most)
    }

    /// Returns the counts.
    pub fn stats(&self) -> OrderStats {
        self.stats
    }
}

impl Front {
    fn at(next: Number) -> Self {
        Self { next, head: next, held: BTreeMap::new(), gap: None, heard: 0 }
    }

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
        self.follow(&mut bodies, held_bytes);
        Arrival::InOrder { first: n, bodies }
    }

    /// Adds what waited for the number before it.
    fn follow(&mut self, bodies: &mut Vec<Bytes>, held_bytes: &mut usize) {
        while let Some((_, body)) = self.held.remove(&self.next) {
            *held_bytes -= body.len();
            bodies.push(body);
            self.next = self.next.next();
        }
    }

    fn pass(&mut self, next: Number, held_bytes: &mut usize) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        if next <= self.next {
            return bodies;
        }
        let waits = self.held.split_off(&next);
        let passed = std::mem::replace(&mut self.held, waits);
        *held_bytes -= passed.values().map(|(_, body)| body.len()).sum::<usize>();
        (self.next, self.head) = (next, next.max(self.head));
        self.follow(&mut bodies, held_bytes);
        bodies
    }

    /// Notices a gap, keeps one that is known, and forgets one that has closed.
    fn note_gap(&mut self, now: Duration, patience: Duration) {
        if self.next == self.head {
            self.gap = None;
        } else if self.gap.as_ref().is_none_or(|gap| gap.first != self.next) {
            self.gap = Some(Gap { first: self.next, since: now, due: now + patience, asked: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::PartitionId;

    const FRONT: FrontId = FrontId::new([1; 16]);

    fn number(n: u64) -> Number {
        Number::new(n).unwrap()
    }

    fn body(n: u64) -> Bytes {
        Bytes::copy_from_slice(&n.to_le_bytes())
    }

    #[test]
    fn what_somebody_else_has_worked_on_is_passed_and_what_waited_behind_it_comes() {
        let partition = PartitionId::default();
        let (mut order, now) =
            (Order::resume(&Checkpoint::new(partition), Duration::from_millis(10)), Duration::ZERO);
        let mut at = 0;
        let mut arrive = |order: &mut Order, n| {
            at += 1;
            let record = Record { front: FRONT, partition, n: number(n), content: Content::Body(body(n)) };
            order.arrive(record, Position::new(at), now)
        };
        let in_order = |first: u64, last: u64| Arrival::InOrder {
            first: number(first),
            bodies: (first..=last).map(body).collect(),
        };
        assert_eq!(arrive(&mut order, 1), in_order(1, 1));
        for n in [4, 5, 7] {
            assert_eq!(arrive(&mut order, n), Arrival::Held);
        }
        assert!(order.pass(FRONT, number(1), now).is_empty(), "known already");
        assert!(order.pass(FRONT, number(3), now).is_empty() && order.has_gap());
        assert_eq!(order.pass(FRONT, number(5), now), [body(5)], "4 is passed, 6 is missing");
        assert_eq!(arrive(&mut order, 4), Arrival::Duplicate);
        assert_eq!(arrive(&mut order, 6), in_order(6, 7));
        assert_eq!((order.has_gap(), order.held_bytes), (false, 0));
        assert!(order.pass(FRONT, number(20), now).is_empty());
        assert_eq!(arrive(&mut order, 20), in_order(20, 20));
        // A front that nothing came from yet.
        let other = FrontId::new([2; 16]);
        assert!(order.pass(other, number(9), now).is_empty());
        assert_eq!(order.checkpoint().fronts, BTreeMap::from([(FRONT, number(21)), (other, number(9))]));
    }
}
