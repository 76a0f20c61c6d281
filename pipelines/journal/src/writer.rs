//! The writer thread: takes what is queued, seals it, writes it once, syncs it once, publishes it.
//!
//! No lingering for one: a lone record is synced at once, and while a sync runs the next batch gathers. Under load
//! syncs keep a least distance ([`crate::pace`]), so that a fast disk does not turn each handful of records into a sync.
//! Any failed write or sync ends the thread and poisons the log; nothing is tried twice.

use crate::admission::Phase;
use crate::durable::DurablePublisher;
use crate::format::{
    BATCH_OVERHEAD_BYTES, BatchBuilder, FormatError, RECORD_HEADER_BYTES, SEALS_PER_KEY_MAX,
    SEGMENT_HEADER_BYTES, SegmentCipher, SegmentHeader, segment_name,
};
use crate::journal::{Shared, lock, now_us};
use crate::keys::DataKey;
use crate::options::{Bounds, SEGMENT_BYTES_MIN};
use crate::pace::Pacer;
use crate::recovery::{Recovered, Segment};
use crate::spare::SPARE_NAME;
use crate::stats::Counters;
use crate::storage::{LogFile, Storage};
use crate::{Entry, KeyError, KeyId, KeyProvider, KeyPurpose, Offset, OpenError, Record};
use ring::aead::LessSafeKey;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Largest queue buffer, records, that is kept for the next batch.
const KEPT_RECORDS_MAX: usize = 64 * 1024;

/// Ends the writer.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("an admitted record found no allocated segment")]
    NoSpare,
}

/// The data key of this process epoch and how much of it is used.
struct Epoch {
    keys: Arc<dyn KeyProvider>,
    master: KeyId,
    wrapped: Vec<u8>,
    key: Arc<LessSafeKey>,
    segments: u32,
    seals: u64,
}

/// The active segment and the key epoch that the writer starts with.
pub(crate) struct Start {
    pub(crate) segment: Arc<Segment>,
    file: Box<dyn LogFile>,
    pub(crate) file_bytes: u64,
    epoch: Epoch,
    next: Offset,
    max_time_us: i64,
}

/// The thread's state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    publisher: DurablePublisher,
    epoch: Epoch,
    segment: Arc<Segment>,
    file: Box<dyn LogFile>,
    /// Size of the active segment's file.
    file_bytes: u64,
    position: u64,
    counter: u64,
    next: Offset,
    max_time_us: i64,
    pending: VecDeque<Record>,
    builder: BatchBuilder,
    pacer: Pacer,
    /// When the next batch may be taken; `None` at once.
    not_before: Option<Instant>,
}

impl Writer {
    /// Makes the first segment of this process and its data key.
    pub(crate) fn start(
        bounds: &Bounds,
        storage: &dyn Storage,
        keys: Arc<dyn KeyProvider>,
        recovered: &Recovered,
    ) -> Result<Start, OpenError> {
        let mut epoch = Epoch::new(keys)?;
        let file = first_file(bounds, storage, recovered)?;
        let file_bytes = file.bytes()?;
        let segment =
            activate(storage, &*file, file_bytes, &mut epoch, recovered.next).map_err(
                |error| match error {
                    WriteError::Io(error) => OpenError::Io(error),
                    WriteError::Key(error) => OpenError::Key(error),
                    other => OpenError::Io(io::Error::other(other)),
                },
            )?;
        Ok(Start {
            segment,
            file,
            file_bytes,
            epoch,
            next: recovered.next,
            max_time_us: recovered.max_time_us,
        })
    }

    pub(crate) fn new(shared: Arc<Shared>, start: Start, publisher: DurablePublisher) -> Self {
        Self {
            shared,
            publisher,
            epoch: start.epoch,
            segment: start.segment,
            file: start.file,
            file_bytes: start.file_bytes,
            position: SEGMENT_HEADER_BYTES as u64,
            counter: 0,
            next: start.next,
            max_time_us: start.max_time_us,
            pending: VecDeque::new(),
            builder: BatchBuilder::default(),
            pacer: Pacer::default(),
            not_before: None,
        }
    }

    /// Runs until the log is closed or fails.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.write_until_closed() {
            self.fail();
            tracing::error!(%error, durable_end = %self.next, "the journal has failed, it takes nothing more");
        }
    }

    fn fail(&self) {
        let mut queue = lock(&self.shared.queue);
        queue.phase = Phase::Failed;
        queue.records = VecDeque::new();
        drop(queue);
        self.publisher.fail();
        lock(&self.shared.stamps).close();
    }

    fn write_until_closed(&mut self) -> Result<(), WriteError> {
        while self.take_queued() {
            while !self.pending.is_empty() {
                if self.gather() == 0 {
                    self.roll()?;
                } else {
                    self.commit()?;
                }
            }
        }
        self.end_segment()
    }

    /// Waits for records and takes all; false when the log is closed and drained.
    fn take_queued(&mut self) -> bool {
        if self.pending.capacity() > KEPT_RECORDS_MAX {
            self.pending = VecDeque::new();
        }
        self.keep_pace();
        let mut queue = lock(&self.shared.queue);
        while queue.records.is_empty() {
            if queue.phase != Phase::Open {
                return false;
            }
            queue.writer_sleeps = true;
            queue = self.shared.queued.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.writer_sleeps = false;
        std::mem::swap(&mut queue.records, &mut self.pending);
        true
    }

    /// Lets records gather while many come; a lone one never waits here.
    fn keep_pace(&mut self) {
        let Some(not_before) = self.not_before.take() else { return };
        let left = not_before.saturating_duration_since(Instant::now());
        if !left.is_zero() && lock(&self.shared.queue).phase == Phase::Open {
            std::thread::sleep(left);
        }
    }

    /// Puts the pending records that fit into a batch; returns their number.
    fn gather(&mut self) -> usize {
        let room = self.room().min((self.shared.bounds.batch_bytes_max + BATCH_OVERHEAD_BYTES) as u64);
        self.builder.begin();
        let mut count = 0;
        for record in &self.pending {
            let with = self.builder.batch_bytes() + RECORD_HEADER_BYTES + record.payload.len();
            if with as u64 > room {
                break;
            }
            self.builder.push(record);
            count += 1;
        }
        count
    }

    /// Seals, writes and syncs the gathered batch, then publishes it.
    fn commit(&mut self) -> Result<(), WriteError> {
        let count = self.builder.count();
        self.max_time_us = lock(&self.shared.stamps).open();
        self.epoch.spend()?;
        let batch = self.builder.finish(&self.segment.cipher, self.next, self.max_time_us, self.counter)?;
        let batch_bytes = batch.len() as u64;
        let whole_pages = self.builder.with_whole_pages(self.position, self.file_bytes);
        self.file.write_all_at(whole_pages, self.position)?;
        let started = Instant::now();
        self.file.sync_data()?;
        let sync_us = started.elapsed().as_micros() as u64;
        self.not_before = self.pacer.note(started, count);
        self.position += batch_bytes;
        self.counter += 1;
        // Counted first: who is told of a record finds its batch in the counters.
        self.shared.counters.count_batch(u64::from(count), batch_bytes, sync_us);
        self.release(count);
        Ok(())
    }

    /// Hands the durable records to the readers, gives their cost back, and moves the durable end.
    fn release(&mut self, count: u32) {
        let mut cost = 0;
        let mut entries = Vec::with_capacity(count as usize);
        for record in self.pending.drain(..count as usize) {
            cost += Bounds::cost(record.payload.len());
            let Record { partition, class, payload } = record;
            entries.push(Entry { offset: self.next, time_us: self.max_time_us, partition, class, payload });
            self.next = self.next.next();
        }
        let evicted = lock(&self.shared.tail).push(entries);
        self.publisher.publish(self.next);
        lock(&self.shared.stamps).close();
        let room = self.room();
        let mut queue = lock(&self.shared.queue);
        queue.cost -= cost;
        queue.active_room = room;
        drop(queue);
        drop(evicted);
    }

    /// Bytes that batches may still take in the active segment; the end batch's place is kept.
    fn room(&self) -> u64 {
        self.file_bytes - self.position - BATCH_OVERHEAD_BYTES as u64
    }

    /// Seals the active segment and goes on in the spare.
    fn roll(&mut self) -> Result<(), WriteError> {
        let is_empty = self.counter == 0;
        if is_empty && self.file_bytes == self.shared.bounds.segment_bytes {
            return Err(WriteError::NoSpare);
        }
        let spare = self.shared.spare.take().ok_or(WriteError::NoSpare)?;
        if !is_empty {
            self.end_segment()?;
        }
        let (shared, bounds) = (&self.shared, &self.shared.bounds);
        let bytes = bounds.segment_bytes;
        let segment = activate(&*shared.storage, &*spare, bytes, &mut self.epoch, self.next)?;
        let mut segments = lock(&shared.segments);
        if is_empty {
            // A small first segment that the record did not fit: the new one has taken its name.
            segments.pop_back();
        }
        segments.push_back(segment.clone());
        drop(segments);
        (self.segment, self.file, self.file_bytes) = (segment, spare, bytes);
        (self.position, self.counter) = (SEGMENT_HEADER_BYTES as u64, 0);
        let mut queue = lock(&self.shared.queue);
        (queue.active_room, queue.spare_room) = (bounds.segment_room(), 0);
        drop(queue);
        self.shared.spare.activated();
        Ok(())
    }

    /// Ends the active segment durably and cuts what was preallocated behind.
    fn end_segment(&mut self) -> Result<(), WriteError> {
        let end = self.builder.end(&self.segment.cipher, self.next, self.max_time_us)?;
        self.file.write_all_at(end, self.position)?;
        self.file.sync_data()?;
        Counters::add(&self.shared.counters.syncs, 1);
        let bytes = self.position + end.len() as u64;
        // Not synced: should the cut be lost, zeros follow the end batch, and nobody reads past it.
        self.file.truncate(bytes)?;
        if self.counter > 0 {
            self.segment.seal(self.next, bytes);
        }
        Ok(())
    }
}

impl Drop for Writer {
    /// Covers a panic of the thread: a log without a writer takes nothing more.
    fn drop(&mut self) {
        let is_open = lock(&self.shared.queue).phase == Phase::Open;
        if is_open {
            self.fail();
        }
    }
}

impl Epoch {
    fn new(keys: Arc<dyn KeyProvider>) -> Result<Self, KeyError> {
        let DataKey { master, wrapped, cipher } = DataKey::generate(&*keys, KeyPurpose::Journal, None)?;
        Ok(Self { keys, master, wrapped, key: Arc::new(cipher), segments: 0, seals: 0 })
    }

    /// Counts a seal against the data key's budget.
    fn spend(&mut self) -> Result<(), FormatError> {
        self.seals += 1;
        if self.seals > SEALS_PER_KEY_MAX { Err(FormatError::Budget) } else { Ok(()) }
    }

    /// Returns the header and cipher of the next segment, under a fresh data key when half the budget is spent.
    fn next_segment(&mut self, base: Offset) -> Result<(SegmentHeader, SegmentCipher), KeyError> {
        if self.seals > SEALS_PER_KEY_MAX / 2 || self.segments == u32::MAX {
            *self = Self::new(self.keys.clone())?;
        }
        let nonce_prefix = self.segments;
        self.segments += 1;
        let header = SegmentHeader {
            base,
            created_at_us: now_us(),
            nonce_prefix,
            master: self.master.clone(),
            wrapped: self.wrapped.clone(),
        };
        Ok((header, SegmentCipher::new(self.key.clone(), base, nonce_prefix)))
    }
}

/// Turns a preallocated file into the segment at `base`: header, sync, final name, sync of the folder. So a file with
/// a segment's name always has a whole header.
fn activate(
    storage: &dyn Storage,
    file: &dyn LogFile,
    file_bytes: u64,
    epoch: &mut Epoch,
    base: Offset,
) -> Result<Arc<Segment>, WriteError> {
    let (header, cipher) = epoch.next_segment(base)?;
    file.write_all_at(&header.encode()?, 0)?;
    file.sync_data()?;
    storage.rename(SPARE_NAME, &segment_name(base))?;
    storage.sync_dir()?;
    Ok(Arc::new(Segment::active(base, file_bytes, cipher)))
}

/// Returns the spare of the former process when it is whole and unused, or makes a file. At the log's bound or the disk
/// reserve the file is of the smallest size: a full log must open, or it could never be drained.
fn first_file(
    bounds: &Bounds,
    storage: &dyn Storage,
    recovered: &Recovered,
) -> Result<Box<dyn LogFile>, OpenError> {
    if recovered.has_spare {
        let file = storage.open(SPARE_NAME)?;
        let mut head = [0; SEGMENT_HEADER_BYTES];
        let is_whole = file.bytes()? == bounds.segment_bytes && file.read_at(&mut head, 0)? == head.len();
        if is_whole && head == [0; SEGMENT_HEADER_BYTES] {
            return Ok(file);
        }
        drop(file);
        storage.remove(SPARE_NAME)?;
    }
    let sealed: u64 =
        recovered.segments.iter().map(|s| s.bytes.load(std::sync::atomic::Ordering::Relaxed)).sum();
    let fits = sealed + bounds.segment_bytes <= bounds.total_bytes_max;
    let fits = fits && storage.free_bytes()? >= bounds.segment_bytes + bounds.reserve_bytes;
    match storage.create(SPARE_NAME, if fits { bounds.segment_bytes } else { SEGMENT_BYTES_MIN }) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(OpenError::NoSpace),
        created => Ok(created?),
    }
}
