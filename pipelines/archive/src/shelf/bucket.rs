//! A bucket that one worker writes into.
//!
//! No lock holds a bucket: the lease in the catalog does. A worker that lost it cannot commit, and what it still
//! sweeps cannot be its successor's: it removes only what was put, by the store's clock, before it took its own lease.
//!
//! ```text
//! clock read  ->  lease n taken  ->  catalog listed  ->  bucket listed  ->  removed: put before the clock, in no commit
//! ```
//! An object from before the clock is of a lease below n. Its commit came before lease n, and is in the listing, or
//! never comes. What is younger and in no commit waits for the next start.

use crate::bucket::Bucket;
use crate::error::ArchiveError;
use crate::files::claim;
use crate::shelf::is_own_form;
use std::collections::BTreeSet;
use std::sync::Arc;
use wardline_store::catalog::Catalog;

/// Put at each start, for its time.
pub(crate) const CLOCK: &str = ".clock";

/// The worker's side of a bucket.
#[derive(Debug)]
pub(super) struct BucketShelf {
    bucket: Arc<Bucket>,
    began_at_s: i64,
}

impl BucketShelf {
    /// Marks the bucket and reads its clock.
    pub(super) async fn open(bucket: Arc<Bucket>, catalog: &Catalog) -> Result<Self, ArchiveError> {
        claim(&bucket, catalog).await?;
        let began_at_s = bucket.clock_s(CLOCK).await?;
        Ok(Self { bucket, began_at_s })
    }

    pub(super) async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.bucket.put_new(path, bytes.into()).await
    }

    pub(super) async fn remove(&self, paths: &[String]) -> Result<(), ArchiveError> {
        self.bucket.remove(paths).await
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, ArchiveError> {
        let files = self.bucket.list().await?;
        Ok(files.into_iter().map(|file| file.path).filter(|path| is_own_form(path)).collect())
    }

    pub(super) async fn sweep(
        &self,
        committed: &BTreeSet<String>,
        retired: &BTreeSet<String>,
    ) -> Result<(u64, u64), ArchiveError> {
        let (mut stray, mut present) = (Vec::new(), 0);
        for file in self.bucket.list().await? {
            if committed.contains(&file.path) {
                present += 1;
            } else if is_own_form(&file.path)
                && !retired.contains(&file.path)
                && file.put_at_s < self.began_at_s
            {
                stray.push(file.path);
            }
        }
        self.bucket.remove(&stray).await?;
        Ok((stray.len() as u64, committed.len() as u64 - present))
    }
}
