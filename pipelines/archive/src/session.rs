//! One run of the worker from the committed position to an error or the shutdown.

use crate::commit::{Outcome, write};
use crate::desk::Desk;
use crate::error::ArchiveError;
use crate::handle::Progress;
use crate::intake::{Arrival, ClockBounds, Intake};
use crate::pending::Pending;
use crate::profiles::Profiles;
use crate::replay;
use crate::shelf::Shelf;
use crate::streams::counts_of;
use crate::table::Table;
use crate::telling;
use crate::worker::{Parts, now_us, stopped};
use erasing::Erasing;
use holding::Holding;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use sweeping::Sweeping;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use wardline_journal::{Entries, Entry, Growth, KeyError, Offset};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

mod erasing;
pub(crate) mod holding;
mod merging;
mod sweeping;

/// Name, and additional data, of the sealed key that tags content.
pub(crate) const TAG_KEY: &str = "content-tag";
const TAG_KEY_BYTES: usize = 32;
/// Encoded bodies that are open at once. In memory they take up to eight times this: what is opened is taken while it
/// is still in the processor's cache.
const OPEN_BYTES_MAX: usize = 128 * 1024;
/// What has become durable is read this much later, so that small batches are read together.
const GATHER: Duration = Duration::from_millis(25);
/// A longest wait that is never reached in practice.
const IDLE: Duration = Duration::from_secs(3600);

/// One run.
pub(crate) struct Session<'a> {
    parts: &'a Parts,
    shelf: Arc<Shelf>,
    desk: Desk,
    intake: Intake,
    committed: u64,
    lease: u64,
    reader: Option<Box<dyn Entries>>,
    durable: Growth,
    journal_closed: bool,
    entries: VecDeque<Entry>,
    arrivals: VecDeque<Arrival>,
    waiting_since: Option<Instant>,
    merge_due: Instant,
    left: BTreeSet<String>,
    profiles: Profiles,
    erasing: Erasing,
    sweeping: Sweeping,
    holding: Holding,
    replayed_at: Instant,
    told_at: Instant,
}

impl<'a> Session<'a> {
    /// Runs until an error or the shutdown, with tenants that are to be held back.
    pub(crate) async fn run(
        parts: &'a Parts,
        refused: &BTreeSet<String>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), ArchiveError> {
        let mut session = Self::start(parts, refused).await?;
        loop {
            if *shutdown.borrow() || shutdown.has_changed().is_err() {
                return session.flush().await;
            }
            session.erase().await?;
            session.replay().await?;
            session.sweep().await?;
            session.take_back().await?;
            let caught_up = !session.step().await?;
            if session.must_flush(caught_up) {
                session.flush().await?;
                session.compact().await?;
                session.tell().await?;
            } else if caught_up {
                session.wait(shutdown).await;
            }
        }
    }

    async fn start(parts: &'a Parts, refused: &BTreeSet<String>) -> Result<Self, ArchiveError> {
        let shelf = Arc::new(Shelf::open(&parts.options, &parts.catalog).await?);
        parts.metrics.store_away.set(0);
        let lease = parts.catalog.begin(parts.source.start().get(), now_us()).await?;
        let committed = lease.next_offset;
        let position = Offset::new(committed);
        if position < parts.source.start() || position > parts.source.end() {
            return Err(ArchiveError::Position(position));
        }
        let sweeping = if parts.catalog.share().is_none() {
            sweep(parts, shelf.clone()).await?;
            Sweeping::Done
        } else {
            Sweeping::begin()
        };
        let desk = Desk::new(tag_key(parts).await?, committed);
        parts.progress.send_replace(progress(parts, position).await?);
        parts.metrics.next_offset.set(signed(committed));
        Ok(Self {
            shelf,
            desk,
            intake: Intake::new(ClockBounds::of(&parts.options)),
            committed,
            lease: lease.number,
            reader: Some(parts.source.entries(position)?),
            durable: parts.source.growth(),
            journal_closed: false,
            entries: VecDeque::new(),
            arrivals: VecDeque::new(),
            waiting_since: None,
            merge_due: Instant::now() + parts.options.compact_interval.unwrap_or(IDLE),
            left: BTreeSet::new(),
            profiles: Profiles::followed(&parts.store),
            erasing: Erasing::start(parts, lease.number).await?,
            sweeping,
            holding: Holding::start(parts, lease.number, refused).await?,
            replayed_at: Instant::now(),
            told_at: Instant::now(),
            parts,
        })
    }

    /// Reads, opens and takes some records. `false` when the journal has no more.
    async fn step(&mut self) -> Result<bool, ArchiveError> {
        if self.arrivals.is_empty() && !self.open_some().await? {
            return Ok(false);
        }
        let (catalog, epochs_max) = (&self.parts.catalog, self.parts.options.epochs_max);
        self.desk.load(self.arrivals.iter_mut(), catalog, epochs_max).await?;
        let (rows_max, bytes_max) = (self.parts.options.flush_rows_max, self.parts.options.flush_bytes_max);
        self.desk.take(&mut self.arrivals, |pending| is_full(pending, rows_max, bytes_max));
        self.waiting_since = self.waiting_since.or_else(|| Some(Instant::now()));
        Ok(true)
    }

    /// Opens records, read when none is at hand. `false` when the journal has no more.
    async fn open_some(&mut self) -> Result<bool, ArchiveError> {
        let read_bytes_max = self.parts.options.read_bytes_max;
        let fresh = Intake::new(ClockBounds::of(&self.parts.options));
        let mut intake = std::mem::replace(&mut self.intake, fresh);
        intake.reuse(&mut self.desk.used);
        let mut entries = std::mem::take(&mut self.entries);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let Some(mut reader) = self.reader.take() else { return Err(ArchiveError::Closed) };
        let held = self.holding.tenants.clone();
        let work = move || {
            if entries.is_empty() {
                entries.extend(reader.next_batch(read_bytes_max)?);
            }
            let mut open_bytes = 0;
            while open_bytes < OPEN_BYTES_MAX {
                let Some(entry) = entries.pop_front() else { break };
                let arrival = intake.read_or_hold(entry, &held);
                open_bytes += arrival.open_bytes();
                arrivals.push_back(arrival);
            }
            Ok::<_, ArchiveError>((reader, entries, arrivals, intake))
        };
        let (reader, entries, arrivals, intake) = spawn_blocking(work).await??;
        self.intake = intake;
        self.reader = Some(reader);
        self.entries = entries;
        self.arrivals = arrivals;
        let (store, poll) = (&self.parts.store, self.parts.options.profile_poll);
        self.profiles.judge(self.arrivals.iter_mut(), store, poll).await?;
        self.arrivals.iter_mut().for_each(|arrival| self.erasing.list.prune(&mut arrival.content));
        Ok(!self.arrivals.is_empty())
    }

    fn must_flush(&self, caught_up: bool) -> bool {
        let options = &self.parts.options;
        if self.desk.next_offset == self.committed {
            return false;
        }
        let wanted = self.parts.requests.flush_to();
        let asked = wanted > self.committed && (self.desk.next_offset >= wanted || caught_up);
        let due = self.waiting_since.is_some_and(|since| since.elapsed() >= options.flush_interval);
        asked || due || is_full(&self.desk.pending, options.flush_rows_max, options.flush_bytes_max)
    }

    /// Waits for more records, a wish, the time of the next commit, or the shutdown.
    async fn wait(&mut self, shutdown: &mut watch::Receiver<bool>) {
        let due =
            self.waiting_since.map_or(Instant::now() + IDLE, |at| at + self.parts.options.flush_interval);
        let due = due.min(self.replayed_at + self.parts.options.replay_poll);
        let due = due.min(self.erasing.due(self.parts.options.erasure_poll));
        let due = self.holding.due().map_or(due, |at| due.min(at));
        let closed = self.journal_closed;
        tokio::select! {
            () = stopped(shutdown) => {}
            () = self.parts.requests.asked.notified() => {}
            () = sleep_until(due) => {}
            more = self.durable.changed(), if !closed => match more {
                Ok(()) => sleep(GATHER).await,
                Err(_) => self.journal_closed = true,
            },
        }
        let behind = self.durable.end().get().saturating_sub(self.committed);
        self.parts.metrics.lag.set(signed(behind));
    }

    /// Judges frames of the quarantine again when it is time and somebody asked, and commits them.
    async fn replay(&mut self) -> Result<(), ArchiveError> {
        if self.replayed_at.elapsed() < self.parts.options.replay_poll {
            return Ok(());
        }
        let mut waiting = replay::waiting(self.parts, &self.shelf).await?;
        self.replayed_at = Instant::now();
        if waiting.frames.is_empty() && waiting.unreadable.is_empty() {
            return Ok(());
        }
        let (store, poll) = (&self.parts.store, self.parts.options.profile_poll);
        let arrivals = waiting.frames.iter_mut().map(|frame| &mut frame.arrival);
        self.profiles.judge(arrivals, store, poll).await?;
        waiting.frames.iter_mut().for_each(|frame| self.erasing.list.prune(&mut frame.arrival.content));
        let (catalog, epochs_max) = (&self.parts.catalog, self.parts.options.epochs_max);
        self.desk.load_again(&mut waiting.frames, catalog, epochs_max).await?;
        waiting.frames.iter().for_each(|frame| self.desk.take_again(frame));
        self.desk.pending.replays.extend(waiting.unreadable);
        let replays = self.desk.pending.replays.len();
        self.flush().await?;
        // The counts of devices went down and up: what was told of them is read again.
        self.parts.progress.send_replace(progress(self.parts, Offset::new(self.committed)).await?);
        self.parts.metrics.replayed.inc_by(replays as u64);
        tracing::info!(frames = replays, "frames of the quarantine judged again");
        Ok(())
    }

    /// Archives the hours that have come to rest, when it is time.
    async fn tell(&mut self) -> Result<(), ArchiveError> {
        if self.told_at.elapsed() < self.parts.options.completeness_interval {
            return Ok(());
        }
        let untold = telling::untold(self.parts, self.desk.newest_us).await?;
        self.told_at = Instant::now();
        self.desk.tell(untold);
        self.flush().await
    }

    /// Commits what was taken.
    async fn flush(&mut self) -> Result<(), ArchiveError> {
        self.waiting_since = None;
        if self.desk.next_offset == self.committed && !self.desk.has_more_than_rows() {
            return Ok(());
        }
        let started = Instant::now();
        let outcome = write(self.parts, &self.shelf, &mut self.desk, (self.lease, self.committed)).await?;
        self.committed = self.desk.next_offset;
        self.parts.source.release(Offset::new(self.committed));
        self.desk.committed(self.parts.options.streams_cached_max);
        self.parts.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        self.publish(&outcome);
        if let Some(to) = &self.parts.notices {
            let dropped = outcome.notices.send(to);
            self.parts.metrics.notices_dropped.inc_by(dropped);
        }
        Ok(())
    }

    fn publish(&self, outcome: &Outcome) {
        let metrics = &self.parts.metrics;
        metrics.next_offset.set(signed(self.committed));
        for (table, rows, bytes) in &outcome.files {
            metrics.count_file(*table, *rows, *bytes);
        }
        for (why, frames) in &outcome.refusals {
            metrics.count_refused(*why, *frames);
        }
        self.parts.progress.send_modify(|progress| {
            progress.next_offset = Offset::new(self.committed);
            for (table, rows, _) in &outcome.files {
                *progress.rows.entry(*table).or_default() += rows;
            }
            let devices = Arc::make_mut(&mut progress.devices);
            for (key, counts) in &outcome.devices {
                metrics.frames.inc_by(counts.archived);
                metrics.duplicates.inc_by(counts.duplicates);
                metrics.late.inc_by(counts.late);
                devices.entry(key.clone()).or_default().add(counts);
            }
        });
    }
}

fn is_full(pending: &Pending, rows_max: usize, bytes_max: usize) -> bool {
    pending.rows >= rows_max || pending.bytes >= bytes_max
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Removes files that were never committed.
async fn sweep(parts: &Parts, shelf: Arc<Shelf>) -> Result<(), ArchiveError> {
    let mut committed: BTreeSet<String> =
        parts.catalog.files(None).await?.into_iter().map(|f| f.path).collect();
    committed.extend(parts.catalog.held_paths().await?);
    let retired: BTreeSet<String> = parts.catalog.retired(None).await?.into_iter().collect();
    let (removed, missing) = shelf.sweep(committed, retired).await?;
    parts.metrics.swept.inc_by(removed);
    parts.metrics.missing_files.set(signed(missing));
    if removed > 0 {
        tracing::info!(files = removed, "files of an unfinished commit removed");
    }
    if missing > 0 {
        tracing::error!(files = missing, "committed files are missing: restore them");
    }
    Ok(())
}

/// Returns the key that tags content, made at the first start and sealed in the catalog.
async fn tag_key(parts: &Parts) -> Result<hmac::Key, ArchiveError> {
    let sealer = parts.sealer()?;
    let mut fresh = [0; TAG_KEY_BYTES];
    SystemRandom::new().fill(&mut fresh).map_err(|_unspecified| KeyError::Random)?;
    let sealed = sealer.seal(TAG_KEY.as_bytes(), &fresh)?;
    let sealed = parts.catalog.secret(TAG_KEY, &sealed).await?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &sealer.open(TAG_KEY.as_bytes(), &sealed)?))
}

/// Reads the committed progress.
async fn progress(parts: &Parts, next_offset: Offset) -> Result<Progress, ArchiveError> {
    let rows = parts.catalog.rows_per_table().await?;
    let rows = rows.into_iter().filter_map(|(name, rows)| Some((Table::from_name(&name)?, rows))).collect();
    let mut devices = BTreeMap::<DeviceKey, crate::Counts>::new();
    for row in parts.catalog.streams(None).await? {
        let (Ok(tenant), Ok(device)) = (TenantId::new(&row.id.tenant), DeviceId::new(&row.id.device)) else {
            return Err(ArchiveError::StreamState);
        };
        devices.entry(DeviceKey { tenant, device }).or_default().add(&counts_of(&row));
    }
    Ok(Progress { next_offset, rows, devices: Arc::new(devices) })
}
