//! What was erased: the list that filters every read, how far its rows are rewritten, and the certificate.

use crate::catalog::{Catalog, CommitError, FileRow, StreamId};
use crate::db::{Record, Tx, args, signed};
use crate::outbox::{Change, insert};
use crate::retired::{hold_lease, retire};
use crate::{Store, StoreError};
use std::collections::BTreeSet;

/// When a subject wore a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The device.
    pub device: String,
    /// From when on, unix microseconds.
    pub from_us: i64,
    /// Until when, exclusive.
    pub until_us: i64,
    /// The ledger knew no earlier end than the request.
    pub goes_on: bool,
}

/// A range of the erase list: no read gives a row of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedRange {
    /// The erasure that it is of.
    pub erasure_id: String,
    /// Whose device.
    pub tenant: String,
    /// The device.
    pub device: String,
    /// From when on, unix microseconds.
    pub from_us: i64,
    /// Until when, exclusive.
    pub until_us: i64,
    /// Every file that held its rows was written again without them.
    pub is_rewritten: bool,
}

/// What an erasure has taken out of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedCount {
    /// Name of the table.
    pub table: String,
    /// Files that were written again, or removed whole.
    pub files: u64,
    /// Rows.
    pub rows: u64,
}

/// One erasure and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Its name.
    pub erasure_id: String,
    /// Whose subject.
    pub tenant: String,
    /// Salt of the digest.
    pub salt: Vec<u8>,
    /// SHA-256 over salt, tenant, a zero byte and subject.
    pub subject_sha256: Vec<u8>,
    /// Who asked.
    pub asked_by: String,
    /// When, unix microseconds.
    pub asked_at_us: i64,
    /// Files that were not looked at yet; none before the worker has listed them.
    pub files_left: Option<u64>,
    /// Why it does not go on; empty when nothing is in its way.
    pub problem: String,
    /// When the last file was written again.
    pub rewritten_at_us: Option<i64>,
    /// When it was proven and signed.
    pub certified_at_us: Option<i64>,
    /// What was taken out of each table.
    pub counts: Vec<ErasedCount>,
    /// The erase list.
    pub ranges: Vec<ErasedRange>,
}

/// A certificate as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCertificate {
    /// The document, exactly.
    pub document: Vec<u8>,
    /// The detached signature.
    pub signature: Vec<u8>,
}

/// Frames of one stream and hour of which nothing is kept any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedFrames {
    /// Which stream.
    pub id: StreamId,
    /// Begin of the hour, unix microseconds.
    pub hour_us: i64,
    /// Frames that were archived.
    pub archived: u64,
    /// Frames that were in the quarantine.
    pub quarantined: u64,
}

/// A file written again without what was erased.
#[derive(Debug, Clone)]
pub struct ErasedFile {
    /// The lease that it is made under.
    pub lease: u64,
    /// Path of the file that goes.
    pub from: String,
    /// The file that comes, durable; none when no row is left.
    pub into: Option<FileRow>,
    /// Name of the table.
    pub table: String,
    /// Whose rows.
    pub tenant: String,
    /// Rows that are left out, by erasure.
    pub rows: Vec<(String, u64)>,
    /// Frames that are gone with them.
    pub frames: Vec<ErasedFrames>,
    /// When, unix microseconds.
    pub at_us: i64,
}

impl Erasure {
    /// Makes one of ranges alone, to look for what it would take.
    pub fn of_ranges(tenant: &str, ranges: Vec<ErasedRange>) -> Self {
        Self {
            erasure_id: String::new(),
            tenant: tenant.to_owned(),
            salt: Vec::new(),
            subject_sha256: Vec::new(),
            asked_by: String::new(),
            asked_at_us: 0,
            files_left: None,
            problem: String::new(),
            rewritten_at_us: None,
            certified_at_us: None,
            counts: Vec::new(),
            ranges,
        }
    }
}

impl Store {
    /// Returns the erase list, of every tenant.
    pub async fn erased_ranges(&self) -> Result<Vec<ErasedRange>, StoreError> {
        let select = "SELECT r.erasure_id, e.tenant, r.device, r.from_us, r.until_us, e.rewritten_at_us \
                      FROM erasure_range r JOIN erasure e ON e.erasure_id = r.erasure_id \
                      ORDER BY r.erasure_id, r.device, r.from_us";
        self.db().all(select, args![]).await?.iter().map(range).collect()
    }

    /// Lists erasures, the oldest first: of a tenant, or of all.
    pub async fn erasures(&self, tenant: Option<&str>) -> Result<Vec<Erasure>, StoreError> {
        let select = "SELECT erasure_id, tenant, salt, subject_sha256, asked_by, asked_at_us, files_left, problem, \
                      rewritten_at_us, certified_at_us FROM erasure WHERE $1 = '' OR tenant = $1 \
                      ORDER BY asked_at_us, erasure_id";
        let mut tx = self.db().begin_read().await?;
        let rows = tx.all(select, args![tenant.unwrap_or_default()]).await?;
        let mut erasures = rows.iter().map(erasure).collect::<Result<Vec<_>, _>>()?;
        for erasure in &mut erasures {
            let counts = "SELECT table_name, files, row_count FROM erasure_count WHERE erasure_id = $1 \
                          ORDER BY table_name";
            let rows = tx.all(counts, args![&erasure.erasure_id]).await?;
            erasure.counts = rows.iter().map(count).collect::<Result<_, _>>()?;
            let ranges = "SELECT r.erasure_id, e.tenant, r.device, r.from_us, r.until_us, e.rewritten_at_us \
                          FROM erasure_range r JOIN erasure e ON e.erasure_id = r.erasure_id \
                          WHERE r.erasure_id = $1 ORDER BY r.device, r.from_us";
            let rows = tx.all(ranges, args![&erasure.erasure_id]).await?;
            erasure.ranges = rows.iter().map(range).collect::<Result<_, _>>()?;
        }
        Ok(erasures)
    }

    /// Keeps the certificate of an erasure, audited with its digest; the first one stands.
    pub async fn certify_erasure(
        &self,
        change: &Change,
        erasure_id: &str,
        certificate: &SignedCertificate,
        target: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        let update = "UPDATE erasure SET certified_at_us = $1, certificate = $2, signature = $3 \
                      WHERE erasure_id = $4 AND certified_at_us IS NULL AND rewritten_at_us IS NOT NULL";
        let (document, signature) = (certificate.document.as_slice(), certificate.signature.as_slice());
        if tx.run(update, args![change.at_us, document, signature, erasure_id]).await? == 1 {
            insert(&mut tx, change, "erasure_certified", "ok", target).await?;
        }
        tx.commit().await
    }

    /// Returns the certificate of an erasure; none before it is certified.
    pub async fn erasure_certificate(
        &self,
        erasure_id: &str,
    ) -> Result<Option<SignedCertificate>, StoreError> {
        let select = "SELECT certificate, signature FROM erasure WHERE erasure_id = $1 \
                      AND certified_at_us IS NOT NULL";
        let Some(row) = self.db().one(select, args![erasure_id]).await? else { return Ok(None) };
        let (document, signature) = (row.maybe_bytes("certificate")?, row.maybe_bytes("signature")?);
        let both =
            document.zip(signature).map(|(document, signature)| SignedCertificate { document, signature });
        both.map(Some).ok_or(StoreError::Corrupt("erasure.certificate"))
    }
}

impl Catalog {
    /// Returns the erase list.
    pub async fn erased_ranges(&self) -> Result<Vec<ErasedRange>, StoreError> {
        self.store().erased_ranges().await
    }

    /// Returns erasures that are not certified.
    pub async fn open_erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        let mut erasures = self.store().erasures(None).await?;
        erasures.retain(|erasure| erasure.certified_at_us.is_none());
        Ok(erasures)
    }

    /// Puts a file without the erased rows in the place of one with them, and counts; or changes nothing. `false`: a
    /// legal hold forbids it.
    pub async fn erase_file(&self, file: &ErasedFile) -> Result<bool, CommitError> {
        let mut tx = self.store().db().begin().await?;
        hold_lease(self, &mut tx, file.lease).await?;
        let held = "SELECT tenant FROM legal_hold WHERE tenant = $1";
        if tx.one(held, args![&file.tenant]).await?.is_some() {
            return Ok(false);
        }
        let of = file.rows.first().map(|(erasure_id, _)| erasure_id.as_str()).unwrap_or_default();
        retire(&mut tx, &file.from, of, file.at_us).await?;
        if let Some(into) = &file.into {
            crate::catalog::insert_file(&mut tx, into, file.at_us).await?;
        }
        for (erasure_id, rows) in &file.rows {
            add(&mut tx, erasure_id, &file.table, 1, *rows).await?;
        }
        for frames in &file.frames {
            move_frames(&mut tx, frames).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Tells how many files an erasure has still to look at, and what is in its way. Where there are several workers
    /// each tells of its own: the files add up, and a problem stands until whoever told it takes it back. One that is done
    /// with its part has nothing to tell.
    pub async fn tell_erasing(&self, erasure_id: &str, left: u64, problem: &str) -> Result<(), StoreError> {
        let Some(share) = self.share() else {
            let update = "UPDATE erasure SET files_left = $1, problem = $2 WHERE erasure_id = $3";
            return self.store().db().run(update, args![signed(left)?, problem, erasure_id]).await.map(drop);
        };
        let mut tx = self.store().db().begin().await?;
        one_after_the_other(&mut tx, erasure_id).await?;
        let done = "SELECT erasure_id FROM erasure_part WHERE erasure_id = $1 AND partition_id = $2";
        if tx.one(done, args![erasure_id, i64::from(share.partition)]).await?.is_some() {
            return Ok(());
        }
        let told = "INSERT INTO erasure_told (erasure_id, partition_id, files_left, problem) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (erasure_id, partition_id) DO UPDATE SET files_left = excluded.files_left, \
                    problem = excluded.problem";
        tx.run(told, args![erasure_id, i64::from(share.partition), signed(left)?, problem]).await?;
        add_up(&mut tx, erasure_id).await?;
        tx.commit().await
    }

    /// Returns the erasures that this partition has no file of any more, where there are several workers.
    pub async fn erased_here(&self) -> Result<BTreeSet<String>, StoreError> {
        let Some(share) = self.share() else { return Ok(BTreeSet::new()) };
        let select = "SELECT erasure_id FROM erasure_part WHERE partition_id = $1";
        let rows = self.store().db().all(select, args![i64::from(share.partition)]).await?;
        rows.iter().map(|row| row.text("erasure_id")).collect()
    }

    /// Opens a tenant's erasures that were rewritten, certified or not and in part or whole, under a lease: files will hold
    /// rows of theirs.
    pub async fn reopen_erasures(&self, lease: u64, tenant: &str) -> Result<(), CommitError> {
        let select = "SELECT e.erasure_id FROM erasure e WHERE e.tenant = $1 AND (e.rewritten_at_us IS NOT NULL \
                      OR EXISTS (SELECT 1 FROM erasure_part p WHERE p.erasure_id = e.erasure_id)) LIMIT 1";
        if self.store().db().one(select, args![tenant]).await?.is_none() {
            return Ok(());
        }
        let mut tx = self.store().db().begin().await?;
        hold_lease(self, &mut tx, lease).await?;
        let update = "UPDATE erasure SET rewritten_at_us = NULL WHERE tenant = $1 \
                      AND rewritten_at_us IS NOT NULL";
        tx.run(update, args![tenant]).await?;
        let parts =
            "DELETE FROM erasure_part WHERE erasure_id IN (SELECT erasure_id FROM erasure WHERE tenant = $1)";
        tx.run(parts, args![tenant]).await?;
        Ok(tx.commit().await?)
    }

    /// Marks an erasure as rewritten, under a lease: where there are several workers, for this partition, and as a whole
    /// when no other is left.
    pub async fn end_erasing(&self, lease: u64, erasure_id: &str, at_us: i64) -> Result<(), CommitError> {
        let mut tx = self.store().db().begin().await?;
        hold_lease(self, &mut tx, lease).await?;
        if let Some(share) = self.share() {
            one_after_the_other(&mut tx, erasure_id).await?;
            let gone = "DELETE FROM erasure_told WHERE erasure_id = $1 AND partition_id = $2";
            tx.run(gone, args![erasure_id, i64::from(share.partition)]).await?;
            let insert = "INSERT INTO erasure_part (erasure_id, partition_id) VALUES ($1, $2) \
                          ON CONFLICT (erasure_id, partition_id) DO NOTHING";
            tx.run(insert, args![erasure_id, i64::from(share.partition)]).await?;
            let count = "SELECT COUNT(*) AS parts FROM erasure_part WHERE erasure_id = $1";
            let parts = tx.one(count, args![erasure_id]).await?.ok_or(StoreError::Corrupt("erasure_part"))?;
            if parts.int("parts")? < i64::from(share.of) {
                add_up(&mut tx, erasure_id).await?;
                return Ok(tx.commit().await?);
            }
        }
        // Clocks of workers differ: not before anything was replaced that may hold what it took.
        let update = "UPDATE erasure SET files_left = 0, problem = '', rewritten_at_us = (SELECT CASE WHEN \
                      MAX(retired_at_us) > $1 THEN MAX(retired_at_us) ELSE $1 END FROM archive_retired) \
                      WHERE erasure_id = $2 AND rewritten_at_us IS NULL";
        tx.run(update, args![at_us, erasure_id]).await?;
        Ok(tx.commit().await?)
    }
}

/// Lets workers that tell of an erasure do so one after the other, or the last two would not see each other.
async fn one_after_the_other(tx: &mut Tx, erasure_id: &str) -> Result<(), StoreError> {
    tx.run("UPDATE erasure SET problem = problem WHERE erasure_id = $1", args![erasure_id]).await.map(drop)
}

/// Tells of an erasure what its workers told.
async fn add_up(tx: &mut Tx, erasure_id: &str) -> Result<(), StoreError> {
    let update = "UPDATE erasure SET \
                  files_left = COALESCE((SELECT SUM(t.files_left) FROM erasure_told t WHERE t.erasure_id = $1), -1), \
                  problem = COALESCE((SELECT t.problem FROM erasure_told t WHERE t.erasure_id = $1 \
                  AND t.problem <> '' ORDER BY t.partition_id LIMIT 1), '') WHERE erasure_id = $1";
    tx.run(update, args![erasure_id]).await.map(drop)
}

/// Adds to what an erasure has taken out of a table.
pub(crate) async fn add(
    tx: &mut Tx,
    erasure_id: &str,
    table: &str,
    files: u64,
    rows: u64,
) -> Result<(), StoreError> {
    let upsert = "INSERT INTO erasure_count (erasure_id, table_name, files, row_count) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (erasure_id, table_name) DO UPDATE SET files = erasure_count.files + $3, \
                  row_count = erasure_count.row_count + $4";
    tx.run(upsert, args![erasure_id, table, signed(files)?, signed(rows)?]).await.map(drop)
}

/// Moves frames of a stream and hour from where they were counted to the erased ones.
async fn move_frames(tx: &mut Tx, frames: &ErasedFrames) -> Result<(), StoreError> {
    let id = &frames.id;
    let (archived, quarantined) = (signed(frames.archived)?, signed(frames.quarantined)?);
    let (epoch, lane) = (signed(id.epoch)?, i64::from(id.lane));
    let stream = "UPDATE archive_stream SET erased = erased + $1 + $2, \
                  archived = CASE WHEN archived > $1 THEN archived - $1 ELSE 0 END, \
                  quarantined = CASE WHEN quarantined > $2 THEN quarantined - $2 ELSE 0 END \
                  WHERE tenant = $3 AND device = $4 AND epoch = $5 AND lane = $6";
    tx.run(stream, args![archived, quarantined, &id.tenant, &id.device, epoch, lane]).await?;
    let hour = "UPDATE archive_hour SET erased = erased + $1 + $2, is_told = 0, \
                archived = CASE WHEN archived > $1 THEN archived - $1 ELSE 0 END, \
                quarantined = CASE WHEN quarantined > $2 THEN quarantined - $2 ELSE 0 END \
                WHERE tenant = $3 AND device = $4 AND epoch = $5 AND lane = $6 AND hour_us = $7";
    let values = args![archived, quarantined, &id.tenant, &id.device, epoch, lane, frames.hour_us];
    tx.run(hour, values).await.map(drop)
}

fn range(row: &Record) -> Result<ErasedRange, StoreError> {
    Ok(ErasedRange {
        erasure_id: row.text("erasure_id")?,
        tenant: row.text("tenant")?,
        device: row.text("device")?,
        from_us: row.int("from_us")?,
        until_us: row.int("until_us")?,
        is_rewritten: row.maybe_int("rewritten_at_us")?.is_some(),
    })
}

fn count(row: &Record) -> Result<ErasedCount, StoreError> {
    let (files, rows) = (row.unsigned("files")?, row.unsigned("row_count")?);
    Ok(ErasedCount { table: row.text("table_name")?, files, rows })
}

fn erasure(row: &Record) -> Result<Erasure, StoreError> {
    Ok(Erasure {
        erasure_id: row.text("erasure_id")?,
        tenant: row.text("tenant")?,
        salt: row.bytes("salt")?,
        subject_sha256: row.bytes("subject_sha256")?,
        asked_by: row.text("asked_by")?,
        asked_at_us: row.int("asked_at_us")?,
        files_left: u64::try_from(row.int("files_left")?).ok(),
        problem: row.text("problem")?,
        rewritten_at_us: row.maybe_int("rewritten_at_us")?,
        certified_at_us: row.maybe_int("certified_at_us")?,
        counts: Vec::new(),
        ranges: Vec::new(),
    })
}
