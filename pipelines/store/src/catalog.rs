//! The archive's catalog: files, position and stream state, changed in one transaction (ARC-1).
//!
//! A reader that lists files in one statement sees whole commits only. The archive worker is the only writer; a
//! commit names its lease and the position that it started from, so a second writer fails instead of storing twice.

pub(crate) mod held;
mod lease;

pub use crate::catalog_moment::Moment;
use crate::cluster::{Claim, Share, Standing};
use crate::db::{Record, Tx, args, signed};
use crate::hours::{HourRow, Told, tell, upsert_hour};
use crate::replay::{FrameName, Outcome};
use crate::resend::ResendAnswer;
use crate::{Store, StoreError};
pub use held::{HeldFile, HeldSum, TakenBack};
use std::collections::BTreeMap;

/// Says what went wrong with a catalog commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The lease or the position is not the commit's own: another worker took over.
    #[error("another worker took the catalog over")]
    Fenced,
    /// The database refused or failed. Nothing was committed, unless the failure hid a success.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One committed Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Path below the archive's root.
    pub path: String,
    /// Name of the table.
    pub table: String,
    /// Tenant, or `_system`.
    pub tenant: String,
    /// Day of ingest, `yyyy-mm-dd`.
    pub day: String,
    /// Partition.
    pub partition: u16,
    /// Rows.
    pub rows: u64,
    /// Size, bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Vec<u8>,
    /// Least time of the table's time column, unix microseconds.
    pub time_min_us: i64,
    /// Greatest time of the table's time column, unix microseconds.
    pub time_max_us: i64,
    /// First journal offset that has a row here.
    pub offset_first: u64,
    /// Last journal offset that has a row here.
    pub offset_last: u64,
}

/// Names a stream. Epoch and lane 0: what the device sent outside any stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// Tenant.
    pub tenant: String,
    /// Device.
    pub device: String,
    /// Epoch, unix microseconds.
    pub epoch: u64,
    /// Number of the lane.
    pub lane: i32,
}

/// What has been seen of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// Which stream.
    pub id: StreamId,
    /// Encoded intervals of positions.
    pub seen: Vec<u8>,
    /// Encoded content tags of recent positions.
    pub recent: Vec<u8>,
    /// Frames archived.
    pub archived: u64,
    /// Frames that came again.
    pub duplicates: u64,
    /// Frames in the quarantine.
    pub quarantined: u64,
    /// Frames that came after a later one.
    pub late: u64,
    /// Frames of which nothing is kept any more.
    pub erased: u64,
}

/// How far a node's audit chain is archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// Id of the node.
    pub node: String,
    /// Number of its last archived event.
    pub n: u64,
    /// That event's hash.
    pub hash: Vec<u8>,
    /// Greatest row of the outbox among its archived events, 0 when there is none.
    pub outbox_id: u64,
}

/// The right to commit, until someone takes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The committed position.
    pub next_offset: u64,
    /// Number of the lease; each is greater than the one before.
    pub number: u64,
}

/// What one commit changes.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The lease that it is made under.
    pub lease: u64,
    /// The position that this commit started from.
    pub from_offset: u64,
    /// The new position.
    pub next_offset: u64,
    /// New files, all durable.
    pub files: Vec<FileRow>,
    /// Changed streams.
    pub streams: Vec<StreamRow>,
    /// Audit chains that the files go on with.
    pub audit_heads: Vec<AuditHead>,
    /// Changed hours of streams.
    pub hours: Vec<HourRow>,
    /// Hours that the files tell of.
    pub told: Vec<Told>,
    /// Frames of the quarantine that were judged again, with what became of them.
    pub replays: Vec<(FrameName, Outcome)>,
    /// What devices say of requests to send again: tenant, device, answer.
    pub resends: Vec<(String, String, ResendAnswer)>,
    /// New files of records that are held back, all durable.
    pub held: Vec<HeldFile>,
    /// Held records that are rows with this commit.
    pub taken_back: Vec<TakenBack>,
    /// What a partition's claim moves to beside the position; nothing on one machine.
    pub standing: Standing,
    /// When, unix microseconds.
    pub at_us: i64,
}

/// The archive's tables of the database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    store: Store,
    /// The partition that is worked on, where there are several workers.
    claim: Option<Claim>,
}

/// Reads one stream.
pub(crate) const STREAM_COLUMNS: &str = "SELECT tenant, device, epoch, lane, seen, recent, archived, duplicates, quarantined, late, \
     erased FROM archive_stream WHERE tenant = $1 AND device = $2 AND epoch = $3 AND lane = $4";

impl Catalog {
    /// Makes a catalog of an open database.
    pub fn new(store: Store) -> Self {
        Self { store, claim: None }
    }

    /// Makes a catalog whose commits are those of one partition, under a claim.
    pub fn of_partition(store: Store, claim: Claim) -> Self {
        Self { store, claim: Some(claim) }
    }

    /// Returns the share of the partitions that commits are of; none when they are of all.
    pub fn share(&self) -> Option<Share> {
        self.claim.as_ref().map(|claim| claim.share)
    }

    /// Says whether a device's partition is among those that commits are of.
    pub fn owns(&self, partition: u16) -> bool {
        self.share().is_none_or(|share| share.holds(partition))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Commits files, streams and position together, or nothing.
    pub async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut tx = self.store.db().begin().await?;
        // The row is taken first: of two workers one waits here until the other has committed, and then is refused.
        if !self.advance(&mut tx, commit).await? {
            return Err(CommitError::Fenced);
        }
        for file in &commit.files {
            insert_file(&mut tx, file, commit.at_us).await?;
        }
        for file in &commit.held {
            held::hold(&mut tx, file, commit.at_us).await?;
        }
        for taken in &commit.taken_back {
            if !held::take_back(&mut tx, taken, commit.at_us).await? {
                return Err(CommitError::Fenced);
            }
        }
        for stream in &commit.streams {
            upsert_stream(&mut tx, stream, commit.at_us).await?;
        }
        for head in &commit.audit_heads {
            upsert_audit_head(&mut tx, head, commit.at_us).await?;
        }
        for hour in &commit.hours {
            upsert_hour(&mut tx, hour).await?;
        }
        for told in &commit.told {
            tell(&mut tx, told).await?;
        }
        for replay in &commit.replays {
            if !crate::replay::mark(&mut tx, replay, commit.at_us).await? {
                return Err(CommitError::Fenced);
            }
        }
        for (tenant, device, answer) in &commit.resends {
            crate::resend::answer(&mut tx, (tenant, device), answer, commit.at_us).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Returns how far the audit chain of each node is archived, in order of node.
    pub async fn audit_heads(&self) -> Result<Vec<AuditHead>, StoreError> {
        let select = "SELECT node, n, hash, outbox_id FROM archive_audit_head ORDER BY node";
        self.store.db().all(select, args![]).await?.iter().map(audit_head).collect()
    }

    /// Lists committed files in one statement: of `table` or of all, in order of commit.
    pub async fn files(&self, table: Option<&str>) -> Result<Vec<FileRow>, StoreError> {
        let select = "SELECT path, table_name, tenant, day, partition_id, row_count, byte_count, sha256, \
                      time_min_us, time_max_us, offset_first, offset_last FROM archive_file \
                      WHERE $1 IS NULL OR table_name = $1 ORDER BY offset_first, path";
        self.store.db().all(select, args![table]).await?.iter().map(file_row).collect()
    }

    /// Returns rows per table over all committed files.
    pub async fn rows_per_table(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let select = "SELECT table_name, CAST(SUM(row_count) AS BIGINT) AS row_count FROM archive_file \
                      GROUP BY table_name";
        let rows = self.store.db().all(select, args![]).await?;
        rows.iter().map(|row| Ok((row.text("table_name")?, row.unsigned("row_count")?))).collect()
    }

    /// Returns a stream, when it was ever committed.
    pub async fn stream(&self, id: &StreamId) -> Result<Option<StreamRow>, StoreError> {
        let values = args![&id.tenant, &id.device, signed(id.epoch)?, i64::from(id.lane)];
        self.store.db().one(STREAM_COLUMNS, values).await?.as_ref().map(stream_row).transpose()
    }

    /// Returns all streams, or those of a device name, in order.
    pub async fn streams(&self, device: Option<&str>) -> Result<Vec<StreamRow>, StoreError> {
        let select = "SELECT tenant, device, epoch, lane, seen, recent, archived, duplicates, quarantined, late, erased \
                      FROM archive_stream WHERE $1 IS NULL OR device = $1 ORDER BY tenant, device, epoch, lane";
        self.store.db().all(select, args![device]).await?.iter().map(stream_row).collect()
    }

    /// Returns how many epochs of a device's lane are known.
    pub async fn epochs(&self, id: &StreamId) -> Result<u64, StoreError> {
        let select =
            "SELECT COUNT(*) AS epochs FROM archive_stream WHERE tenant = $1 AND device = $2 AND lane = $3";
        let row = self.store.db().one(select, args![&id.tenant, &id.device, i64::from(id.lane)]).await?;
        row.ok_or(StoreError::Corrupt("archive_stream"))?.unsigned("epochs")
    }

    /// Returns what is stored under a name among the secrets, if anything is.
    pub async fn known_secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let select = "SELECT sealed FROM archive_secret WHERE name = $1";
        let row = self.store.db().one(select, args![name]).await?;
        row.map(|row| row.bytes("sealed")).transpose()
    }

    /// Returns a sealed secret, storing `fresh` when there is none of that name.
    pub async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        let insert =
            "INSERT INTO archive_secret (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        self.store.db().run(insert, args![name, fresh]).await?;
        let select = "SELECT sealed FROM archive_secret WHERE name = $1";
        self.store
            .db()
            .one(select, args![name])
            .await?
            .ok_or(StoreError::Corrupt("archive_secret"))?
            .bytes("sealed")
    }
}

/// Names a file in the transaction of a commit.
pub(crate) async fn insert_file(tx: &mut Tx, file: &FileRow, at_us: i64) -> Result<(), StoreError> {
    let insert = "INSERT INTO archive_file (path, table_name, tenant, day, partition_id, row_count, byte_count, \
                  sha256, time_min_us, time_max_us, offset_first, offset_last, committed_at_us) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let values = args![
        &file.path,
        &file.table,
        &file.tenant,
        &file.day,
        i64::from(file.partition),
        signed(file.rows)?,
        signed(file.bytes)?,
        file.sha256.as_slice(),
        file.time_min_us,
        file.time_max_us,
        signed(file.offset_first)?,
        signed(file.offset_last)?,
        at_us,
    ];
    tx.run(insert, values).await.map(drop)
}

async fn upsert_stream(tx: &mut Tx, stream: &StreamRow, at_us: i64) -> Result<(), StoreError> {
    let upsert = "INSERT INTO archive_stream (tenant, device, epoch, lane, seen, recent, archived, duplicates, \
                  quarantined, late, updated_at_us, erased) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                  ON CONFLICT (tenant, device, epoch, lane) DO UPDATE SET seen = excluded.seen, \
                  recent = excluded.recent, archived = excluded.archived, duplicates = excluded.duplicates, \
                  quarantined = excluded.quarantined, late = excluded.late, updated_at_us = excluded.updated_at_us, \
                  erased = excluded.erased";
    let values = args![
        &stream.id.tenant,
        &stream.id.device,
        signed(stream.id.epoch)?,
        i64::from(stream.id.lane),
        stream.seen.as_slice(),
        stream.recent.as_slice(),
        signed(stream.archived)?,
        signed(stream.duplicates)?,
        signed(stream.quarantined)?,
        signed(stream.late)?,
        at_us,
        signed(stream.erased)?,
    ];
    tx.run(upsert, values).await.map(drop)
}

async fn upsert_audit_head(tx: &mut Tx, head: &AuditHead, at_us: i64) -> Result<(), StoreError> {
    let upsert = "INSERT INTO archive_audit_head (node, n, hash, outbox_id, committed_at_us) \
                  VALUES ($1, $2, $3, $4, $5) ON CONFLICT (node) DO UPDATE SET n = excluded.n, \
                  hash = excluded.hash, committed_at_us = excluded.committed_at_us, outbox_id = CASE \
                  WHEN excluded.outbox_id > archive_audit_head.outbox_id THEN excluded.outbox_id \
                  ELSE archive_audit_head.outbox_id END WHERE excluded.n > archive_audit_head.n";
    let values = args![&head.node, signed(head.n)?, head.hash.as_slice(), signed(head.outbox_id)?, at_us];
    tx.run(upsert, values).await.map(drop)
}

fn audit_head(row: &Record) -> Result<AuditHead, StoreError> {
    Ok(AuditHead {
        node: row.text("node")?,
        n: row.unsigned("n")?,
        hash: row.bytes("hash")?,
        outbox_id: row.unsigned("outbox_id")?,
    })
}

pub(crate) fn file_row(row: &Record) -> Result<FileRow, StoreError> {
    let partition = row.unsigned("partition_id")?;
    Ok(FileRow {
        path: row.text("path")?,
        table: row.text("table_name")?,
        tenant: row.text("tenant")?,
        day: row.text("day")?,
        partition: u16::try_from(partition)
            .map_err(|_large| StoreError::Corrupt("archive_file.partition_id"))?,
        rows: row.unsigned("row_count")?,
        bytes: row.unsigned("byte_count")?,
        sha256: row.bytes("sha256")?,
        time_min_us: row.int("time_min_us")?,
        time_max_us: row.int("time_max_us")?,
        offset_first: row.unsigned("offset_first")?,
        offset_last: row.unsigned("offset_last")?,
    })
}

pub(crate) fn stream_row(row: &Record) -> Result<StreamRow, StoreError> {
    let lane = row.int("lane")?;
    let id = StreamId {
        tenant: row.text("tenant")?,
        device: row.text("device")?,
        epoch: row.unsigned("epoch")?,
        lane: i32::try_from(lane).map_err(|_large| StoreError::Corrupt("archive_stream.lane"))?,
    };
    Ok(StreamRow {
        id,
        seen: row.bytes("seen")?,
        recent: row.bytes("recent")?,
        archived: row.unsigned("archived")?,
        duplicates: row.unsigned("duplicates")?,
        quarantined: row.unsigned("quarantined")?,
        late: row.unsigned("late")?,
        erased: row.unsigned("erased")?,
    })
}
