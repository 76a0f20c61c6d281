//! Files that another file has replaced: out of the catalog, on the disk until readers that listed them are done.

use crate::StoreError;
use crate::catalog::{Catalog, CommitError, FileRow};
use crate::db::{Tx, args};

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

/// Which retired files, by when they were retired, unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetiredWhen {
    /// At or before a time.
    Until(i64),
    /// After a time.
    After(i64),
}

/// Says whether a file is a tenant's: its path is `table/tenant/...`.
fn is_of(path: &str, tenant: &str) -> bool {
    path.split('/').nth(1) == Some(tenant)
}

impl Catalog {
    /// Puts one file in the place of others, or changes nothing.
    pub async fn replace(&self, replacement: &Replacement) -> Result<(), CommitError> {
        let mut tx = self.store().db().begin().await?;
        hold_lease(self, &mut tx, replacement.lease).await?;
        for path in &replacement.from {
            retire(&mut tx, path, "", replacement.at_us).await?;
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

    /// Lists a tenant's retired files: those retired at or before a time, or those retired after it.
    pub async fn retired_of(&self, tenant: &str, time: RetiredWhen) -> Result<Vec<String>, StoreError> {
        let (from_us, until_us) = match time {
            RetiredWhen::Until(at_us) => (i64::MIN, at_us),
            RetiredWhen::After(at_us) => (at_us.saturating_add(1), i64::MAX),
        };
        let select = "SELECT path FROM archive_retired WHERE retired_at_us BETWEEN $1 AND $2 ORDER BY path";
        let rows = self.store().db().all(select, args![from_us, until_us]).await?;
        let mut paths = rows.iter().map(|row| row.text("path")).collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| is_of(path, tenant));
        Ok(paths)
    }

    /// Lists retired files that may be removed: those retired at or before a time, and of the tenant of an erasure that
    /// waits for no reader those that may hold what it took: retired before it was done. A legal hold keeps what an
    /// erasure has replaced.
    pub async fn removable(&self, until_us: i64) -> Result<Vec<String>, StoreError> {
        let mut tx = self.store().db().begin_read().await?;
        let hurried = "SELECT tenant, rewritten_at_us FROM erasure WHERE at_once = 1 AND certified_at_us IS NULL \
                       AND rewritten_at_us IS NOT NULL";
        let hurried = tx.all(hurried, args![]).await?;
        let hurried: Vec<_> = hurried
            .iter()
            .map(|row| Ok((row.text("tenant")?, row.int("rewritten_at_us")?)))
            .collect::<Result<_, StoreError>>()?;
        let select = "SELECT path, retired_at_us FROM archive_retired WHERE NOT EXISTS (SELECT 1 FROM erasure e \
                      JOIN legal_hold h ON h.tenant = e.tenant WHERE e.erasure_id = archive_retired.erasure_id) \
                      ORDER BY path";
        let mut paths = Vec::new();
        for row in tx.all(select, args![]).await? {
            let (path, at_us) = (row.text("path")?, row.int("retired_at_us")?);
            let may_hold = |(tenant, done_us): &(String, i64)| at_us <= *done_us && is_of(&path, tenant);
            if at_us <= until_us || hurried.iter().any(may_hold) {
                paths.push(path);
            }
        }
        Ok(paths)
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

/// Takes the row of the position, if the lease is still the caller's: of two workers one waits here, and is refused.
pub(crate) async fn hold_lease(catalog: &Catalog, tx: &mut Tx, lease: u64) -> Result<(), CommitError> {
    if catalog.keep(tx, lease).await? { Ok(()) } else { Err(CommitError::Fenced) }
}

/// Takes a file out of the catalog and keeps it among the retired.
pub(crate) async fn retire(tx: &mut Tx, path: &str, erasure: &str, at_us: i64) -> Result<(), CommitError> {
    if tx.run("DELETE FROM archive_file WHERE path = $1", args![path]).await? != 1 {
        return Err(CommitError::Fenced);
    }
    let insert = "INSERT INTO archive_retired (path, retired_at_us, erasure_id) VALUES ($1, $2, $3)";
    Ok(tx.run(insert, args![path, at_us, erasure]).await.map(drop)?)
}
