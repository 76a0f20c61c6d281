//! The handle: opens a log, appends, follows, reads, retains.

use crate::admission::{Phase, Queue};
use crate::durable::{DurableEnd, DurablePublisher};
use crate::options::Bounds;
use crate::recovery::{self, Segment};
use crate::spare::SpareMaker;
use crate::stamp::Stamps;
use crate::stats::Counters;
use crate::storage::{Storage, StorageLock};
use crate::tail::Tail;
use crate::writer::Writer;
use crate::{
    AppendError, Class, DurableWatch, JournalOptions, JournalStats, KeyProvider, Offset, OpenError,
    ReadError, Reader, Record, RetainError, Ticket,
};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

/// A durable log. Cheap to clone; when the last clone goes, what is queued is made durable and the log is closed.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    watch: DurableWatch,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: Box<dyn StorageLock>,
}

/// What the handle, the writer, the spare maker and the readers share.
pub(crate) struct Shared {
    pub(crate) bounds: Bounds,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) queue: Mutex<Queue>,
    /// Wakes the writer, which waits only when the queue is empty.
    pub(crate) queued: Condvar,
    /// In order of offsets; the last is active. Never empty.
    pub(crate) segments: Mutex<VecDeque<Arc<Segment>>>,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) spare: SpareMaker,
    pub(crate) counters: Counters,
    pub(crate) durable: Arc<DurableEnd>,
    pub(crate) stamps: Mutex<Stamps>,
}

impl Journal {
    /// Opens the log, or makes it. Recovers what is durable, cuts a torn tail, refuses anything else that does not
    /// fit, and starts a new segment under a fresh data key.
    pub fn open(
        options: JournalOptions,
        storage: Arc<dyn Storage>,
        keys: Arc<dyn KeyProvider>,
    ) -> Result<Self, OpenError> {
        let bounds = Bounds::of(&options);
        let lock = storage.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked,
            _other => OpenError::Io(error),
        })?;
        let recovered = recovery::recover(&*storage, &*keys, options.first_offset)?;
        let start = Writer::start(&bounds, &*storage, keys, &recovered)?;
        let mut segments = recovered.segments;
        segments.push_back(start.segment.clone());
        let (publisher, watch) = DurablePublisher::new(recovered.next);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(recovered.next, Bounds::room_of(start.file_bytes))),
            queued: Condvar::new(),
            segments: Mutex::new(segments),
            tail: Mutex::new(Tail::new(bounds.tail_bytes_max)),
            spare: SpareMaker::default(),
            counters: Counters::default(),
            durable: watch.shared().clone(),
            stamps: Mutex::new(Stamps::new(recovered.max_time_us)),
            bounds,
            storage,
        });
        let inner = Inner { shared: shared.clone(), watch, threads: Mutex::default(), _lock: lock };
        let writer = Writer::new(shared.clone(), start, publisher);
        inner.spawn("journal-writer", move || writer.run())?;
        inner.spawn("journal-spare", move || shared.spare.run(&shared))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Queues a record. Never blocks on the disk. The record is not durable before its ticket says so.
    pub fn append(&self, record: Record) -> Result<Ticket, AppendError> {
        let shared = &self.inner.shared;
        let mut queue = lock(&shared.queue);
        let admitted = queue.admit(record, &shared.bounds);
        let wake = std::mem::take(&mut queue.writer_sleeps);
        drop(queue);
        if wake {
            shared.queued.notify_one();
        }
        if matches!(admitted, Err(AppendError::Full(_))) {
            Counters::add(&shared.counters.refused_full, 1);
        }
        admitted.map(|offset| Ticket::new(shared.durable.log(), offset))
    }

    /// Says whether a record of this class and payload would be queued now. Another appender may take the room first.
    pub fn takes(&self, class: Class, payload_bytes: usize) -> bool {
        lock(&self.inner.shared.queue).has_room(class, payload_bytes, &self.inner.shared.bounds)
    }

    /// Follows how far the log is durable.
    pub fn durable(&self) -> DurableWatch {
        self.inner.watch.clone()
    }

    /// Returns the first offset that is not durable.
    pub fn durable_end(&self) -> Offset {
        self.inner.shared.durable.end()
    }

    /// Returns the first retained offset.
    pub fn start(&self) -> Offset {
        self.inner.shared.start()
    }

    /// Returns a time, and promises that every entry that is not durable yet has this `time_us` or a later one: for a
    /// reader that acts on time where no records come. Ask it before [`Self::durable_end`]: what lies before the end is
    /// not meant. `reached_us` is what an earlier process was told; this one keeps that promise too.
    pub fn promise_time(&self, reached_us: i64) -> i64 {
        lock(&self.inner.shared.stamps).promise(reached_us)
    }

    /// Makes a reader whose first entry has offset `from`.
    pub fn reader(&self, from: Offset) -> Result<Reader, ReadError> {
        Reader::new(self.inner.shared.clone(), from)
    }

    /// Drops the sealed segments that lie wholly below `offset`; returns how many. Blocks on the disk.
    pub fn retain_from(&self, offset: Offset) -> Result<u64, RetainError> {
        let shared = &self.inner.shared;
        let mut dropped = 0;
        let mut segments = lock(&shared.segments);
        while segments.front().is_some_and(|oldest| oldest.end().is_some_and(|end| end <= offset)) {
            let Some(oldest) = segments.pop_front() else { break };
            if let Err(error) = shared.storage.remove(&oldest.name()) {
                segments.push_front(oldest);
                return Err(error.into());
            }
            dropped += 1;
        }
        drop(segments);
        if dropped > 0 {
            shared.storage.sync_dir()?;
            shared.spare.nudge();
        }
        Ok(dropped)
    }

    /// Returns the sealed segments that lie wholly below `offset`, oldest first: where each ends, and its size.
    pub fn sealed_below(&self, offset: Offset) -> Vec<(Offset, u64)> {
        let segments = lock(&self.inner.shared.segments);
        let sealed = segments.iter().map_while(|segment| {
            let end = segment.end().filter(|end| *end <= offset)?;
            Some((end, segment.bytes.load(Ordering::Relaxed)))
        });
        sealed.collect()
    }

    /// Returns the log's counters.
    pub fn stats(&self) -> JournalStats {
        let shared = &self.inner.shared;
        let mut stats = shared.counters.stats();
        let queue = lock(&shared.queue);
        (stats.queue_bytes, stats.room_bytes) = (queue.cost, queue.room(&shared.bounds));
        drop(queue);
        stats.bytes = shared.allocated_bytes();
        stats.segments = lock(&shared.segments).len() as u64;
        stats.tail_bytes = lock(&shared.tail).bytes() as u64;
        stats
    }

    /// Refuses further appends, makes what is queued durable and waits for the writer. The lock goes with the last
    /// clone of the handle.
    pub fn close(self) {
        self.inner.stop();
    }
}

impl Inner {
    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(body)?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    fn stop(&self) {
        let mut queue = lock(&self.shared.queue);
        if queue.phase == Phase::Open {
            queue.phase = Phase::Closing;
        }
        drop(queue);
        self.shared.queued.notify_one();
        self.shared.spare.stop();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a journal thread panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    pub(crate) fn start(&self) -> Offset {
        lock(&self.segments).front().map_or(Offset::ZERO, |oldest| oldest.base)
    }

    /// Returns the segment that holds the offset, or will.
    pub(crate) fn segment_of(&self, offset: Offset) -> Option<Arc<Segment>> {
        let segments = lock(&self.segments);
        let after = segments.partition_point(|segment| segment.base <= offset);
        after.checked_sub(1).and_then(|at| segments.get(at)).cloned()
    }

    /// Bytes of all segment files and of the spare.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        let segments: u64 = lock(&self.segments).iter().map(|s| s.bytes.load(Ordering::Relaxed)).sum();
        let spare = if self.spare.is_ready() { self.bounds.segment_bytes } else { 0 };
        segments + spare
    }
}

/// Locks; the data behind our locks is never left half changed, so a panicked holder is no reason to stop.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock, unix microseconds.
pub(crate) fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
