//! Keeps one preallocated segment ready, on a thread of its own: the writer never waits for zeros.

use crate::journal::{Shared, lock};
use crate::storage::LogFile;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Name of the file before it becomes a segment.
pub(crate) const SPARE_NAME: &str = "spare.new";
/// How often a spare is tried again while the disk or the log is full.
const RETRY: Duration = Duration::from_millis(500);

/// The place where the spare lies until the writer takes it.
#[derive(Default)]
pub(crate) struct SpareMaker {
    slot: Mutex<Slot>,
    changed: Condvar,
    ready: AtomicBool,
}

#[derive(Default)]
struct Slot {
    file: Option<Box<dyn LogFile>>,
    stopped: bool,
}

impl SpareMaker {
    /// Takes the spare. It counts as one until [`activated`](Self::activated): the log's bytes are never counted low.
    pub(crate) fn take(&self) -> Option<Box<dyn LogFile>> {
        lock(&self.slot).file.take()
    }

    /// Says that the one taken has become a segment, so that the next one is made.
    pub(crate) fn activated(&self) {
        self.ready.store(false, Ordering::Relaxed);
        self.nudge();
    }

    /// Tries again now: space may have been freed.
    pub(crate) fn nudge(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        lock(&self.slot).stopped = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Runs until stopped. An error leaves the log without a spare: admission sees the room shrink.
    pub(crate) fn run(&self, shared: &Shared) {
        let mut told = false;
        while self.wait_until_wanted() {
            match make(shared) {
                Ok(Some(file)) => {
                    told = false;
                    lock(&self.slot).file = Some(file);
                    self.ready.store(true, Ordering::Relaxed);
                    lock(&shared.queue).spare_room = shared.bounds.segment_room();
                }
                Ok(None) => self.pause(),
                Err(error) => {
                    if !told {
                        tracing::warn!(%error, "no spare journal segment can be made");
                        told = true;
                    }
                    self.pause();
                }
            }
        }
    }

    fn wait_until_wanted(&self) -> bool {
        let mut slot = lock(&self.slot);
        while !slot.stopped && slot.file.is_some() {
            slot = self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
        !slot.stopped
    }

    fn pause(&self) {
        let slot = lock(&self.slot);
        if !slot.stopped {
            drop(self.changed.wait_timeout(slot, RETRY));
        }
    }
}

/// Makes a spare when the log's bound and the disk reserve leave room.
fn make(shared: &Shared) -> io::Result<Option<Box<dyn LogFile>>> {
    let bounds = &shared.bounds;
    let fits = shared.allocated_bytes() + bounds.segment_bytes <= bounds.total_bytes_max;
    if !fits || shared.storage.free_bytes()? < bounds.segment_bytes + bounds.reserve_bytes {
        return Ok(None);
    }
    // A file of that name is the one that the writer is about to rename: not yet.
    if shared.storage.list()?.iter().any(|file| file.name == SPARE_NAME) {
        return Ok(None);
    }
    shared.storage.create(SPARE_NAME, bounds.segment_bytes).map(Some)
}
