//! The right to commit: of everything on one machine, of one partition where there are several workers.

use super::{Catalog, Commit, CommitError, Lease};
use crate::StoreError;
use crate::cluster::{Standing, Step, advance, holds};
use crate::db::{Tx, args, signed};
use wardline_proto::PartitionId;

impl Catalog {
    /// Returns the committed position; none before the first lease.
    pub async fn position(&self) -> Result<Option<u64>, StoreError> {
        let select = "SELECT next_offset FROM archive_position WHERE id = 1";
        let row = self.store.db().one(select, args![]).await?;
        row.map(|row| row.unsigned("next_offset")).transpose()
    }

    /// Returns the committed position of a partition where there are several workers; none on one machine.
    pub async fn partition_position(&self, partition: PartitionId) -> Result<Option<u64>, StoreError> {
        crate::cluster::archived(&self.store, partition).await
    }

    /// Takes the catalog over: commits of every earlier lease fail from here on. `first_offset` is the position of a
    /// catalog that has none.
    pub async fn take_over(&self, first_offset: u64, at_us: i64) -> Result<Lease, StoreError> {
        let upsert = "INSERT INTO archive_position (id, next_offset, lease, committed_at_us) VALUES (1, $1, 1, $2) \
                      ON CONFLICT (id) DO UPDATE SET lease = archive_position.lease + 1 \
                      RETURNING next_offset, lease";
        let mut tx = self.store.db().begin().await?;
        let row = tx.one(upsert, args![signed(first_offset)?, at_us]).await?;
        let row = row.ok_or(StoreError::Corrupt("archive_position"))?;
        let lease = Lease { next_offset: row.unsigned("next_offset")?, number: row.unsigned("lease")? };
        tx.commit().await?;
        Ok(lease)
    }

    /// Begins to work: takes the catalog over, or, for a partition, finds where the work under its claim stands.
    pub async fn begin(&self, first_offset: u64, at_us: i64) -> Result<Lease, CommitError> {
        let Some(claim) = &self.claim else { return Ok(self.take_over(first_offset, at_us).await?) };
        let standing = self.store.standing(claim).await?.ok_or(CommitError::Fenced)?;
        Ok(Lease { next_offset: standing.next_offset, number: 0 })
    }

    /// Says whether the right to commit is still this one's.
    pub async fn is_held(&self, lease: u64) -> Result<bool, StoreError> {
        let mut tx = self.store.db().begin().await?;
        self.keep(&mut tx, lease).await
    }

    /// Keeps the right to commit until the transaction ends; `false` when it is gone.
    pub(crate) async fn keep(&self, tx: &mut Tx, lease: u64) -> Result<bool, StoreError> {
        if let Some(claim) = &self.claim {
            return holds(tx, claim).await;
        }
        let held = "UPDATE archive_position SET lease = lease WHERE id = 1 AND lease = $1";
        Ok(tx.run(held, args![signed(lease)?]).await? == 1)
    }

    /// Moves the position in the transaction of a commit; `false` when another worker has, or may.
    pub(super) async fn advance(&self, tx: &mut Tx, commit: &Commit) -> Result<bool, StoreError> {
        if let Some(claim) = &self.claim {
            let standing = Standing { next_offset: commit.next_offset, ..commit.standing.clone() };
            return advance(tx, &Step { claim: claim.clone(), standing }, Some(commit.from_offset)).await;
        }
        let update = "UPDATE archive_position SET next_offset = $1, committed_at_us = $2 WHERE id = 1 \
                      AND next_offset = $3 AND lease = $4";
        let values = args![
            signed(commit.next_offset)?,
            commit.at_us,
            signed(commit.from_offset)?,
            signed(commit.lease)?
        ];
        Ok(tx.run(update, values).await? == 1)
    }
}
