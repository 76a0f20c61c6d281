//! How far the engine is behind, readable while it is stuck. Where the engines of several partitions run, each has a part
//! of its own: what is told of all is the worst of them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};
use wardline_journal::Growth;

/// A healthy engine says where it is at least this often; less is no lag.
pub(crate) const TICK_US: i64 = 250_000;

/// Where the engine is. Times are unix microseconds.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Everything durable up to here was decided and committed.
    reached_us: AtomicI64,
    /// When the engine last took a turn.
    beat_us: AtomicI64,
    /// First journal offset that is not decided, and since when.
    next: AtomicU64,
    moved_us: AtomicI64,
    /// The end of the log that the engine of this part reads; none on the whole.
    growth: Option<Growth>,
    /// Engines are those of parts.
    of_parts: AtomicBool,
    /// The parts, while their engines run.
    parts: Mutex<Vec<Weak<Progress>>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self::over(None)
    }

    /// Makes the part of an engine that reads this log.
    pub(crate) fn part(&self, growth: Growth) -> Arc<Self> {
        let part = Arc::new(Self::over(Some(growth)));
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|part| part.strong_count() > 0);
        parts.push(Arc::downgrade(&part));
        part
    }

    fn parts(&self) -> Vec<Arc<Self>> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter_map(Weak::upgrade).collect()
    }

    fn over(growth: Option<Growth>) -> Self {
        let now = now_us();
        Self {
            reached_us: AtomicI64::new(now),
            beat_us: AtomicI64::new(now),
            next: AtomicU64::new(0),
            moved_us: AtomicI64::new(now),
            growth,
            of_parts: AtomicBool::new(false),
            parts: Mutex::default(),
        }
    }

    /// Notes that all up to `us` is decided and committed.
    pub(crate) fn reached(&self, us: i64) {
        self.reached_us.store(us, Ordering::Relaxed);
    }

    /// Notes that the engine takes a turn.
    pub(crate) fn beat(&self) {
        self.beat_us.store(now_us(), Ordering::Relaxed);
    }

    /// Notes the first offset that is not decided.
    pub(crate) fn at(&self, next: u64) {
        if self.next.swap(next, Ordering::Relaxed) != next {
            self.moved_us.store(now_us(), Ordering::Relaxed);
        }
    }

    /// Notes that engines are those of parts, here or on other nodes, and the whole has none.
    pub(crate) fn is_of_parts(&self) {
        self.of_parts.store(true, Ordering::Relaxed);
    }

    /// Returns the lag in milliseconds; none where no engine is here. It grows by itself when the engine says nothing any
    /// more.
    pub(crate) fn lag_ms(&self) -> Option<u64> {
        let reached = |one: &Self| one.reached_us.load(Ordering::Relaxed);
        let worst = self.parts().iter().map(|part| reached(part)).min();
        let own = (!self.of_parts.load(Ordering::Relaxed)).then(|| reached(self));
        let behind_us = now_us() - worst.or(own)? - 2 * TICK_US;
        Some(u64::try_from(behind_us / 1000).unwrap_or(0))
    }

    /// Returns when the engine last took a turn; of several the one that is silent for the longest.
    pub(crate) fn beat_us(&self) -> i64 {
        let own_us = self.beat_us.load(Ordering::Relaxed);
        self.parts().iter().map(|part| part.beat_us()).fold(own_us, i64::min)
    }

    /// Returns for how long the part that stands still for the longest has done so before records.
    pub(crate) fn parts_stalled_us(&self, now_us: i64) -> i64 {
        let stalled_us = |part: &Arc<Self>| {
            let (next, moved_us) = part.position();
            let stands = part.growth.as_ref().is_some_and(|growth| growth.end().get() > next);
            if stands { now_us - moved_us } else { 0 }
        };
        self.parts().iter().map(stalled_us).max().unwrap_or(0)
    }

    /// Returns the first offset that is not decided, and since when it has been that.
    pub(crate) fn position(&self) -> (u64, i64) {
        (self.next.load(Ordering::Relaxed), self.moved_us.load(Ordering::Relaxed))
    }
}

/// Returns the wall clock, unix microseconds. The engine itself never calls it: time is an input there.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;
    use wardline_journal::Offset;

    #[test]
    fn of_several_parts_the_worst_is_told_and_what_has_ended_is_not() {
        let whole = Progress::new();
        let log = || watch::channel(Offset::new(5));
        let ((_one, reads_one), (two, reads_two)) = (log(), log());
        let (one, stuck) = (whole.part(Growth::Told(reads_one)), whole.part(Growth::Told(reads_two)));
        let long_ago = now_us() - 60_000_000;
        one.at(5);
        stuck.at(4);
        stuck.moved_us.store(long_ago, Ordering::Relaxed);
        stuck.beat_us.store(long_ago, Ordering::Relaxed);
        one.reached(now_us());
        stuck.reached(long_ago);
        whole.beat();
        assert_eq!(whole.beat_us(), long_ago, "another part's turns are not its own");
        assert!(whole.lag_ms() > Some(50_000));
        assert!(whole.parts_stalled_us(now_us()) >= 60_000_000);
        stuck.at(5);
        assert_eq!(whole.parts_stalled_us(now_us()), 0, "there is nothing before it");
        two.send_replace(Offset::new(9));
        stuck.moved_us.store(long_ago, Ordering::Relaxed);
        assert!(whole.parts_stalled_us(now_us()) >= 60_000_000);
        drop(stuck);
        assert!(whole.lag_ms().is_some_and(|lag| lag < 50_000) && whole.beat_us() > long_ago);
        assert_eq!(whole.parts_stalled_us(now_us()), 0, "its partition is another's now");
    }

    #[test]
    fn where_no_engine_is_its_lag_is_not_known() {
        let whole = Progress::new();
        whole.reached(now_us() - 60_000_000);
        assert!(whole.lag_ms() > Some(50_000), "an engine that says nothing any more");
        whole.is_of_parts();
        assert_eq!(whole.lag_ms(), None, "how long this node has been up is no lag");
        let (_end, reads) = watch::channel(Offset::new(5));
        let part = whole.part(Growth::Told(reads));
        part.reached(now_us());
        assert!(whole.lag_ms().is_some_and(|lag| lag < 50_000));
        drop(part);
        assert_eq!(whole.lag_ms(), None, "its partition is another's now");
    }
}
