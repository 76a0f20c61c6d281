//! One partition that is followed.

use super::Followed;
use super::budget::Budget;
use crate::body::{self, Unread};
use crate::engine::{Delivery, Position};
use crate::flow::{Arrival, Checkpoint, Order};
use crate::record::{Content, FrontId, Number, Record};
use crate::supervise::{Bus, Place, Tail};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use wardline_journal::{Offset, Sealer};
use wardline_proto::PartitionId;

/// How long a number that is missing is waited for: a retry may be on its way. An older gap is not.
const GAP_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether a stream that nothing came over is open.
const LOOK: Duration = Duration::from_millis(10);
/// A record's cost beside its payload.
const RECORD_BYTES: usize = 160;

/// A partition.
#[derive(Debug)]
pub(super) struct Line {
    partition: PartitionId,
    place: Place,
    budget: Arc<Budget>,
    begun: Instant,
    moved: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    order: Order,
    kept: VecDeque<Followed>,
    /// Where the last delivery was taken.
    taken: Position,
    /// What is committed, as far as was told.
    passed: BTreeMap<FrontId, Number>,
    /// Records of one front too many came: what is kept of them may have a hole that nobody knows of.
    is_crowded: bool,
    has_ended: bool,
}

/// How far a partition is read.
#[derive(Debug, PartialEq, Eq)]
enum Reach {
    Whole,
    Awaited,
    Never,
}

impl Line {
    pub(super) fn new(checkpoint: &Checkpoint, place: Place, budget: Arc<Budget>) -> Self {
        let state = State {
            order: Order::resume(checkpoint, GAP_WAIT_MAX),
            kept: VecDeque::new(),
            taken: checkpoint.position,
            passed: checkpoint.fronts.clone(),
            is_crowded: false,
            has_ended: false,
        };
        let (partition, begun, moved) = (checkpoint.partition, Instant::now(), Notify::new());
        Self { partition, place, budget, begun, moved, state: Mutex::new(state) }
    }

    pub(super) fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Reads until an error that does not pass by itself.
    pub(super) async fn follow(self: Arc<Self>, mut tail: Tail, sealer: Arc<Sealer>) {
        loop {
            self.budget.room().await;
            match tail.recv().await {
                Ok(delivery) => self.take(&sealer, &delivery),
                Err(error) => {
                    let partition = self.partition.get();
                    tracing::warn!(partition, %error, "a partition of the bus is not followed any more");
                    self.state().has_ended = true;
                    self.moved.notify_waiters();
                    return;
                }
            }
        }
    }

    fn take(&self, sealer: &Sealer, delivery: &Delivery) {
        let (opened, now) = (body::delivered(sealer, &delivery.bytes), self.begun.elapsed());
        let mut state = self.state();
        match opened.or_else(|error| missing(&error, &delivery.bytes).ok_or(error)) {
            Ok(record) => {
                let front = record.front;
                match state.order.arrive(record, delivery.position, now) {
                    Arrival::InOrder { first, bodies } => {
                        self.keep(&mut state, (front, first), &bodies);
                    }
                    Arrival::Crowded => state.is_crowded = true,
                    Arrival::Held
                    | Arrival::Duplicate
                    | Arrival::Dropped
                    | Arrival::Noted
                    | Arrival::Foreign => {}
                }
            }
            Err(error) => {
                tracing::debug!(position = %delivery.position, %error, "a record of the bus is not one of ours");
            }
        }
        state.taken = delivery.position.next();
        drop(state);
        self.moved.notify_waiters();
    }

    fn keep(&self, state: &mut State, (front, first): (FrontId, Number), bodies: &[Bytes]) {
        for (index, plain) in bodies.iter().enumerate() {
            let n = first.plus(index as u64);
            // It was read once, when it was opened.
            let Some(entry) = body::entry(plain, Offset::ZERO) else { continue };
            if state.passed.get(&front).is_some_and(|passed| n < *passed) {
                continue;
            }
            self.budget.take(cost(&entry.payload));
            state.kept.push_back(Followed { partition: self.partition, front, n, entry });
        }
    }

    /// Waits until everything is kept that the bus has now; `false` when it will not be, for now.
    pub(super) async fn reach(&self, bus: &Bus) -> bool {
        let before = self.place.reading();
        let Ok(head) = bus.watermark(self.partition).await else { return false };
        // It has less than was read before it was asked: it began anew, and the tail is about to.
        let mut is_new = before.is_some_and(|before| head > Position::EARLIEST && before > head);
        loop {
            let moved = self.moved.notified();
            is_new &= self.place.reading() >= before;
            match self.reached(head) {
                Reach::Whole if is_new => {}
                Reach::Whole => return true,
                Reach::Never => return false,
                Reach::Awaited => {}
            }
            // A stream that has nothing to deliver tells of nothing when it is open.
            let _looked_again = timeout(LOOK, moved).await;
        }
    }

    fn reached(&self, head: Position) -> Reach {
        let (state, reading) = (self.state(), self.place.reading());
        // What is read and not taken yet is between the two.
        let is_read = match reading {
            Some(reading) => head == Position::EARLIEST || (reading >= head && reading == state.taken),
            None => false,
        };
        let (is_ended, now) = (state.has_ended || self.budget.is_full(), self.begun.elapsed());
        match (is_read, state.order.has_gap()) {
            (true, false) => Reach::Whole,
            (true, true) if !state.order.waits(now, GAP_WAIT_MAX) => Reach::Never,
            _ if is_ended => Reach::Never,
            _ => Reach::Awaited,
        }
    }

    /// Adds what is kept to what is kept of others; says whether nothing is known to be missing.
    pub(super) fn add_to(&self, records: &mut Vec<Followed>) -> bool {
        let state = self.state();
        records.extend(state.kept.iter().cloned());
        !state.order.has_gap() && !state.is_crowded
    }

    /// Drops what a checkpoint is behind; `false` when it is before an earlier one.
    pub(super) fn pass(&self, checkpoint: &Checkpoint) -> bool {
        let mut state = self.state();
        let goes_back = |(front, next): (&FrontId, &Number)| checkpoint.fronts.get(front) < Some(next);
        if state.passed.iter().any(goes_back) {
            return false;
        }
        if state.passed == checkpoint.fronts {
            return true;
        }
        state.passed = checkpoint.fronts.clone();
        let now = self.begun.elapsed();
        for (front, next) in &checkpoint.fronts {
            let bodies = state.order.pass(*front, *next, now);
            self.keep(&mut state, (*front, *next), &bodies);
        }
        let (mut records, mut bytes) = (0, 0);
        let State { kept, passed, .. } = &mut *state;
        kept.retain(|kept| {
            let is_behind = passed.get(&kept.front).is_none_or(|passed| kept.n >= *passed);
            if !is_behind {
                (records, bytes) = (records + 1, bytes + cost(&kept.entry.payload));
            }
            is_behind
        });
        drop(state);
        self.budget.give_back(records, bytes);
        self.moved.notify_waiters();
        true
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    pub(super) fn kept(&self) -> usize {
        self.state().kept.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is never left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(payload: &Bytes) -> usize {
    payload.len() + RECORD_BYTES
}

/// Of a record whose body does not open it is known that it is missing: as if its front had said so.
fn missing(error: &Unread, bytes: &Bytes) -> Option<Record> {
    let Unread::Body(_) = error else { return None };
    let record = Record::decode(bytes).ok()?;
    Some(Record { n: record.n.next(), content: Content::Mark, ..record })
}
