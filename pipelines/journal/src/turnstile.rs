//! Who waits for which offset: a sync wakes those whose records it made durable, and nobody else.
//!
//! A watch wakes all its receivers. With 500 sessions of one record in flight each and a fast disk, most of them woke
//! for nothing at every sync, and that was most of what a session cost.

use crate::Offset;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Waiting tasks by offset. Bound: one entry for each live future, and the caller bounds its tasks.
#[derive(Debug, Default)]
pub(crate) struct Turnstile {
    waiting: Mutex<Waiting>,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    tasks: BTreeMap<(Offset, u64), Waker>,
    next_number: u64,
}

/// A task's place in the turnstile.
pub(crate) type Place = (Offset, u64);

impl Turnstile {
    /// Takes a place. `None` when the log has stopped.
    ///
    /// The caller looks at the end again afterwards: the end moves before [`Turnstile::open`] takes the lock, so
    /// either that look sees it or the opening sees the place.
    pub(crate) fn enter(&self, offset: Offset, waker: &Waker) -> Option<Place> {
        let mut waiting = self.lock();
        if self.is_over() {
            return None;
        }
        waiting.next_number += 1;
        let place = (offset, waiting.next_number);
        waiting.tasks.insert(place, waker.clone());
        Some(place)
    }

    /// Gives a place up.
    pub(crate) fn leave(&self, place: Place) {
        self.lock().tasks.remove(&place);
    }

    /// Wakes every task that waits for an offset below `end`.
    pub(crate) fn open(&self, end: Offset) {
        let mut waiting = self.lock();
        if waiting.tasks.first_key_value().is_none_or(|((offset, _), _)| *offset >= end) {
            return;
        }
        let later = waiting.tasks.split_off(&(end, 0));
        let due = std::mem::replace(&mut waiting.tasks, later);
        drop(waiting);
        due.into_values().for_each(Waker::wake);
    }

    /// Wakes every task for good: nothing more becomes durable.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        self.over.store(true, Ordering::SeqCst);
        let all = std::mem::take(&mut waiting.tasks);
        drop(waiting);
        all.into_values().for_each(Waker::wake);
    }

    /// Says whether nothing more becomes durable.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waiting(turnstile: &Turnstile, offset: u64) -> (Arc<Count>, Place) {
        let count = Arc::new(Count::default());
        let place = turnstile.enter(Offset::new(offset), &Waker::from(count.clone())).unwrap();
        (count, place)
    }

    #[test]
    fn an_opening_wakes_those_below_it_once() {
        let turnstile = Turnstile::default();
        let tasks: Vec<_> = [4, 5, 5, 6].map(|offset| waiting(&turnstile, offset).0).into();
        turnstile.open(Offset::new(4));
        turnstile.open(Offset::new(6));
        turnstile.open(Offset::new(6));
        let woken: Vec<_> = tasks.iter().map(|task| task.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken, [1, 1, 1, 0]);
    }

    #[test]
    fn who_left_is_not_woken_and_a_close_wakes_the_rest_for_good() {
        let turnstile = Turnstile::default();
        let ((gone, place), (stays, _)) = (waiting(&turnstile, 1), waiting(&turnstile, 1));
        turnstile.leave(place);
        turnstile.close();
        assert_eq!((gone.0.load(Ordering::Relaxed), stays.0.load(Ordering::Relaxed)), (0, 1));
        assert!(turnstile.enter(Offset::new(2), &Waker::from(stays)).is_none());
    }
}
