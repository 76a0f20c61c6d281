//! Among other workers: removes files of this partition that no commit names.
//!
//! ```text
//! files of the partition listed -> the lease is still ours -> catalog read -> listed and in no commit: removed
//! ```
//! Whoever had the partition before can commit nothing any more. Whoever has it next puts its first file after the lease
//! was ours for the last time, so it is not in the list. And between two commits nothing of our own is under way.

use super::Session;
use crate::error::ArchiveError;
use crate::shelf::Shelf;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wardline_proto::limits::PARTITIONS;
use wardline_store::catalog::Catalog;

/// A takeover has its first commits before it cleans up.
const AFTER: Duration = Duration::from_secs(5);
/// Lists of a process at once: each walks the whole archive.
static LISTS: Semaphore = Semaphore::const_new(1);

/// Where sweeping is: once for each session.
#[derive(Debug)]
pub(super) enum Sweeping {
    Due(Instant),
    Lists(JoinHandle<Result<Vec<String>, ArchiveError>>),
    Done,
}

impl Sweeping {
    /// Begins, for a session whose catalog has not been swept.
    pub(super) fn begin() -> Self {
        Self::Due(Instant::now() + AFTER)
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Self::Lists(task) = self {
            task.abort();
        }
    }
}

impl Session<'_> {
    /// Goes on with the sweep. To be called between two commits.
    pub(super) async fn sweep(&mut self) -> Result<(), ArchiveError> {
        match &mut self.sweeping {
            Sweeping::Due(at) if *at <= Instant::now() => {
                let (shelf, catalog) = (self.shelf.clone(), self.parts.catalog.clone());
                self.sweeping = Sweeping::Lists(tokio::spawn(list(shelf, catalog)));
                return Ok(());
            }
            Sweeping::Lists(task) if task.is_finished() => {
                let listed = task.await;
                self.sweeping = Sweeping::Done;
                // What is stray costs room alone: the next session lists again.
                match listed? {
                    Ok(listed) => self.remove_strays(listed).await?,
                    Err(error) => tracing::warn!(%error, "files of unfinished commits are not looked for"),
                }
            }
            Sweeping::Due(_) | Sweeping::Lists(_) | Sweeping::Done => {}
        }
        Ok(())
    }

    async fn remove_strays(&mut self, mut listed: Vec<String>) -> Result<(), ArchiveError> {
        let catalog = &self.parts.catalog;
        if !catalog.is_held(self.lease).await? {
            return Err(ArchiveError::Fenced);
        }
        let mut known: BTreeSet<String> = catalog.retired(None).await?.into_iter().collect();
        known.extend(catalog.held_paths().await?);
        known.extend(catalog.files(None).await?.into_iter().map(|file| file.path));
        listed.retain(|path| !known.contains(path));
        if listed.is_empty() {
            return Ok(());
        }
        let strays = listed.len();
        self.shelf.remove(listed).await?;
        self.parts.metrics.swept.inc_by(strays as u64);
        tracing::info!(files = strays, "files of an unfinished commit removed");
        Ok(())
    }
}

/// Lists the files of this worker's share.
async fn list(shelf: Arc<Shelf>, catalog: Catalog) -> Result<Vec<String>, ArchiveError> {
    // It is never closed.
    let _one_at_a_time = LISTS.acquire().await.ok();
    let mut paths = shelf.list().await?;
    paths.retain(|path| partition_of(path).is_some_and(|partition| catalog.owns(partition)));
    Ok(paths)
}

/// Reads the partition of a file's path: table, tenant, day, partition, name.
fn partition_of(path: &str) -> Option<u16> {
    path.split('/').nth(3)?.parse().ok().filter(|partition| *partition < PARTITIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_of_the_partition_in_its_path() {
        assert_eq!(partition_of("numerics/st-mary/2026-11-21/42/0f.parquet#7"), Some(42));
        for other in ["numerics/st-mary/2026-11-21/64/0f.parquet", ".lock", "1/2/3"] {
            assert_eq!(partition_of(other), None, "{other}");
        }
    }
}
