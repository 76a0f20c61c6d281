//! Files that another file has replaced: out of the catalog, on the disk until readers that listed them are done.

use crate::StoreError;
use crate::catalog::{Catalog, CommitError, FileRow};

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
        let mut transaction = self.store().sqlite()?.begin_with("BEGIN IMMEDIATE").await?;
        let held = "UPDATE archive_position SET committed_at_us = $1 WHERE id = 1 AND lease = $2";
        let lease = i64::try_from(replacement.lease).map_err(|_large| StoreError::Corrupt("lease"))?;
        let held = sqlx::query(held).bind(replacement.at_us).bind(lease).execute(&mut *transaction).await?;
        if held.rows_affected() != 1 {
            return Err(CommitError::Fenced);
        }
        for path in &replacement.from {
            let delete = sqlx::query("DELETE FROM archive_file WHERE path = $1").bind(path);
            if delete.execute(&mut *transaction).await?.rows_affected() != 1 {
                return Err(CommitError::Fenced);
            }
            let insert = "INSERT INTO archive_retired (path, retired_at_us) VALUES ($1, $2)";
            sqlx::query(insert).bind(path).bind(replacement.at_us).execute(&mut *transaction).await?;
        }
        crate::catalog::insert_file(&mut transaction, &replacement.into, replacement.at_us).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Lists retired files: all, or those retired at or before a time, unix microseconds.
    pub async fn retired(&self, until_us: Option<i64>) -> Result<Vec<String>, StoreError> {
        let select = "SELECT path FROM archive_retired WHERE retired_at_us <= $1 ORDER BY path";
        let rows = sqlx::query_scalar(select).bind(until_us.unwrap_or(i64::MAX));
        Ok(rows.fetch_all(self.store().sqlite()?).await?)
    }

    /// Forgets retired files, after they were removed.
    pub async fn forget_retired(&self, paths: &[String]) -> Result<(), StoreError> {
        for path in paths {
            let delete = sqlx::query("DELETE FROM archive_retired WHERE path = $1").bind(path);
            delete.execute(self.store().sqlite()?).await?;
        }
        Ok(())
    }
}
