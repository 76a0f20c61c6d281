//! What came of each stream in each hour: the counts behind the archive's completeness.
//!
//! Changed in the transaction that commits the frames that are counted (ARC-1), by the archive worker alone.

use crate::StoreError;
use crate::catalog::{Catalog, StreamId};
use crate::db::{Record, Tx, args, signed};

pub use crate::hour_sums::{HourLook, HourSum};

/// One hour of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourRow {
    /// Which stream.
    pub id: StreamId,
    /// Begin of the hour, unix microseconds.
    pub hour_us: i64,
    /// Positions that took their place in this hour, encoded.
    pub seen: Vec<u8>,
    /// How many those are.
    pub placed: u64,
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
    /// How often the hour was archived.
    pub revision: u64,
    /// Digest of what was archived of it last; empty before.
    pub told: Vec<u8>,
}

/// An hour whose report is archived by a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which stream.
    pub id: StreamId,
    /// Begin of the hour, unix microseconds.
    pub hour_us: i64,
    /// The revision that was archived.
    pub revision: u64,
    /// Digest of it.
    pub told: Vec<u8>,
    /// Holes that it tells of.
    pub holes: u64,
}

const COLUMNS: &str = "SELECT tenant, device, epoch, lane, hour_us, seen, placed, archived, duplicates, quarantined, \
                       late, erased, revision, told FROM archive_hour WHERE tenant = $1 AND device = $2 AND epoch = $3 \
                       AND lane = $4 AND hour_us >= $5 AND hour_us <= $6 ORDER BY hour_us";

impl Catalog {
    /// Returns the hours of a stream that begin within a range, in order.
    pub async fn hours(&self, id: &StreamId, from_us: i64, to_us: i64) -> Result<Vec<HourRow>, StoreError> {
        let (epoch, lane) = (signed(id.epoch)?, i64::from(id.lane));
        let values = args![&id.tenant, &id.device, epoch, lane, from_us, to_us];
        self.store().db().all(COLUMNS, values).await?.iter().map(hour_row).collect()
    }

    /// Returns the hours of a stream whose report may differ from what was archived, in order: they changed, or they
    /// were archived with holes. No other hour's report can change, however old the stream is.
    pub async fn unsettled_hours(&self, id: &StreamId) -> Result<Vec<HourRow>, StoreError> {
        let select = "SELECT tenant, device, epoch, lane, hour_us, seen, placed, archived, duplicates, quarantined, \
                      late, erased, revision, told FROM archive_hour WHERE tenant = $1 AND device = $2 AND epoch = $3 \
                      AND lane = $4 AND (is_told = 0 OR holes > 0) ORDER BY hour_us";
        let values = args![&id.tenant, &id.device, signed(id.epoch)?, i64::from(id.lane)];
        self.store().db().all(select, values).await?.iter().map(hour_row).collect()
    }

    /// Returns streams that changed in an hour which began at or before a time and is not archived as it is. Those of
    /// tenants that are held back wait: their hours are not whole, and there is no key for their files.
    pub async fn untold_streams(&self, until_us: i64, limit: usize) -> Result<Vec<StreamId>, StoreError> {
        let select = "SELECT DISTINCT tenant, device, epoch, lane FROM archive_hour \
                      WHERE is_told = 0 AND hour_us <= $1 AND NOT EXISTS (SELECT 1 FROM archive_held_tenant h \
                      WHERE h.tenant = archive_hour.tenant) ORDER BY tenant, device, epoch, lane LIMIT $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.store().db().all(select, args![until_us, limit]).await?.iter().map(stream_id).collect()
    }
}

/// Returns the hours of a stream that begin within a range, in order, as a transaction sees them.
pub(crate) async fn hours_of(
    tx: &mut Tx,
    id: &StreamId,
    (from_us, to_us): (i64, i64),
) -> Result<Vec<HourRow>, StoreError> {
    let (epoch, lane) = (signed(id.epoch)?, i64::from(id.lane));
    let values = args![&id.tenant, &id.device, epoch, lane, from_us, to_us];
    tx.all(COLUMNS, values).await?.iter().map(hour_row).collect()
}

/// Writes the counts of an hour in the transaction of a commit.
pub(crate) async fn upsert_hour(tx: &mut Tx, hour: &HourRow) -> Result<(), StoreError> {
    let upsert = "INSERT INTO archive_hour (tenant, device, epoch, lane, hour_us, seen, placed, archived, duplicates, \
                  quarantined, late, is_told, revision, told, erased) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
                  0, 0, $12, $13) ON CONFLICT (tenant, device, epoch, lane, hour_us) DO UPDATE SET \
                  seen = excluded.seen, placed = excluded.placed, archived = excluded.archived, \
                  duplicates = excluded.duplicates, quarantined = excluded.quarantined, late = excluded.late, \
                  erased = excluded.erased, is_told = 0";
    let values = args![
        &hour.id.tenant,
        &hour.id.device,
        signed(hour.id.epoch)?,
        i64::from(hour.id.lane),
        hour.hour_us,
        &hour.seen[..],
        signed(hour.placed)?,
        signed(hour.archived)?,
        signed(hour.duplicates)?,
        signed(hour.quarantined)?,
        signed(hour.late)?,
        &hour.told[..],
        signed(hour.erased)?,
    ];
    tx.run(upsert, values).await.map(drop)
}

/// Marks an hour as archived in the transaction of the commit that archives it.
pub(crate) async fn tell(tx: &mut Tx, told: &Told) -> Result<(), StoreError> {
    let update = "UPDATE archive_hour SET is_told = 1, revision = $1, told = $2, holes = $8 WHERE tenant = $3 \
                  AND device = $4 AND epoch = $5 AND lane = $6 AND hour_us = $7";
    let (epoch, lane) = (signed(told.id.epoch)?, i64::from(told.id.lane));
    let values = args![
        signed(told.revision)?,
        &told.told[..],
        &told.id.tenant,
        &told.id.device,
        epoch,
        lane,
        told.hour_us,
        signed(told.holes)?,
    ];
    tx.run(update, values).await.map(drop)
}

fn stream_id(row: &Record) -> Result<StreamId, StoreError> {
    let lane = i32::try_from(row.int("lane")?).map_err(|_large| StoreError::Corrupt("archive_hour.lane"))?;
    Ok(StreamId {
        tenant: row.text("tenant")?,
        device: row.text("device")?,
        epoch: row.unsigned("epoch")?,
        lane,
    })
}

fn hour_row(row: &Record) -> Result<HourRow, StoreError> {
    Ok(HourRow {
        id: stream_id(row)?,
        hour_us: row.int("hour_us")?,
        seen: row.bytes("seen")?,
        placed: row.unsigned("placed")?,
        archived: row.unsigned("archived")?,
        duplicates: row.unsigned("duplicates")?,
        quarantined: row.unsigned("quarantined")?,
        late: row.unsigned("late")?,
        erased: row.unsigned("erased")?,
        revision: row.unsigned("revision")?,
        told: row.bytes("told")?,
    })
}
