//! Files that another file has replaced: out of the catalog, on the disk until readers that listed them are done.

use crate::StoreError;
use crate::catalog::{Catalog, CommitError, FileRow};
use crate::db::{args, signed};

/// One file in place of several, with the same rows.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// The lease that it is made under.
    pub lease: u64,
    /// Paths of the files that go.
    pub from: Vec<String>,
    /// The file that comes, durable.
    pub into: FileRow,
    /// When, unix microseconds.
    pub at_us: i64,
}

impl Catalog {
    /// Puts one file in the place of others, or changes nothing.
    pub async fn replace(&self, replacement: &Replacement) -> Result<(), CommitError> {
        let mut tx = self.store().db().begin().await?;
        let held = "UPDATE archive_position SET committed_at_us = $1 WHERE id = 1 AND lease = $2";
        if tx.run(held, args![replacement.at_us, signed(replacement.lease)?]).await? != 1 {
            return Err(CommitError::Fenced);
        }
        for path in &replacement.from {
            if tx.run("DELETE FROM archive_file WHERE path = $1", args![path]).await? != 1 {
                return Err(CommitError::Fenced);
            }
            let insert = "INSERT INTO archive_retired (path, retired_at_us) VALUES ($1, $2)";
            tx.run(insert, args![path, replacement.at_us]).await?;
        }
        crate::catalog::insert_file(&mut tx, &replacement.into, replacement.at_us).await?;
        Ok(tx.commit().await?)
    }

    /// Lists retired files: all, or those retired at or before a time, unix microseconds.
    pub async fn retired(&self, until_us: Option<i64>) -> Result<Vec<String>, StoreError> {
        let select = "SELECT path FROM archive_retired WHERE retired_at_us <= $1 ORDER BY path";
        let rows = self.store().db().all(select, args![until_us.unwrap_or(i64::MAX)]).await?;
        rows.iter().map(|row| row.text("path")).collect()
    }

    /// Forgets retired files, after they were removed.
    pub async fn forget_retired(&self, paths: &[String]) -> Result<(), StoreError> {
        let mut tx = self.store().db().begin().await?;
        for path in paths {
            tx.run("DELETE FROM archive_retired WHERE path = $1", args![path]).await?;
        }
        tx.commit().await
    }
}
