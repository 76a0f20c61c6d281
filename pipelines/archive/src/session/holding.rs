//! Tenants whose keys are refused are held back, so that they stop nobody else's archive.
//!
//! ```text
//! a commit is refused a tenant's key, for a while -> the tenant is held back: a row of the catalog
//!        -> its records go into sealed files of their own, named by the commit that moves past them
//!        -> its key is had again -> those records, in the order of the journal, through the desk as ever
//!        -> one transaction: rows, streams, hours, and the records counted off -> none is left: let go
//! ```
//! While records of a tenant are held, those that come after them are held too: its streams go on in order. What it asked
//! to have judged again waits, and its hours are not told.

use super::{OPEN_BYTES_MAX, Session, is_full};
use crate::error::ArchiveError;
use crate::held::{HeldRecord, open};
use crate::intake::{Arrival, Content, Intake};
use crate::keys::ArchiveKeys;
use crate::metrics::ArchiveMetrics;
use crate::tenant::tenant_of;
use crate::worker::{Parts, now_us};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use wardline_journal::KeyError;
use wardline_store::catalog::{HeldFile, TakenBack};

/// Tenants that are held back at most: past it the archive waits for their keys, as for a service that is away.
const TENANTS_MAX: usize = 4096;
/// Held records become rows for so long before the journal has its turn, which then has at least as long.
const TURN: Duration = Duration::from_millis(500);
/// Files of held records that are listed at once.
const FILES_MAX: usize = 64;

/// Who is held back, and when their keys are tried again.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) tenants: Arc<BTreeSet<String>>,
    due: Instant,
    pause: Duration,
    /// The tenant that was looked at last: the next turn begins behind it.
    last: String,
    shown: Shown,
}

/// What of it the gauges show: several sessions of a process add up.
#[derive(Debug)]
struct Shown {
    metrics: Arc<ArchiveMetrics>,
    tenants: i64,
    records: i64,
    bytes: i64,
}

impl Shown {
    fn set(&mut self, tenants: i64, records: i64, bytes: i64) {
        self.metrics.held_tenants.inc_by(tenants - self.tenants);
        self.metrics.held_records.inc_by(records - self.records);
        self.metrics.held_bytes.inc_by(bytes - self.bytes);
        (self.tenants, self.records, self.bytes) = (tenants, records, bytes);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.set(0, 0, 0);
    }
}

impl Holding {
    /// Holds back whom the catalog names, and `more`.
    pub(super) async fn start(
        parts: &Parts,
        lease: u64,
        more: &BTreeSet<String>,
    ) -> Result<Self, ArchiveError> {
        let mut tenants = parts.catalog.held_tenants().await?;
        for tenant in more.difference(&tenants.clone()) {
            if tenants.len() >= TENANTS_MAX {
                tracing::error!(tenants = TENANTS_MAX, "no more tenants are held back: the archive waits");
                break;
            }
            tracing::error!(
                tenant,
                "its keys are refused: what comes of it is held back, out of the archive"
            );
            tenants.insert(tenant.clone());
        }
        if !tenants.is_empty() {
            parts.catalog.hold_back(lease, &tenants, now_us()).await?;
            wardline_journal::abort::at("held.begun");
        }
        let shown = Shown { metrics: parts.metrics.clone(), tenants: 0, records: 0, bytes: 0 };
        let (pause, last) = (parts.options.hold_retry_min, String::new());
        let mut holding =
            Self { tenants: Arc::new(tenants), due: Instant::now() + pause, pause, last, shown };
        holding.show(parts).await?;
        Ok(holding)
    }

    /// Returns when to try again; none: nobody is held back.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.tenants.is_empty()).then_some(self.due)
    }

    async fn show(&mut self, parts: &Parts) -> Result<(), ArchiveError> {
        let sum = parts.catalog.held_sum().await?;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let tenants = i64::try_from(self.tenants.len()).unwrap_or(i64::MAX);
        self.shown.set(tenants, signed(sum.records), signed(sum.bytes));
        Ok(())
    }

    /// Returns the tenants, those behind the last one first.
    fn in_turn(&self) -> Vec<String> {
        let (before, behind): (Vec<_>, Vec<_>) =
            self.tenants.iter().cloned().partition(|tenant| *tenant <= self.last);
        behind.into_iter().chain(before).collect()
    }
}

/// A held file that is read, and its records that are not arrivals yet.
struct Reading {
    file: HeldFile,
    records: VecDeque<HeldRecord>,
    arrivals: VecDeque<Arrival>,
}

impl Reading {
    /// Says what a commit of all that was taken of it does.
    fn taken(&self) -> TakenBack {
        let left = (self.records.len() + self.arrivals.len()) as u64;
        let to = (left > 0).then(|| self.file.records - left);
        TakenBack { path: self.file.path.clone(), from: self.file.taken, to }
    }
}

/// How a turn of one tenant ended.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// All that was held is rows.
    Done,
    /// There is more, and time is over.
    More,
    /// A key or a file is not to be had.
    Stuck,
}

impl Session<'_> {
    /// Makes rows of what is held back, when it is time and the keys are there.
    pub(super) async fn take_back(&mut self) -> Result<(), ArchiveError> {
        let begun = Instant::now();
        if self.holding.due().is_none_or(|due| begun < due) {
            return Ok(());
        }
        let (mut is_stuck, mut has_more) = (false, false);
        for tenant in self.holding.in_turn() {
            let until = begun + TURN;
            match self.take_back_of(&tenant, until).await? {
                Turn::Done => has_more |= !self.let_go(&tenant).await?,
                Turn::More => has_more = true,
                Turn::Stuck => is_stuck = true,
            }
            self.holding.last = tenant;
            if Instant::now() >= until {
                has_more |= !is_stuck;
                break;
            }
        }
        self.holding.show(self.parts).await?;
        let (least, most) = (self.parts.options.hold_retry_min, self.parts.options.hold_retry_max);
        if has_more {
            (self.holding.pause, self.holding.due) = (least, Instant::now() + begun.elapsed());
        } else {
            self.holding.due = Instant::now() + self.holding.pause;
            self.holding.pause = (self.holding.pause * 2).min(most);
        }
        Ok(())
    }

    /// Makes rows of what is held of a tenant until none is left or the time is over.
    async fn take_back_of(&mut self, tenant: &str, until: Instant) -> Result<Turn, ArchiveError> {
        if let Err(error) = probe(&self.parts.keys, tenant).await? {
            tracing::warn!(tenant, %error, "held back: its keys are refused still");
            return Ok(Turn::Stuck);
        }
        // What was taken of it is in files that are named, and all the room is free.
        self.flush().await?;
        loop {
            let files = self.parts.catalog.held_files(tenant, FILES_MAX).await?;
            if files.is_empty() {
                return Ok(Turn::Done);
            }
            let (mut is_stuck, mut is_over) = (false, false);
            for file in files {
                is_stuck = !self.take_back_file(file).await?;
                is_over = Instant::now() >= until;
                if is_stuck || is_over {
                    break;
                }
            }
            // Before they are listed again: what is at hand is counted off.
            self.flush().await?;
            if is_stuck || is_over {
                return Ok(if is_stuck { Turn::Stuck } else { Turn::More });
            }
        }
    }

    /// Makes rows of the records of a held file that are none yet, and commits when there are enough. `false` when it
    /// does not read.
    async fn take_back_file(&mut self, file: HeldFile) -> Result<bool, ArchiveError> {
        let Some(mut reading) = self.read_held(file).await? else { return Ok(false) };
        let (rows_max, bytes_max) = (self.parts.options.flush_rows_max, self.parts.options.flush_bytes_max);
        while !reading.records.is_empty() || !reading.arrivals.is_empty() {
            if reading.arrivals.is_empty() {
                self.intake.reuse(&mut self.desk.used);
                open_some(&mut reading, &mut self.intake);
                let (store, poll) = (&self.parts.store, self.parts.options.profile_poll);
                self.profiles.judge(reading.arrivals.iter_mut(), store, poll).await?;
                let list = &self.erasing.list;
                reading.arrivals.iter_mut().for_each(|arrival| list.prune(&mut arrival.content));
                let (catalog, epochs_max) = (&self.parts.catalog, self.parts.options.epochs_max);
                self.desk.load(reading.arrivals.iter_mut(), catalog, epochs_max).await?;
            }
            self.desk.take_back(&mut reading.arrivals, |pending| is_full(pending, rows_max, bytes_max));
            if is_full(&self.desk.pending, rows_max, bytes_max) {
                self.count_off(&mut reading);
                self.flush().await?;
                let (catalog, epochs_max) = (&self.parts.catalog, self.parts.options.epochs_max);
                self.desk.load(reading.arrivals.iter_mut(), catalog, epochs_max).await?;
            }
        }
        self.count_off(&mut reading);
        Ok(true)
    }

    /// Counts the records that were taken of a held file off, with the commit of their rows.
    fn count_off(&mut self, reading: &mut Reading) {
        let taken = reading.taken();
        if taken.to == Some(taken.from) || reading.file.taken == reading.file.records {
            return;
        }
        reading.file.taken = taken.to.unwrap_or(reading.file.records);
        self.desk.pending.taken_back.push(taken);
    }

    /// Reads a held file. None when it is not the committed one: its tenant stays held back, and nobody else is.
    async fn read_held(&mut self, file: HeldFile) -> Result<Option<Reading>, ArchiveError> {
        let (files, sealer) = (self.shelf.files().clone(), self.parts.sealer()?);
        let path = file.path.clone();
        let work = move || {
            let mut records = open(&files.read(&file.path)?, &file, &sealer)?;
            records.drain(..usize::try_from(file.taken).unwrap_or(usize::MAX).min(records.len()));
            Ok::<_, ArchiveError>(Reading { file, records, arrivals: VecDeque::new() })
        };
        match spawn_blocking(work).await? {
            Ok(reading) => Ok(Some(reading)),
            Err(error @ ArchiveError::Bucket(_)) => Err(error),
            Err(error) => {
                tracing::error!(%error, path, "a file of held records does not read: restore it");
                Ok(None)
            }
        }
    }

    /// Holds a tenant back no more, unless something of it is at hand that is to be held.
    async fn let_go(&mut self, tenant: &str) -> Result<bool, ArchiveError> {
        let is_of =
            |arrival: &Arrival| matches!(&arrival.content, Content::Held(held) if held.tenant == tenant);
        if self.arrivals.iter().any(is_of) || !self.parts.catalog.let_go(self.lease, tenant).await? {
            return Ok(false);
        }
        wardline_journal::abort::at("held.let_go");
        Arc::make_mut(&mut self.holding.tenants).remove(tenant);
        tracing::info!(tenant, "its keys are there again: nothing of it is held back any more");
        Ok(true)
    }
}

/// Makes some records arrivals.
fn open_some(reading: &mut Reading, intake: &mut Intake) {
    let mut open_bytes = 0;
    while open_bytes < OPEN_BYTES_MAX {
        let Some(record) = reading.records.pop_front() else { break };
        let place = (reading.file.partition, record.offset);
        let arrival = intake.read_record(place, record.time_us, record.payload);
        open_bytes += arrival.open_bytes();
        reading.arrivals.push_back(arrival);
    }
}

/// Asks whether files of a tenant can be written: `Ok(Err(_))` says why its keys are not to be had.
pub(crate) async fn probe(
    keys: &Arc<ArchiveKeys>,
    tenant: &str,
) -> Result<Result<(), KeyError>, ArchiveError> {
    let (keys, tenant) = (keys.clone(), tenant_of(tenant));
    match spawn_blocking(move || keys.probe(tenant.as_ref())).await? {
        Ok(()) => Ok(Ok(())),
        Err(ArchiveError::Key(error)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}
