//! The proof of durability: how a queued record turns into the right to acknowledge it (ACK-1).

use crate::Offset;
use crate::turnstile::{Place, Turnstile};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;

/// How far the log is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurableState {
    /// Everything below `end` is durable.
    Open {
        /// First offset that is not durable.
        end: Offset,
    },
    /// A write or sync failed: nothing more becomes durable.
    Failed,
}

/// Proof that a record is durable. Only the writer's sync path leads to one.
#[derive(Debug, PartialEq, Eq)]
pub struct Durable(Offset);

impl Durable {
    /// Returns the record's offset.
    pub fn offset(&self) -> Offset {
        self.0
    }
}

/// The record will never be known as durable: the log failed or was dropped first. Do not acknowledge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal stopped before the record was durable")]
pub struct Lost;

/// A queued record's claim to a [`Durable`]. Dropping it loses only the claim.
#[must_use = "a record is acknowledged by redeeming its ticket"]
#[derive(Debug)]
pub struct Ticket {
    log: u32,
    offset: Offset,
}

impl Ticket {
    pub(crate) fn new(log: u32, offset: Offset) -> Self {
        Self { log, offset }
    }

    /// Returns the offset that the record will have.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Returns the proof when the record is durable, and the ticket when it is not yet.
    pub fn redeem(self, watch: &DurableWatch) -> Result<Durable, Self> {
        if self.log == watch.shared.log && self.offset < watch.shared.end() {
            Ok(Durable(self.offset))
        } else {
            Err(self)
        }
    }

    /// Waits for the proof.
    pub async fn durable(self, watch: &DurableWatch) -> Result<Durable, Lost> {
        if self.log != watch.shared.log {
            return Err(Lost);
        }
        watch.reached(self.offset).await?;
        self.redeem(watch).map_err(|_ticket| Lost)
    }

    /// Blocks the thread until the proof is there. Not for async code.
    pub fn wait(self, watch: &DurableWatch) -> Result<Durable, Lost> {
        if self.log != watch.shared.log {
            return Err(Lost);
        }
        watch.shared.block_until(self.offset);
        self.redeem(watch).map_err(|_ticket| Lost)
    }
}

/// Follows how far the log is durable. Cheap to clone; each clone sees each change.
#[derive(Debug, Clone)]
pub struct DurableWatch {
    shared: Arc<DurableEnd>,
    receiver: watch::Receiver<DurableState>,
}

impl DurableWatch {
    /// Returns the state now.
    pub fn current(&self) -> DurableState {
        *self.receiver.borrow()
    }

    /// Returns the first offset that is not durable, also of a failed log.
    pub fn end(&self) -> Offset {
        self.shared.end()
    }

    /// Waits for a state that this watch has not seen. `Lost` when the log was closed and nothing more comes.
    pub async fn changed(&mut self) -> Result<DurableState, Lost> {
        self.receiver.changed().await.map_err(|_closed| Lost)?;
        Ok(*self.receiver.borrow_and_update())
    }
}

impl DurableWatch {
    /// Waits for a state that this watch has not seen, for a loop that waits for other things too: a log that was closed
    /// or has failed never has another one.
    pub async fn next(&mut self) -> DurableState {
        match self.changed().await {
            Ok(state) => state,
            Err(Lost) => std::future::pending().await,
        }
    }

    /// Waits until the record at `offset` is durable. `Lost` when it never will be. Wakes for nothing else.
    pub fn reached(&self, offset: Offset) -> Reached {
        Reached { waiter: self.waiter(), offset }
    }

    /// Returns what a task that polls by hand waits with, for one offset after another.
    pub fn waiter(&self) -> Waiter {
        Waiter { shared: self.shared.clone(), place: None, waker: None }
    }
}

/// Waits for one offset; see [`DurableWatch::reached`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Reached {
    waiter: Waiter,
    offset: Offset,
}

impl Future for Reached {
    type Output = Result<(), Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let offset = self.offset;
        self.waiter.poll(offset, context)
    }
}

/// One task's way to wait for offsets; see [`DurableWatch::waiter`].
///
/// The task is in the turnstile from a poll that returned `Pending` until the offset is durable. Polls in between, for
/// whatever else woke the task, take no lock.
#[derive(Debug)]
pub struct Waiter {
    shared: Arc<DurableEnd>,
    place: Option<Place>,
    /// The waker that stands at the place.
    waker: Option<Waker>,
}

impl Waiter {
    /// Says whether the record at `offset` is durable, `Lost` when it never will be; if neither, sees to it that the
    /// task is woken when it is. Waits for one offset at a time: the one of the last call.
    pub fn poll(&mut self, offset: Offset, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        if self.shared.end() > offset {
            self.leave();
            return Poll::Ready(Ok(()));
        }
        let stands = self.place.is_some_and(|(awaited, _number)| awaited == offset)
            && self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if !stands {
            self.leave();
            self.place = self.shared.turnstile.enter(offset, context.waker());
            self.waker.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
        }
        // Looked at after the place was taken: see `Turnstile::enter`.
        let is_over = self.place.is_none() || self.shared.turnstile.is_over();
        match (self.shared.end() > offset, is_over) {
            (true, _) => Poll::Ready(Ok(())),
            (false, true) => Poll::Ready(Err(Lost)),
            (false, false) => Poll::Pending,
        }
    }

    /// Gives the place up. One below the end has been taken away by the opening, or is about to be.
    fn leave(&mut self) {
        if let Some(place) = self.place.take().filter(|(offset, _number)| self.shared.end() <= *offset) {
            self.shared.turnstile.leave(place);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The end itself, shared by the publisher and all watches.
#[derive(Debug)]
pub(crate) struct DurableEnd {
    log: u32,
    end: AtomicU64,
    turnstile: Turnstile,
    waiters: AtomicUsize,
    stopped: Mutex<bool>,
    moved: Condvar,
}

impl DurableEnd {
    pub(crate) fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::SeqCst))
    }

    pub(crate) fn log(&self) -> u32 {
        self.log
    }

    fn block_until(&self, offset: Offset) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped && self.end() <= offset {
            stopped = self.moved.wait(stopped).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self, stop: bool) {
        // A waiter counts itself before it reads the end, and the end is stored before the count is read here: one of
        // the two sees the other. The lock closes the gap between a waiter's check and its wait.
        if stop || self.waiters.load(Ordering::SeqCst) > 0 {
            let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            *stopped |= stop;
            self.moved.notify_all();
        }
    }
}

/// The writer's side: the only place that moves the end. Dropping it tells every waiter that nothing more comes.
pub(crate) struct DurablePublisher {
    shared: Arc<DurableEnd>,
    sender: watch::Sender<DurableState>,
}

impl DurablePublisher {
    /// Makes the publisher of a log whose records below `end` are durable.
    pub(crate) fn new(end: Offset) -> (Self, DurableWatch) {
        static LOGS: AtomicU32 = AtomicU32::new(0);
        Self::of_log(LOGS.fetch_add(1, Ordering::Relaxed), end)
    }

    pub(crate) fn of_log(log: u32, end: Offset) -> (Self, DurableWatch) {
        let shared = Arc::new(DurableEnd {
            log,
            end: AtomicU64::new(end.get()),
            turnstile: Turnstile::default(),
            waiters: AtomicUsize::new(0),
            stopped: Mutex::new(false),
            moved: Condvar::new(),
        });
        let (sender, receiver) = watch::channel(DurableState::Open { end });
        (Self { shared: shared.clone(), sender }, DurableWatch { shared, receiver })
    }

    /// Publishes that everything below `end` was synced.
    pub(crate) fn publish(&self, end: Offset) {
        self.shared.end.store(end.get(), Ordering::SeqCst);
        self.sender.send_replace(DurableState::Open { end });
        self.shared.turnstile.open(end);
        self.shared.wake(false);
    }

    /// Publishes that nothing more becomes durable.
    pub(crate) fn fail(&self) {
        self.sender.send_replace(DurableState::Failed);
        self.shared.turnstile.close();
    }
}

impl Drop for DurablePublisher {
    fn drop(&mut self) {
        self.shared.turnstile.close();
        self.shared.wake(true);
    }
}

impl DurableWatch {
    pub(crate) fn shared(&self) -> &Arc<DurableEnd> {
        &self.shared
    }
}
