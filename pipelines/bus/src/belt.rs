//! What came over the bus and is not worked on yet: a partition's records in memory, read like a journal.
//!
//! ```text
//! Feed ─push─► entries with offsets, each with (front, n) and where to read on ─► worker ─commit─► release
//! ```
//!
//! Offsets count what was delivered of the partition, by whatever worker, since its first record. They are given here
//! and hold once they are committed; what is not committed is delivered anew, to whoever works then, maybe in another
//! order among fronts. Time never falls: an entry is stamped with the greatest time so far, or its own.
//!
//! Behind a front whose clock was ahead time goes on at half its speed, as in its journal, until this machine's clock
//! has caught up: also when that front is gone.

use crate::flow::Checkpoint;
use crate::limits::BELT_BYTES_MAX;
use crate::record::{FrontId, Number};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use wardline_journal::{Entries, Entry, Growth, Offset, Passage, ReadError, Source};

/// After this the bus may have more again.
const SETTLED_MAX: Duration = Duration::from_secs(3);
/// An entry's cost beside its payload.
const ENTRY_BYTES: usize = 128;

/// Where a record stood on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The log that it is from.
    pub front: FrontId,
    /// Its number there.
    pub n: Number,
    /// Where to read on when everything up to it is worked on.
    pub position: u64,
}

#[derive(Debug)]
struct State {
    /// The offset of the first entry.
    start: u64,
    entries: VecDeque<(Entry, Origin)>,
    bytes: usize,
    /// What is worked on below `start`.
    passed: BTreeMap<FrontId, Number>,
    position: u64,
    /// No entry from here on has an earlier time.
    time_us: i64,
    /// Up to when what went by is in it.
    looked: Instant,
    /// When the bus had nothing more.
    settled: Option<(Instant, i64)>,
}

struct Inner {
    state: Mutex<State>,
    end: watch::Sender<Offset>,
    room: Notify,
}

/// A partition's records between the bus and a worker. Cheap to clone.
#[derive(Clone)]
pub struct Belt {
    inner: Arc<Inner>,
}

impl Belt {
    /// Makes the belt of a partition whose first `next` records are worked on, up to a checkpoint.
    pub fn new(next: Offset, checkpoint: &Checkpoint) -> Self {
        let state = State {
            start: next.get(),
            entries: VecDeque::new(),
            bytes: 0,
            passed: checkpoint.fronts.clone(),
            position: checkpoint.position.get(),
            time_us: i64::MIN,
            looked: Instant::now(),
            settled: None,
        };
        let inner = Inner { state: Mutex::new(state), end: watch::Sender::new(next), room: Notify::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Adds a record behind all others.
    pub fn push(&self, mut entry: Entry, origin: Origin) {
        let mut state = self.state();
        entry.offset = state.end();
        state.go_on(now_us(), Instant::now());
        state.time_us = state.time_us.max(entry.time_us);
        entry.time_us = state.time_us;
        state.bytes += entry.payload.len() + ENTRY_BYTES;
        state.entries.push_back((entry, origin));
        let end = state.end();
        drop(state);
        self.inner.end.send_replace(end);
    }

    /// Notes that at a time, unix microseconds, everything that the bus had was on the belt.
    pub fn settle(&self, at_us: i64) {
        self.state().settled = Some((Instant::now(), at_us));
    }

    /// Waits until there is room for more.
    pub async fn room(&self) {
        loop {
            let released = self.inner.room.notified();
            if self.state().bytes < BELT_BYTES_MAX {
                return;
            }
            released.await;
        }
    }

    /// Returns how many records wait to be worked on.
    pub fn waiting(&self) -> usize {
        self.state().entries.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is never left half changed.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&self) -> Offset {
        Offset::new(self.start + self.entries.len() as u64)
    }

    /// Moves time on by half of what went by where it is ahead of the clock.
    fn go_on(&mut self, clock_us: i64, now: Instant) {
        let half_us = now.saturating_duration_since(self.looked).as_micros() / 2;
        let half_us = i64::try_from(half_us).unwrap_or(i64::MAX);
        // What is less than a microsecond counts at the next look.
        self.looked += Duration::from_micros(half_us.unsigned_abs() * 2);
        if self.time_us > clock_us {
            self.time_us = self.time_us.saturating_add(half_us);
        }
    }
}

/// Returns this machine's time, unix microseconds.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Source for Belt {
    fn start(&self) -> Offset {
        Offset::new(self.state().start)
    }

    fn end(&self) -> Offset {
        self.state().end()
    }

    fn growth(&self) -> Growth {
        Growth::Told(self.inner.end.subscribe())
    }

    fn is_failed(&self) -> bool {
        false
    }

    fn promise_time(&self, reached_us: i64) -> Option<i64> {
        let mut state = self.state();
        let (_, settled_us) = state.settled.filter(|(at, _)| at.elapsed() < SETTLED_MAX)?;
        state.go_on(now_us(), Instant::now());
        state.time_us = state.time_us.max(reached_us).max(settled_us);
        Some(state.time_us)
    }

    fn entries(&self, from: Offset) -> Result<Box<dyn Entries>, ReadError> {
        let reader = BeltReader { belt: self.clone(), next: from.get() };
        reader.check(&self.state())?;
        Ok(Box::new(reader))
    }

    fn passage(&self, next: Offset) -> Option<Passage> {
        let state = self.state();
        let mut logs = BTreeMap::new();
        let mut position = state.position;
        for (_, origin) in state.entries.iter().take_while(|(entry, _)| entry.offset < next) {
            logs.insert(origin.front, origin.n.next());
            position = origin.position;
        }
        let logs = logs.into_iter().map(|(front, next)| (*front.bytes(), next.get()));
        Some(Passage { position, logs: logs.collect() })
    }

    fn release(&self, next: Offset) {
        let mut state = self.state();
        while state.entries.front().is_some_and(|(entry, _)| entry.offset < next) {
            let Some((entry, origin)) = state.entries.pop_front() else { break };
            state.start += 1;
            state.bytes = state.bytes.saturating_sub(entry.payload.len() + ENTRY_BYTES);
            state.passed.insert(origin.front, origin.n.next());
            state.position = origin.position;
        }
        drop(state);
        self.inner.room.notify_waiters();
    }
}

impl fmt::Debug for Belt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "Belt({} to {})", state.start, state.end())
    }
}

struct BeltReader {
    belt: Belt,
    next: u64,
}

impl BeltReader {
    fn check(&self, state: &State) -> Result<(), ReadError> {
        if self.next < state.start {
            return Err(ReadError::Dropped { start: Offset::new(state.start) });
        }
        let end = state.end();
        if self.next > end.get() { Err(ReadError::PastEnd { end }) } else { Ok(()) }
    }
}

impl Entries for BeltReader {
    fn next_batch(&mut self, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        let state = self.belt.state();
        self.check(&state)?;
        let skip = usize::try_from(self.next - state.start).unwrap_or(usize::MAX);
        let mut left = bytes_max;
        let mut taken = Vec::new();
        for (entry, _) in state.entries.iter().skip(skip) {
            if entry.payload.len() > left && !taken.is_empty() {
                break;
            }
            left = left.saturating_sub(entry.payload.len());
            taken.push(entry.clone());
        }
        drop(state);
        self.next += taken.len() as u64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wardline_journal::Class;
    use wardline_proto::PartitionId;

    const A: FrontId = FrontId::new([1; 16]);
    const B: FrontId = FrontId::new([2; 16]);

    fn push(belt: &Belt, front: FrontId, n: u64, position: u64, time_us: i64) {
        let (offset, partition, payload) = (Offset::ZERO, PartitionId::default(), Bytes::from(vec![7; 100]));
        let entry = Entry { offset, time_us, partition, class: Class::Telemetry, payload };
        belt.push(entry, Origin { front, n: Number::new(n).unwrap(), position });
    }

    #[test]
    fn what_is_passed_is_told_by_log_and_what_is_released_is_gone() {
        let belt = Belt::new(Offset::new(10), &Checkpoint::new(PartitionId::default()));
        for (front, n, position, time_us) in [(A, 1, 3, 50), (B, 5, 4, 40), (A, 2, 9, 60)] {
            push(&belt, front, n, position, time_us);
        }
        let mut reader = belt.entries(Offset::new(10)).unwrap();
        let read: Vec<_> =
            reader.next_batch(1000).unwrap().iter().map(|e| (e.offset.get(), e.time_us)).collect();
        assert_eq!(read, [(10, 50), (11, 50), (12, 60)], "time never falls");
        assert_eq!(belt.promise_time(70), None, "the bus may have more");
        belt.settle(65);
        assert_eq!((belt.promise_time(0), belt.promise_time(70)), (Some(65), Some(70)));
        assert!(reader.next_batch(1000).unwrap().is_empty());
        let passed = |next| belt.passage(Offset::new(next)).unwrap();
        assert_eq!(passed(10), Passage { position: 0, logs: vec![] });
        assert_eq!(passed(12), Passage { position: 4, logs: vec![([1; 16], 2), ([2; 16], 6)] });
        belt.release(Offset::new(12));
        assert_eq!(passed(13), Passage { position: 9, logs: vec![([1; 16], 3)] });
        assert_eq!(
            (Source::start(&belt), Source::end(&belt), belt.waiting()),
            (Offset::new(12), Offset::new(13), 1)
        );
        assert!(matches!(belt.entries(Offset::new(11)), Err(ReadError::Dropped { .. })));
        assert!(matches!(belt.entries(Offset::new(14)), Err(ReadError::PastEnd { .. })));
        assert_eq!(belt.entries(Offset::new(12)).unwrap().next_batch(1).unwrap().len(), 1, "one always fits");
    }

    #[test]
    fn behind_a_front_whose_clock_was_ahead_time_goes_on_at_half_its_speed() {
        const SECOND_US: i64 = 1_000_000;
        let belt = Belt::new(Offset::ZERO, &Checkpoint::new(PartitionId::default()));
        let mut state = belt.state();
        let began = state.looked;
        let after = |micros: u64| began + Duration::from_micros(micros);
        state.time_us = 3_600 * SECOND_US;
        // However often it is looked at.
        for micro in 1..=60_001 {
            state.go_on(micro, after(micro as u64));
        }
        assert_eq!(state.time_us, 3_600 * SECOND_US + 30_000);
        state.go_on(60 * SECOND_US, after(60_000_000));
        assert_eq!(state.time_us, 3_630 * SECOND_US, "a timer of 30 s is due after 60");
        // The clock has caught up: what stands on the bus is followed again, and no faster.
        state.go_on(7_200 * SECOND_US, after(7_200_000_000));
        assert_eq!(state.time_us, 3_630 * SECOND_US);
    }

    #[test]
    fn time_that_an_earlier_worker_reached_goes_on_too() {
        let belt = Belt::new(Offset::ZERO, &Checkpoint::new(PartitionId::default()));
        let ahead = now_us() + 3_600_000_000;
        belt.settle(now_us());
        assert_eq!(belt.promise_time(ahead), Some(ahead), "what an earlier worker was told holds on");
        std::thread::sleep(Duration::from_millis(2));
        let promised = belt.promise_time(ahead).unwrap();
        assert!((ahead + 1_000..ahead + 1_800_000_000).contains(&promised));
        push(&belt, A, 1, 1, now_us());
        let entry = belt.entries(Offset::ZERO).unwrap().next_batch(1).unwrap().remove(0);
        assert!(entry.time_us >= promised);
    }

    #[tokio::test]
    async fn a_full_belt_waits_until_something_is_released() {
        let belt = Belt::new(Offset::ZERO, &Checkpoint::new(PartitionId::default()));
        let mut n = 0;
        while belt.state().bytes < BELT_BYTES_MAX {
            n += 1;
            push(&belt, A, n, n, 0);
        }
        let waiting = belt.clone();
        let waited = tokio::spawn(async move { waiting.room().await });
        tokio::task::yield_now().await;
        assert!(!waited.is_finished());
        belt.release(Offset::new(1));
        waited.await.unwrap();
    }
}
