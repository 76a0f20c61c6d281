//! The sealed spool: one durable log per lane, the only queue between device and gateway.
//!
//! ```text
//! spool.json             whose spool, since when (the epoch of every frame)
//! keyring.json           the agent's own keys, 0600
//! acked                  per lane: first offset that is not settled (a hint, see `watermark`)
//!                        what lies below it stays a while, to be sent again when the gateway asks (see `kept`)
//! alarm/ events/ numerics/ waveforms/     one log each; a frame's seq is its record's offset + 1
//! refused/               frames that the gateway refused for good, kept for a person to look at
//! ```
//!
//! **What makes a reading arrive once.** A link message is acknowledged to the device only when its records are
//! durable here. When the agent is killed between the two, the device sends the message again to the next start
//! of the agent, which must know that it has it. So every record carries the link position that it came from, and
//! [`Spool::open`] reads them back: the newest record of each lane says up to where that lane has the device's
//! messages. It is kept *per lane* because the lanes become durable independently: after a crash message 9
//! (numerics) may be missing while message 10 (alarm) is there, and only 10 may be skipped. Within a lane the log
//! is a prefix of what was appended, so one number per lane is exact. Retention never takes a lane's newest record,
//! so the number is there even when everything has been sent and acknowledged.
//!
//! **Invariant:** nothing here is dropped without a record of it (LIM-1), and nothing is readable at rest (SEC-3).
//! A tombstone takes the place, and so the seq, of a frame that policy dropped.

#[cfg(test)]
mod disk_tests;
mod durable_file;
mod kept;
mod lane;
mod meta;
mod open;
mod policy;
pub(crate) mod record;
mod refused;
#[cfg(test)]
mod tests;
mod watch;
mod watermark;

pub(crate) use durable_file::{replace, replace_volatile};
pub(crate) use kept::KeepOptions;
pub(crate) use lane::Part;
pub(crate) use watch::LaneWatches;

use crate::clock::now_us;
use crate::lanes::{LANES, LaneIndex};
use crate::stats::Counters;
use kept::{Kept, LaneRoom};
use lane::LaneLog;
use policy::Policy;
use record::{Content, LinkPosition, Spooled};
use refused::RefusedLog;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wardline_journal::{
    AppendError, DiskStorage, DurableState, DurableWatch, KeyError, OpenError, ReadError, Reader, Storage,
};
use wardline_proto::PartitionId;
use wardline_proto::v1::Clock;

/// Where the spool lies and how much it may hold.
#[derive(Debug, Clone)]
pub(crate) struct SpoolOptions {
    pub(crate) dir: PathBuf,
    pub(crate) bytes_max: u64,
    /// How long what is settled stays.
    pub(crate) keep: KeepOptions,
    /// Makes the storage of a lane's folder.
    pub(crate) storage: fn(&Path) -> Arc<dyn Storage>,
}

impl SpoolOptions {
    /// A spool on disk.
    pub(crate) fn on_disk(dir: &Path, bytes_max: u64) -> Self {
        let keep = KeepOptions::default();
        Self { dir: dir.to_path_buf(), bytes_max, keep, storage: |dir| Arc::new(DiskStorage::new(dir)) }
    }
}

/// Says why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file could not be read or written.
    #[error("spool files: {0}")]
    Io(#[from] io::Error),
    /// The spool does not fit itself. It is evidence: move it away and report it.
    #[error("the spool is damaged: {0}; move the folder away to start a new one")]
    Damaged(&'static str),
    /// The spool holds another device's frames.
    #[error(
        "the spool belongs to {owner}, the certificate to {certificate}; give each device its own folder"
    )]
    OtherDevice {
        /// Whose frames it holds.
        owner: String,
        /// Whose certificate was given.
        certificate: String,
    },
    /// The system clock stands before 1970.
    #[error("the system clock is not set")]
    ClockBeforeEpoch,
    /// The agent's keyring cannot be used.
    #[error("spool key: {0}")]
    Key(#[from] KeyError),
    /// A lane's log cannot be opened.
    #[error("spool log {lane}: {error}")]
    Open {
        /// Name of the lane.
        lane: &'static str,
        /// What is wrong with it.
        error: OpenError,
    },
    /// A lane's log cannot be read.
    #[error("spool log: {0}")]
    Read(#[from] ReadError),
    /// A log failed; the agent must be started again.
    #[error("a spool log failed and takes nothing more")]
    Failed,
}

/// Why a message was not put into the spool.
#[derive(Debug)]
pub(crate) enum PutError {
    /// No room now. Try again when something became durable or was acknowledged.
    Full,
    /// The log takes nothing more.
    Failed,
}

/// How a full log is taken for lanes that policy may drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Wait for room.
    Wait,
    /// Waited long enough: leave a tombstone.
    Drop,
}

/// Up to where each lane must be durable for something to be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark([u64; LANES]);

impl Mark {
    fn raise(&mut self, lane: LaneIndex, end: u64) {
        let needed = &mut self.0[lane.get()];
        *needed = (*needed).max(end);
    }
}

/// Proof that everything below a [`Mark`] is durable. Only [`Spool::prove`] makes one.
#[derive(Debug)]
pub(crate) struct DurableMark(());

/// Where the device's messages and the logs stand.
#[derive(Debug, Default)]
struct Intake {
    /// Newest link position per lane.
    newest: [LinkPosition; LANES],
    /// End of each lane's log, durable or not.
    end: [u64; LANES],
}

/// What the keeper did last.
#[derive(Debug)]
struct Saved {
    marks: watermark::Watermarks,
    kept: Kept,
    /// How often each log had refused for want of room.
    refused: [u64; LANES],
}

/// The spool of one device.
pub(crate) struct Spool {
    dir: PathBuf,
    epoch: u64,
    partition: PartitionId,
    policy: Policy,
    lanes: [LaneLog; LANES],
    intake: Mutex<Intake>,
    settled: [AtomicU64; LANES],
    saved: Mutex<Saved>,
    held_bytes: AtomicU64,
    refused: RefusedLog,
    counters: Arc<Counters>,
}

impl Spool {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Appends the parts of one link message, each to its lane's log, and says what must become durable before the
    /// message may be acknowledged. What a lane already has is skipped. Never blocks on IO; safe to repeat.
    pub(crate) fn put(
        &self,
        origin: LinkPosition,
        taken_at_us: i64,
        clock: &Clock,
        parts: &[Part],
        patience: Patience,
    ) -> Result<Mark, PutError> {
        let mut intake = self.intake();
        let mut mark = Mark::default();
        for part in parts {
            let place = part.lane.get();
            let known = !origin.is_agents_own() && origin.is_at_or_below(intake.newest[place]);
            if known {
                self.counters.duplicates.add(1);
            } else {
                intake.end[place] = self.put_part(origin, taken_at_us, clock, part, patience)? + 1;
                if !origin.is_agents_own() {
                    intake.newest[place] = origin;
                }
            }
            mark.raise(part.lane, intake.end[place]);
        }
        Ok(mark)
    }

    fn put_part(
        &self,
        origin: LinkPosition,
        taken_at_us: i64,
        clock: &Clock,
        part: &Part,
        patience: Patience,
    ) -> Result<u64, PutError> {
        let content = Content::Frame { clock: *clock, encoding: part.encoding, body: part.body.clone() };
        let frame = Spooled { origin, taken_at_us, content }.encode();
        let log = &self.lanes[part.lane.get()];
        let counters = self.counters.lane(part.lane);
        let held = self.held_bytes.load(Ordering::Relaxed);
        if self.policy.keeps(part.lane, held, frame.len() as u64) {
            let bytes = frame.len() as u64;
            match log.append(frame, self.partition) {
                Ok(offset) => {
                    self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
                    counters.framed.add(1);
                    counters.spooled.add(1);
                    return Ok(offset);
                }
                Err(AppendError::Full(_)) if patience == Patience::Drop && Policy::may_drop(part.lane) => {}
                Err(AppendError::TooLarge(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let tombstone = Spooled { origin, taken_at_us, content: Content::Tombstone }.encode();
        let offset = log.append_tombstone(tombstone, self.partition)?;
        counters.framed.add(1);
        counters.dropped.add(1);
        Ok(offset)
    }

    /// Says whether everything below `mark` is durable.
    pub(crate) fn prove(&self, mark: &Mark) -> Option<DurableMark> {
        let durable = self.lanes.iter().zip(mark.0).all(|(log, needed)| log.durable_end() >= needed);
        durable.then_some(DurableMark(()))
    }

    /// Returns a watch of a lane's durable end.
    pub(crate) fn watch(&self, lane: LaneIndex) -> DurableWatch {
        self.lanes[lane.get()].journal.durable()
    }

    /// First offset of `lane` that is not durable.
    pub(crate) fn durable_end(&self, lane: LaneIndex) -> u64 {
        self.lanes[lane.get()].durable_end()
    }

    /// Reads a lane's log from its first unsettled record.
    pub(crate) fn reader(&self, lane: LaneIndex) -> Result<Reader, ReadError> {
        self.lanes[lane.get()].reader(self.settled_below(lane))
    }

    /// Reads a lane's log from any offset that it holds.
    pub(crate) fn reader_from(&self, lane: LaneIndex, from: u64) -> Result<Reader, ReadError> {
        self.lanes[lane.get()].reader(from)
    }

    /// Says whether any log has failed: the agent must stop.
    pub(crate) fn has_failed(&self) -> bool {
        self.lanes.iter().any(|log| matches!(log.journal.durable().current(), DurableState::Failed))
    }

    /// First offset of `lane` that is not settled.
    pub(crate) fn settled_below(&self, lane: LaneIndex) -> u64 {
        self.settled[lane.get()].load(Ordering::Acquire)
    }

    /// Notes that everything of `lane` below `watermark` is settled, `bytes` of frames among it.
    pub(crate) fn settle(&self, lane: LaneIndex, watermark: u64, bytes: u64) {
        self.settled[lane.get()].fetch_max(watermark, Ordering::AcqRel);
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _previous = self.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Saves the watermarks when they moved, and drops what lies below them and is not kept. Blocks on IO. A disk that
    /// is too full for the one still lets go of the other, or it would stay full; the error comes after all was tried.
    pub(crate) fn save_progress(&self) -> Result<(), SpoolError> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = LaneIndex::ALL.map(|lane| self.settled_below(lane));
        let mut done = Ok(());
        if saved.marks != marks {
            match watermark::save(&self.dir, self.epoch, &marks) {
                Ok(()) => saved.marks = marks,
                Err(error) => done = Err(error.into()),
            }
        }
        // Also what is settled and could not be saved: where a log begins says as much.
        let Saved { kept, refused, .. } = &mut *saved;
        let now_us = now_us();
        // All have one disk: what one wants, all give.
        let mut is_squeezed = false;
        for (log, refused) in self.lanes.iter().zip(refused) {
            is_squeezed |= log.is_squeezed(refused);
        }
        let mut rooms: [LaneRoom; LANES] = Default::default();
        for (lane, log) in self.lanes.iter().enumerate() {
            kept.note(lane, marks[lane], now_us);
            rooms[lane] = log.room(marks[lane], is_squeezed);
        }
        let floors = kept.floors(&marks, &rooms, now_us);
        for (log, floor) in self.lanes.iter().zip(floors) {
            if floor > log.start() {
                done = log.drop_below(floor).and(done);
            }
        }
        done
    }

    /// Keeps a frame that the gateway refused for good. Blocks until it is durable.
    pub(crate) fn keep_refused(&self, lane: LaneIndex, reason: u8, frame: &[u8]) -> Result<(), SpoolError> {
        self.refused.keep(&self.dir, lane, reason, frame, self.partition)
    }

    /// Drains and closes the logs. Blocks on IO.
    pub(crate) fn close(&self) -> Result<(), SpoolError> {
        let saved = self.save_progress();
        for log in &self.lanes {
            log.journal.clone().close();
        }
        self.refused.close();
        saved
    }

    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<AppendError> for PutError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full(_) => Self::Full,
            AppendError::Failed | AppendError::Closed | AppendError::TooLarge(_) => Self::Failed,
        }
    }
}
