//! What others see of the archive: how far it is, and a way to ask it to hurry.

use crate::error::ArchiveError;
use crate::streams::Counts;
use crate::table::Table;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};
use wardline_journal::Offset;
use wardline_proto::DeviceKey;

/// How far the archive is. All of it is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// First offset that is not committed: the journal may drop what lies below.
    pub next_offset: Offset,
    /// Rows per table.
    pub rows: BTreeMap<Table, u64>,
    /// Frames per device.
    pub devices: Arc<BTreeMap<DeviceKey, Counts>>,
}

/// What the worker and its handles share.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    flush_to: AtomicU64,
    pub(crate) asked: Notify,
}

impl Requests {
    /// Returns the offset that someone wants committed.
    pub(crate) fn flush_to(&self) -> u64 {
        self.flush_to.load(Ordering::Acquire)
    }
}

/// Watches an archive worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArchiveHandle {
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) requests: Arc<Requests>,
}

impl ArchiveHandle {
    /// Returns how far it is.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits for the next commit. Fails when the worker has ended.
    pub async fn changed(&mut self) -> Result<(), ArchiveError> {
        self.progress.changed().await.map_err(|_ended| ArchiveError::Closed)
    }

    /// Commits everything below `offset` without waiting for more rows, and returns when it is committed.
    pub async fn flush_to(&self, offset: Offset) -> Result<(), ArchiveError> {
        self.requests.flush_to.fetch_max(offset.get(), Ordering::AcqRel);
        self.requests.asked.notify_one();
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.next_offset >= offset).await;
        reached.map(drop).map_err(|_ended| ArchiveError::Closed)
    }
}
