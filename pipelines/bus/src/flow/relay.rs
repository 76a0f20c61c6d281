//! The front's half: numbers for what its log holds, what to publish next, and what the log may forget.
//!
//! The log is read in its order, from where it was trimmed last; each record gets the next number of its partition.
//! Read again after a crash from the same place, the same records get the same numbers, so nothing is stored with
//! them: [`RelayCheckpoint`] is written with each trim and is all that is kept.
//!
//! **Invariant:** the log is trimmed below nothing that was not confirmed as archived, whatever the engine said.

use super::Resend;
use crate::limits::{IN_FLIGHT_RECORDS_MAX, RESENDS_WAITING_MAX, UNCONFIRMED_RECORDS_MAX};
use crate::record::{FrontId, Number};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wardline_journal::Offset;
use wardline_proto::PartitionId;
use wardline_proto::limits::PARTITIONS;

/// What the relay keeps: the log from `from` on, and for each partition the number of its first record there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayCheckpoint {
    /// Where the log begins.
    pub from: Offset,
    /// Numbers of partitions that have had records; any other begins at the first.
    pub numbers: BTreeMap<PartitionId, Number>,
}

/// What to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send {
    /// The partition.
    pub partition: PartitionId,
    /// The record's number.
    pub n: Number,
    /// Where the log has it.
    pub offset: Offset,
    /// Which time it was asked for; see [`crate::Outgoing::resend`].
    pub resend: u32,
}

/// What the log may forget. Write the checkpoint before the log is trimmed: a crash between the two only leaves
/// records that are archived already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trim {
    /// Everything below is confirmed.
    pub below: Offset,
    /// What a restart goes on from.
    pub checkpoint: RelayCheckpoint,
}

/// The index is at its bound: nothing more is read from the log until something is confirmed, and the front refuses
/// when the log has filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many records wait to be confirmed")]
pub struct LogFull;

/// A worker spoke of a number that this front never gave: it has another log's state, or a damaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("number {0} was never given")]
pub struct WrongNumber(pub Number);

/// What became of a resend request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Numbers that will be published again.
    pub queued: u64,
    /// Numbers that are confirmed already: the worker's state is older than the archive.
    pub confirmed: u64,
}

#[derive(Debug)]
struct Lane {
    /// The number of the first entry of `offsets`.
    base: Number,
    offsets: VecDeque<Offset>,
    /// Everything below is confirmed.
    confirmed: Number,
    /// The next number that was never published.
    unsent: Number,
    /// What waits for an answer, with its resend.
    in_flight: BTreeMap<Number, u32>,
    /// What no engine has committed yet, as far as is known.
    uncommitted: BTreeSet<Number>,
    /// What is published again before anything new.
    again: BTreeMap<Number, u32>,
    /// Resend requests taken so far.
    rounds: u32,
}

/// The relay of one front.
#[derive(Debug)]
pub struct Relay {
    front: FrontId,
    lanes: Vec<Lane>,
    /// The next offset to be read from the log.
    read: Offset,
    indexed: usize,
    turn: usize,
}

impl Relay {
    /// Goes on from a checkpoint; the default is that of an empty log.
    pub fn resume(front: FrontId, checkpoint: &RelayCheckpoint) -> Self {
        let number = |p| PartitionId::new(p).and_then(|p| checkpoint.numbers.get(&p).copied());
        let lane = |p| Lane::new(number(p).unwrap_or(Number::FIRST));
        let lanes = (0..PARTITIONS).map(lane).collect();
        Self { front, lanes, read: checkpoint.from, indexed: 0, turn: 0 }
    }

    /// Returns the offset of the log to be taken next.
    pub fn read(&self) -> Offset {
        self.read
    }

    /// Takes the log's next record and returns its number. An offset that was taken before is not taken again.
    pub fn take(&mut self, offset: Offset, partition: PartitionId) -> Result<Option<Number>, LogFull> {
        if offset < self.read {
            return Ok(None);
        }
        if self.indexed >= UNCONFIRMED_RECORDS_MAX {
            return Err(LogFull);
        }
        let lane = self.lane(partition);
        let n = lane.next();
        lane.offsets.push_back(offset);
        lane.uncommitted.insert(n);
        self.indexed += 1;
        self.read = offset.next();
        Ok(Some(n))
    }

    /// Returns what to publish next: what was lost before what is new, the partitions in turn.
    pub fn send(&mut self) -> Option<Send> {
        for _ in 0..self.lanes.len() {
            let index = self.turn % self.lanes.len();
            self.turn = self.turn.wrapping_add(1);
            let partition = u16::try_from(index).ok().and_then(PartitionId::new)?;
            if let Some((n, resend, offset)) = self.lanes.get_mut(index)?.send() {
                return Some(Send { partition, n, offset, resend });
            }
        }
        None
    }

    /// Notes that the engine has committed a record.
    pub fn committed(&mut self, partition: PartitionId, n: Number) {
        let lane = self.lane(partition);
        lane.in_flight.remove(&n);
        lane.uncommitted.remove(&n);
    }

    /// Returns the offset below which every record of a partition that was taken was committed by the engine once.
    pub fn replicated(&self, partition: PartitionId) -> Offset {
        let lane = self.lanes.get(usize::from(partition.get()));
        let first = lane.and_then(|lane| lane.offset(*lane.uncommitted.first()?));
        first.unwrap_or(self.read)
    }

    /// Notes that a publish failed, or that nobody knows: the record is published again under the same name.
    pub fn failed(&mut self, partition: PartitionId, n: Number) {
        let lane = self.lane(partition);
        if let Some(resend) = lane.in_flight.remove(&n).filter(|_| n >= lane.confirmed) {
            lane.again.entry(n).or_insert(resend);
        }
    }

    /// Takes a worker's request. Its records get a name of their own, since an engine that knows the old name would
    /// keep them away from the worker that missed them.
    pub fn resend(&mut self, request: &Resend) -> Result<Resumed, WrongNumber> {
        if request.front != self.front {
            return Ok(Resumed { queued: 0, confirmed: 0 });
        }
        let lane = self.lane(request.partition);
        if request.last >= lane.next() || request.last < request.first {
            return Err(WrongNumber(request.last));
        }
        let first = request.first.max(lane.confirmed);
        let confirmed = first.get().min(request.last.get() + 1) - request.first.get();
        // What was never published will be, by itself.
        let end = request.last.next().min(lane.unsent);
        lane.rounds = lane.rounds.saturating_add(1);
        let room = RESENDS_WAITING_MAX.saturating_sub(lane.again.len()) as u64;
        let wanted = (first.get()..end.get()).take(usize::try_from(room).unwrap_or(0));
        let mut queued = 0;
        for n in wanted.filter_map(Number::new) {
            // One that waits for its answer may be the one that was lost: it goes again, and its answer is ignored.
            lane.in_flight.remove(&n);
            lane.again.insert(n, lane.rounds);
            queued += 1;
        }
        Ok(Resumed { queued, confirmed })
    }

    /// Notes that everything of a partition below a number is archived. An older watermark changes nothing.
    pub fn confirmed(&mut self, partition: PartitionId, below: Number) -> Result<(), WrongNumber> {
        let lane = self.lane(partition);
        if below > lane.next() {
            return Err(WrongNumber(below));
        }
        if below > lane.confirmed {
            lane.confirmed = below;
            lane.unsent = lane.unsent.max(below);
            lane.again = lane.again.split_off(&below);
            lane.in_flight = lane.in_flight.split_off(&below);
            lane.uncommitted = lane.uncommitted.split_off(&below);
        }
        Ok(())
    }

    /// Returns what the log may forget now, and forgets its index.
    pub fn trim(&mut self) -> Trim {
        let unconfirmed = self.lanes.iter().filter_map(Lane::first_unconfirmed).min();
        let below = unconfirmed.unwrap_or(self.read);
        let mut numbers = BTreeMap::new();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            self.indexed -= lane.forget(below);
            let partition = u16::try_from(index).ok().and_then(PartitionId::new);
            if let Some(partition) = partition.filter(|_| lane.base > Number::FIRST) {
                numbers.insert(partition, lane.base);
            }
        }
        Trim { below, checkpoint: RelayCheckpoint { from: below, numbers } }
    }

    /// Returns for each partition with records the next number to be given: what a mark says.
    pub fn marks(&self) -> impl Iterator<Item = (PartitionId, Number)> + '_ {
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| lane.next() > Number::FIRST);
        lanes.filter_map(|(i, lane)| Some((PartitionId::new(u16::try_from(i).ok()?)?, lane.next())))
    }

    /// Says whether everything that was taken was committed by the engine once.
    pub fn is_sent(&self) -> bool {
        self.lanes.iter().all(|lane| lane.uncommitted.is_empty())
    }

    /// Counts the records that wait to be confirmed, or are kept because an older one does.
    pub fn waiting(&self) -> usize {
        self.indexed
    }

    fn lane(&mut self, partition: PartitionId) -> &mut Lane {
        &mut self.lanes[usize::from(partition.get())]
    }
}

impl Lane {
    fn new(base: Number) -> Self {
        Self {
            base,
            offsets: VecDeque::new(),
            confirmed: base,
            unsent: base,
            in_flight: BTreeMap::new(),
            uncommitted: BTreeSet::new(),
            again: BTreeMap::new(),
            rounds: 0,
        }
    }

    fn next(&self) -> Number {
        self.base.plus(self.offsets.len() as u64)
    }

    fn offset(&self, n: Number) -> Option<Offset> {
        let index = n.get().checked_sub(self.base.get())?;
        self.offsets.get(usize::try_from(index).ok()?).copied()
    }

    fn send(&mut self) -> Option<(Number, u32, Offset)> {
        if self.in_flight.len() >= IN_FLIGHT_RECORDS_MAX {
            return None;
        }
        let (n, resend) = match self.again.pop_first() {
            Some(again) => again,
            None if self.unsent < self.next() => {
                let n = self.unsent;
                self.unsent = n.next();
                (n, 0)
            }
            None => return None,
        };
        let offset = self.offset(n)?;
        self.in_flight.insert(n, resend);
        Some((n, resend, offset))
    }

    fn first_unconfirmed(&self) -> Option<Offset> {
        self.offset(self.confirmed)
    }

    /// Drops the index below an offset and returns how much that was.
    fn forget(&mut self, below: Offset) -> usize {
        let gone = self.offsets.iter().take_while(|offset| **offset < below).count();
        self.offsets.drain(..gone);
        self.base = self.base.plus(gone as u64);
        gone
    }
}
