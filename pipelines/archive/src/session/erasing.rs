//! Between two commits the worker looks for erasures: it takes the erase list, and rewrites a file at a time.

use super::{Session, progress};
use crate::compact;
use crate::erase::{Job, due};
use crate::erased::Erased;
use crate::error::ArchiveError;
use crate::worker::Parts;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wardline_journal::Offset;

/// Files are rewritten for so long before the journal has its turn.
const TURN: Duration = Duration::from_millis(200);
/// What cannot be rewritten is tried again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Where erasing is.
#[derive(Debug)]
pub(super) struct Erasing {
    pub(super) list: Arc<Erased>,
    job: Option<Job>,
    looked_at: Instant,
    /// When the legal holds were read, which no job and no pause puts off.
    held_at: Instant,
}

impl Erasing {
    pub(super) async fn start(parts: &Parts, lease: u64) -> Result<Self, ArchiveError> {
        let list = list(parts, lease).await?;
        let long_ago = Instant::now().checked_sub(parts.options.erasure_poll).unwrap_or_else(Instant::now);
        Ok(Self { list, job: None, looked_at: long_ago, held_at: long_ago })
    }

    /// Says whether files are being rewritten.
    pub(super) fn is_under_way(&self) -> bool {
        self.job.is_some()
    }

    /// Returns when to look again.
    pub(super) fn due(&self, poll: Duration) -> Instant {
        if self.job.is_some() { Instant::now() } else { self.looked_at + poll }
    }
}

/// Reads the erase list.
async fn list(parts: &Parts, lease: u64) -> Result<Arc<Erased>, ArchiveError> {
    let held = held(parts, lease).await?;
    Ok(Arc::new(Erased::new(&parts.catalog.erased_ranges().await?).hold(held)))
}

/// Reads the legal holds. What is kept for one from now on must not be shown: to readers its erasures are open again.
async fn held(parts: &Parts, lease: u64) -> Result<HashSet<String>, ArchiveError> {
    let held: HashSet<String> = parts.store.holds().await?.into_iter().map(|hold| hold.tenant).collect();
    for tenant in &held {
        parts.catalog.reopen_erasures(lease, tenant).await?;
    }
    Ok(held)
}

impl Session<'_> {
    /// Looks for erasures when it is time, and goes on with those that are under way.
    pub(super) async fn erase(&mut self) -> Result<(), ArchiveError> {
        let poll = self.parts.options.erasure_poll;
        if self.erasing.job.is_none() && self.erasing.looked_at.elapsed() >= poll {
            self.look().await?;
        } else if self.erasing.held_at.elapsed() >= poll {
            self.hold().await?;
        }
        if self.erasing.job.is_none() {
            return Ok(());
        }
        let until = Instant::now() + TURN;
        while let Some(mut job) = self.erasing.job.take() {
            // What waits was counted by what the catalog is about to change.
            self.flush().await?;
            let with = (self.lease, &self.erasing.list);
            let goes_on = job.step(self.parts, &self.shelf, with).await?;
            self.desk.forget();
            if goes_on {
                self.erasing.job = Some(job);
            } else {
                self.end(job).await?;
            }
            if Instant::now() >= until {
                break;
            }
        }
        self.reload().await
    }

    /// Takes the erase list, and starts when there is something to rewrite.
    async fn look(&mut self) -> Result<(), ArchiveError> {
        let list = list(self.parts, self.lease).await?;
        (self.erasing.looked_at, self.erasing.held_at) = (Instant::now(), Instant::now());
        self.adopt(list);
        if self.erasing.list.is_empty() {
            return Ok(());
        }
        let due = due(self.parts, &self.erasing.list).await?;
        if !due.is_empty() {
            // What was taken before the list was known is in a file when files are listed.
            self.flush().await?;
            self.erasing.job = Some(Job::start(self.parts, due).await?);
        } else if !self.parts.catalog.open_erasures().await?.is_empty() {
            compact::remove_retired(self.parts, &self.shelf).await?;
        }
        Ok(())
    }

    /// Reads the legal holds again while the list stays as it is. A job ends no erasure of which something may have been
    /// kept meanwhile.
    async fn hold(&mut self) -> Result<(), ArchiveError> {
        let held = held(self.parts, self.lease).await?;
        self.erasing.held_at = Instant::now();
        if let Some(job) = &mut self.erasing.job {
            job.hold(&held);
        }
        if held != *self.erasing.list.held() {
            self.adopt(Arc::new(Erased::clone(&self.erasing.list).hold(held)));
        }
        Ok(())
    }

    fn adopt(&mut self, list: Arc<Erased>) {
        if list != self.erasing.list {
            self.arrivals.iter_mut().for_each(|arrival| list.prune(&mut arrival.content));
            self.erasing.list = list;
        }
    }

    async fn end(&mut self, job: Job) -> Result<(), ArchiveError> {
        let is_done = job.end(self.parts, self.lease).await?;
        self.erasing.looked_at = Instant::now() + if is_done { Duration::ZERO } else { TRY_AGAIN };
        // The counts of devices went down and up: what was told of them is read again.
        self.parts.progress.send_replace(progress(self.parts, Offset::new(self.committed)).await?);
        compact::remove_retired(self.parts, &self.shelf).await?;
        tracing::info!(is_done, "files without what was erased");
        Ok(())
    }

    /// Loads what the arrivals at hand need: the streams and hours were forgotten.
    async fn reload(&mut self) -> Result<(), ArchiveError> {
        let (catalog, epochs_max) = (&self.parts.catalog, self.parts.options.epochs_max);
        self.desk.load(self.arrivals.iter_mut(), catalog, epochs_max).await
    }
}
