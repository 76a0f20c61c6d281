//! Records of tenants whose keys are refused: held back in files of their own, out of the archive's tables.
//!
//! A file of them is named by the commit that moves the position past its records; the commits that make rows of its
//! records count them off, and the last one drops it (ARC-1). So a record is in the journal, held, or a row: never in
//! two of them, and never in none.

use super::{Catalog, CommitError, FileRow, file_row};
use crate::StoreError;
use crate::db::{Record, Tx, args, signed};
use crate::retired::hold_lease;
use std::collections::BTreeSet;

/// A file of records that are held back, in the order of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFile {
    /// Path below the archive's root.
    pub path: String,
    /// Whose records.
    pub tenant: String,
    /// Their partition.
    pub partition: u16,
    /// Offset of the first.
    pub offset_first: u64,
    /// Offset of the last.
    pub offset_last: u64,
    /// How many there are.
    pub records: u64,
    /// How many of them, from the first on, have become rows.
    pub taken: u64,
    /// Size, bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Vec<u8>,
    /// What opens it, sealed.
    pub sealed_key: Vec<u8>,
}

/// What a commit makes rows of: records of a held file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBack {
    /// The file.
    pub path: String,
    /// How many had become rows before.
    pub from: u64,
    /// How many have with this commit; none: all, and the file goes.
    pub to: Option<u64>,
}

/// How much is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldSum {
    /// Records that are not rows.
    pub records: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

macro_rules! files {
    ($which:literal) => {
        concat!(
            "SELECT path, tenant, partition_id, offset_first, offset_last, record_count, taken_count, byte_count, sha256, ",
            "sealed_key FROM archive_held_file ",
            $which
        )
    };
}

impl Catalog {
    /// Returns the tenants that are held back here: asked for, or with records that are.
    pub async fn held_tenants(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut tx = self.store.db().begin_read().await?;
        let select = "SELECT tenant FROM archive_held_tenant WHERE part = $1";
        let asked = tx.all(select, args![self.part()]).await?;
        let (of, part) = self.modulo();
        let select = "SELECT DISTINCT tenant FROM archive_held_file WHERE partition_id % $1 = $2";
        let with_records = tx.all(select, args![of, part]).await?;
        asked.iter().chain(&with_records).map(|row| row.text("tenant")).collect()
    }

    /// Holds tenants back from now on, under a lease.
    pub async fn hold_back(
        &self,
        lease: u64,
        tenants: &BTreeSet<String>,
        at_us: i64,
    ) -> Result<(), CommitError> {
        let insert = "INSERT INTO archive_held_tenant (tenant, part, since_us) VALUES ($1, $2, $3) \
                      ON CONFLICT (tenant, part) DO NOTHING";
        let mut tx = self.store.db().begin().await?;
        hold_lease(self, &mut tx, lease).await?;
        for tenant in tenants {
            tx.run(insert, args![tenant, self.part(), at_us]).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Holds a tenant back no more, under a lease; `false` while records of it are.
    pub async fn let_go(&self, lease: u64, tenant: &str) -> Result<bool, CommitError> {
        let mut tx = self.store.db().begin().await?;
        hold_lease(self, &mut tx, lease).await?;
        let (of, part) = self.modulo();
        let select =
            "SELECT path FROM archive_held_file WHERE tenant = $1 AND partition_id % $2 = $3 LIMIT 1";
        if tx.one(select, args![tenant, of, part]).await?.is_some() {
            return Ok(false);
        }
        let delete = "DELETE FROM archive_held_tenant WHERE tenant = $1 AND part = $2";
        tx.run(delete, args![tenant, self.part()]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Returns files of a tenant's records that are held back here, the first ones first, at most `limit`.
    pub async fn held_files(&self, tenant: &str, limit: usize) -> Result<Vec<HeldFile>, StoreError> {
        let (of, part) = self.modulo();
        let select =
            files!("WHERE tenant = $1 AND partition_id % $2 = $3 ORDER BY offset_first, path LIMIT $4");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.store.db().all(select, args![tenant, of, part, limit]).await?.iter().map(held_file).collect()
    }

    /// Lists the paths of all files of held records.
    pub async fn held_paths(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.store.db().all("SELECT path FROM archive_held_file ORDER BY path", args![]).await?;
        rows.iter().map(|row| row.text("path")).collect()
    }

    /// Adds up what is held back here.
    pub async fn held_sum(&self) -> Result<HeldSum, StoreError> {
        let (of, part) = self.modulo();
        let select = "SELECT CAST(COALESCE(SUM(record_count - taken_count), 0) AS BIGINT) AS records, \
                      CAST(COALESCE(SUM(byte_count), 0) AS BIGINT) AS bytes FROM archive_held_file \
                      WHERE partition_id % $1 = $2";
        let row = self.store.db().one(select, args![of, part]).await?;
        let row = row.ok_or(StoreError::Corrupt("archive_held_file"))?;
        Ok(HeldSum { records: row.unsigned("records")?, bytes: row.unsigned("bytes")? })
    }

    /// Lists committed files of a table and all files of held records, of one moment: a record is in one of them.
    pub async fn files_and_held(&self, table: &str) -> Result<(Vec<FileRow>, Vec<HeldFile>), StoreError> {
        let mut tx = self.store.db().begin_read().await?;
        let select = "SELECT path, table_name, tenant, day, partition_id, row_count, byte_count, sha256, \
                      time_min_us, time_max_us, offset_first, offset_last FROM archive_file \
                      WHERE table_name = $1 ORDER BY offset_first, path";
        let files = tx.all(select, args![table]).await?.iter().map(file_row).collect::<Result<_, _>>()?;
        let held = tx
            .all(files!("ORDER BY offset_first, path"), args![])
            .await?
            .iter()
            .map(held_file)
            .collect::<Result<_, _>>()?;
        Ok((files, held))
    }

    /// Returns the partition of the bus, 0 on one machine.
    fn part(&self) -> i64 {
        self.share().map_or(0, |share| share.partition.into())
    }

    /// Returns by what a device's partition is divided, and what is left of those of this share.
    fn modulo(&self) -> (i64, i64) {
        self.share().map_or((1, 0), |share| (share.of.max(1).into(), share.partition.into()))
    }
}

/// Says of whom something is held back, anywhere, in the moment of a transaction.
pub(crate) async fn held_anywhere(tx: &mut Tx) -> Result<BTreeSet<String>, StoreError> {
    let select = "SELECT tenant FROM archive_held_tenant UNION SELECT tenant FROM archive_held_file";
    tx.all(select, args![]).await?.iter().map(|row| row.text("tenant")).collect()
}

/// Names a file of held records in the transaction of the commit that moves past them.
pub(super) async fn hold(tx: &mut Tx, file: &HeldFile, at_us: i64) -> Result<(), StoreError> {
    let insert = "INSERT INTO archive_held_file (path, tenant, partition_id, offset_first, offset_last, record_count, \
                  taken_count, byte_count, sha256, sealed_key, held_at_us) \
                  VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9, $10)";
    let values = args![
        &file.path,
        &file.tenant,
        i64::from(file.partition),
        signed(file.offset_first)?,
        signed(file.offset_last)?,
        signed(file.records)?,
        signed(file.bytes)?,
        file.sha256.as_slice(),
        file.sealed_key.as_slice(),
        at_us,
    ];
    tx.run(insert, values).await.map(drop)
}

/// Counts records off in the transaction of the commit that makes rows of them. `false`: somebody else has.
pub(super) async fn take_back(tx: &mut Tx, taken: &TakenBack, at_us: i64) -> Result<bool, StoreError> {
    let from = signed(taken.from)?;
    if let Some(to) = taken.to {
        let update = "UPDATE archive_held_file SET taken_count = $1 WHERE path = $2 AND taken_count = $3";
        return Ok(tx.run(update, args![signed(to)?, &taken.path, from]).await? == 1);
    }
    let delete = "DELETE FROM archive_held_file WHERE path = $1 AND taken_count = $2";
    if tx.run(delete, args![&taken.path, from]).await? != 1 {
        return Ok(false);
    }
    let retire = "INSERT INTO archive_retired (path, retired_at_us, erasure_id) VALUES ($1, $2, '')";
    tx.run(retire, args![&taken.path, at_us]).await?;
    Ok(true)
}

fn held_file(row: &Record) -> Result<HeldFile, StoreError> {
    let partition = row.unsigned("partition_id")?;
    Ok(HeldFile {
        path: row.text("path")?,
        tenant: row.text("tenant")?,
        partition: u16::try_from(partition)
            .map_err(|_large| StoreError::Corrupt("archive_held_file.partition_id"))?,
        offset_first: row.unsigned("offset_first")?,
        offset_last: row.unsigned("offset_last")?,
        records: row.unsigned("record_count")?,
        taken: row.unsigned("taken_count")?,
        bytes: row.unsigned("byte_count")?,
        sha256: row.bytes("sha256")?,
        sealed_key: row.bytes("sealed_key")?,
    })
}
