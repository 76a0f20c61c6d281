//! A journal's way onto the bus: every durable record is numbered, sealed, published, and kept until it is confirmed.
//!
//! ```text
//! journal ─read─► Relay ─seal─► Bus ─► committed ─► Replicated
//!    ▲ retain        ▲
//!    └── trimmed ────┴── Notice: confirmed by every role, or wanted again
//! ```
//!
//! Crash: what the engine has of it is published again under the same names and numbers, from [`RelayCheckpoint`].
//! **Invariant:** the journal is trimmed only behind a saved checkpoint, and only below what was confirmed.

mod cache;
mod kept;

use crate::body;
use crate::engine::{Outgoing, Position};
use crate::error::BusError;
use crate::feed::stopped;
use crate::flow::{Relay, Resend, Send};
use crate::record::{Content, FrontId, Number, Record};
use crate::supervise::Bus;
use cache::Cache;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use wardline_journal::{DurableWatch, Journal, KeyError, Offset, ReadError, RetainError, Sealer};
use wardline_proto::PartitionId;

/// How often partitions that have moved are marked; the others every [`MARKS_PER_TURN`]th time.
const MARK: Duration = Duration::from_millis(500);
const MARKS_PER_TURN: u32 = 8;
/// Every so many marks the journal is trimmed.
const MARKS_PER_TRIM: u32 = 4;
/// How long a stop waits for the engine to commit what is durable.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Why an outlet cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// The journal does not read.
    #[error("journal: {0}")]
    Read(#[from] ReadError),
    /// The journal was not trimmed.
    #[error("journal: {0}")]
    Retain(#[from] RetainError),
    /// Nothing can be sealed.
    #[error("keys: {0}")]
    Key(#[from] KeyError),
    /// The checkpoint was not read or written.
    #[error("relay checkpoint: {0}")]
    Io(#[from] std::io::Error),
    /// A background step was cancelled or panicked.
    #[error("a background step did not finish: {0}")]
    Join(#[from] tokio::task::JoinError),
    /// The bus will not take a record, now or later.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What all roles have confirmed of a partition: everything below a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// The partition.
    pub partition: PartitionId,
    /// The first number that is not confirmed.
    pub below: Number,
}

/// What workers tell a front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Records are missing.
    Wanted(Resend),
    /// Records are worked on, by every role.
    Confirmed(Confirmed),
}

/// Counts of an outlet.
#[derive(Debug, Default)]
pub struct OutletStats {
    waiting: AtomicU64,
    resent: AtomicU64,
    committed: AtomicU64,
}

impl OutletStats {
    /// Returns records that wait to be confirmed, records published again because they were missed, and records that
    /// the engine committed.
    pub fn counts(&self) -> [u64; 3] {
        [&self.waiting, &self.resent, &self.committed].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Follows how far each partition of a journal is committed by the engine.
#[derive(Debug, Clone)]
pub struct Replicated(watch::Receiver<Arc<[Offset]>>);

impl Replicated {
    /// Returns the offset below which the engine has committed every record of a partition of the bus.
    pub fn below(&self, partition: PartitionId) -> Offset {
        self.0.borrow().get(usize::from(partition.get())).copied().unwrap_or(Offset::ZERO)
    }

    /// Waits until more is committed; `false` when the outlet has ended.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

type Answer = (PartitionId, Number, Result<Position, BusError>);

/// Publishes a journal.
pub struct Outlet {
    journal: Journal,
    durable: DurableWatch,
    path: PathBuf,
    front: FrontId,
    partitions: u16,
    bus: Bus,
    sealer: Arc<Sealer>,
    relay: Relay,
    cache: Cache,
    answers: JoinSet<Answer>,
    replicated: watch::Sender<Arc<[Offset]>>,
    stats: Arc<OutletStats>,
    marked: Vec<Option<Number>>,
    marks: u32,
}

impl Outlet {
    /// Goes on from the checkpoint at `path`, or begins with a journal that has none. Blocks on the disk.
    pub fn open(
        journal: Journal,
        path: PathBuf,
        (bus, partitions): (Bus, u16),
        sealer: Arc<Sealer>,
    ) -> Result<Self, OutletError> {
        let (front, checkpoint) = kept::load_or_begin(&path, journal.start(), journal.durable_end())?;
        let relay = Relay::resume(front, &checkpoint);
        let below: Arc<[Offset]> = (0..partitions).map(|_| checkpoint.from).collect();
        Ok(Self {
            durable: journal.durable(),
            cache: Cache::new(journal.clone()),
            journal,
            path,
            front,
            partitions,
            bus,
            sealer,
            relay,
            answers: JoinSet::new(),
            replicated: watch::Sender::new(below),
            stats: Arc::default(),
            marked: vec![None; usize::from(partitions)],
            // A name of before a restart would be dropped by the engine.
            marks: u32::try_from(unix_seconds() % u64::from(u32::MAX / 8)).unwrap_or_default() * 4,
        })
    }

    /// Returns the name of the journal on the bus.
    pub fn front(&self) -> FrontId {
        self.front
    }

    /// Follows what the engine has committed.
    pub fn replicated(&self) -> Replicated {
        Replicated(self.replicated.subscribe())
    }

    /// Returns its counts.
    pub fn stats(&self) -> Arc<OutletStats> {
        self.stats.clone()
    }

    /// Publishes until it is told to stop, and then for a while what is durable already.
    pub async fn run(
        mut self,
        mut notices: mpsc::Receiver<Notice>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), OutletError> {
        let mut tick = interval(MARK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ends_at = None::<Instant>;
        loop {
            let more = self.advance().await?;
            let drained = !more && self.relay.is_sent();
            if ends_at.is_some_and(|at| drained || Instant::now() >= at) {
                return Ok(());
            }
            tokio::select! {
                () = stopped(&mut stop), if ends_at.is_none() => {
                    ends_at = Some(Instant::now() + DRAIN_MAX);
                }
                _grown = self.durable.next(), if !more && ends_at.is_none() => {}
                Some(answer) = self.answers.join_next() => self.answered(answer?),
                Some(notice) = notices.recv() => self.noticed(&notice),
                _at = tick.tick() => self.turn().await?,
                () = std::future::ready(()), if more => {}
            }
            while let Some(answer) = self.answers.try_join_next() {
                self.answered(answer?);
            }
            self.tell();
        }
    }

    /// Reads once, publishes what there is room for. `true` when the journal has more.
    async fn advance(&mut self) -> Result<bool, OutletError> {
        let mut more = false;
        if self.relay.read() < self.journal.durable_end() {
            let entries = self.cache.read(self.relay.read()).await?;
            more = !entries.is_empty();
            for (offset, partition) in entries {
                let partition = PartitionId::new(partition.get() % self.partitions).unwrap_or_default();
                if self.relay.take(offset, partition).is_err() {
                    more = false;
                    break;
                }
            }
        }
        while let Some(send) = self.relay.send() {
            self.publish(send).await?;
        }
        Ok(more)
    }

    async fn publish(&mut self, send: Send) -> Result<(), OutletError> {
        let Send { partition, n, offset, resend } = send;
        let entry = self.cache.entry(offset).await?;
        let body = body::seal(&self.sealer, (self.front, partition, n), &entry)?;
        let record = Record { front: self.front, partition, n, content: Content::Body(body) };
        if resend > 0 {
            self.stats.resent.fetch_add(1, Ordering::Relaxed);
        }
        let committed = self.bus.submit(&Outgoing { record, resend }).await?;
        self.answers.spawn(async move { (partition, n, committed.position().await) });
        Ok(())
    }

    fn answered(&mut self, (partition, n, result): Answer) {
        match result {
            Ok(_position) => {
                self.stats.committed.fetch_add(1, Ordering::Relaxed);
                self.relay.committed(partition, n);
            }
            // Whatever it was: the record is in the journal, and goes again. The bus pauses and tells.
            Err(_error) => self.relay.failed(partition, n),
        }
    }

    fn noticed(&mut self, notice: &Notice) {
        let known = match notice {
            Notice::Wanted(resend) => self.relay.resend(resend).map(|resumed| {
                tracing::info!(?resend, ?resumed, "records are published again");
            }),
            Notice::Confirmed(Confirmed { partition, below }) => self.relay.confirmed(*partition, *below),
        };
        // What was confirmed before a restart is read again first.
        if let Err(error) = known
            && self.relay.read() >= self.journal.durable_end()
        {
            tracing::error!(%error, ?notice, "a worker speaks of a number of another log");
        }
    }

    /// Tells how far the engine has committed.
    fn tell(&self) {
        let partitions = (0..self.partitions).filter_map(PartitionId::new);
        let below: Arc<[Offset]> = partitions.map(|p| self.relay.replicated(p)).collect();
        self.replicated.send_if_modified(|told| {
            let moved = *told != below;
            *told = below;
            moved
        });
        self.stats.waiting.store(self.relay.waiting() as u64, Ordering::Relaxed);
    }

    async fn turn(&mut self) -> Result<(), OutletError> {
        self.marks = self.marks.wrapping_add(1);
        let all = self.marks.is_multiple_of(MARKS_PER_TURN);
        let marks: Vec<_> = self.relay.marks().collect();
        for (partition, n) in marks {
            let Some(marked) = self.marked.get_mut(usize::from(partition.get())) else { continue };
            if all || *marked != Some(n) {
                *marked = Some(n);
                let record = Record { front: self.front, partition, n, content: Content::Mark };
                // The next one says the same.
                let _committed = self.bus.submit(&Outgoing { record, resend: self.marks }).await?;
            }
        }
        if self.marks.is_multiple_of(MARKS_PER_TRIM) {
            // A full disk may be why the checkpoint is not written, and what is trimmed is what frees it: once more
            // later, while records still go out.
            match self.trim().await {
                Err(OutletError::Io(error)) => {
                    tracing::error!(%error, "the relay's checkpoint is not written; the journal keeps what it has");
                }
                trimmed => trimmed?,
            }
        }
        Ok(())
    }

    async fn trim(&mut self) -> Result<(), OutletError> {
        let trim = self.relay.trim();
        if trim.below <= self.journal.start() {
            return Ok(());
        }
        let (path, front, journal) = (self.path.clone(), self.front, self.journal.clone());
        let work = move || {
            kept::save(&path, front, &trim.checkpoint)?;
            Ok::<_, OutletError>(journal.retain_from(trim.below)?)
        };
        let segments = tokio::task::spawn_blocking(work).await??;
        if segments > 0 {
            tracing::debug!(segments, "journal segments dropped");
        }
        Ok(())
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outlet({} at {})", self.front, self.relay.read())
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::RelayCheckpoint;

    #[test]
    fn a_relay_checkpoint_of_a_journal_that_is_gone_is_another_front() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.ckpt");
        let (front, begun) = kept::load_or_begin(&path, Offset::ZERO, Offset::ZERO).unwrap();
        assert_eq!(begun, RelayCheckpoint::default());
        let mut checkpoint = RelayCheckpoint { from: Offset::new(40), ..RelayCheckpoint::default() };
        checkpoint.numbers.insert(PartitionId::new(3).unwrap(), Number::new(7).unwrap());
        kept::save(&path, front, &checkpoint).unwrap();
        let again = |start, end| kept::load_or_begin(&path, Offset::new(start), Offset::new(end)).unwrap();
        assert_eq!(again(40, 90), (front, checkpoint.clone()));
        assert_eq!(again(5, 40), (front, checkpoint));
        let (other, anew) = again(50, 90);
        assert!(other != front && anew.from == Offset::new(50), "what was dropped has no number");
        kept::save(&path, front, &RelayCheckpoint { from: Offset::new(40), ..anew }).unwrap();
        let (other, anew) = again(0, 39);
        assert!(other != front && anew.from == Offset::ZERO, "the journal was made anew");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(
            kept::load_or_begin(&path, Offset::ZERO, Offset::ZERO).is_err(),
            "a damaged one is no reason to guess"
        );
    }
}
