//! The hours of streams, added up: what an answer over many of them rests on.

use crate::StoreError;
use crate::catalog::{Catalog, StreamId};
use crate::db::{Record, Tx, args};
use crate::hours::{HourRow, hours_of};
use crate::standings::{Standings, standings};

/// What came of one stream in some hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourSum {
    /// Which stream.
    pub id: StreamId,
    /// Positions that took their place.
    pub placed: u64,
    /// Frames archived.
    pub archived: u64,
    /// Frames that came again.
    pub duplicates: u64,
    /// Frames in the quarantine.
    pub quarantined: u64,
    /// Frames that came after a later one.
    pub late: u64,
}

/// The counts of all streams at one moment: whatever is committed while it is looked at is in none of its answers.
pub struct HourLook {
    tx: Tx,
    next_offset: Option<u64>,
}

impl Catalog {
    /// Begins to look at the counts of this moment.
    pub async fn hour_look(&self) -> Result<HourLook, StoreError> {
        let mut tx = self.store().db().begin_read().await?;
        let position = tx.one("SELECT next_offset FROM archive_position WHERE id = 1", args![]).await?;
        let next_offset = position.map(|row| row.unsigned("next_offset")).transpose()?;
        Ok(HourLook { tx, next_offset })
    }
}

impl HourLook {
    /// Returns the committed position that the counts are of; none where there are several.
    pub fn next_offset(&self) -> Option<u64> {
        self.next_offset
    }

    /// Returns where the archive stands in each partition, where there are several.
    pub async fn standings(&mut self) -> Result<Standings, StoreError> {
        standings(&mut self.tx).await
    }

    /// Adds up the hours that begin within a range, per stream: of a tenant, or of all. At most as many streams as are
    /// asked for.
    pub async fn sums(
        &mut self,
        tenant: Option<&str>,
        (from_us, to_us): (i64, i64),
        limit: usize,
    ) -> Result<Vec<HourSum>, StoreError> {
        let select = "SELECT tenant, device, epoch, lane, CAST(SUM(placed) AS BIGINT) AS placed, \
                      CAST(SUM(archived) AS BIGINT) AS archived, CAST(SUM(duplicates) AS BIGINT) AS duplicates, \
                      CAST(SUM(quarantined) AS BIGINT) AS quarantined, CAST(SUM(late) AS BIGINT) AS late \
                      FROM archive_hour WHERE ($1 = '' OR tenant = $1) AND hour_us >= $2 AND hour_us <= $3 \
                      GROUP BY tenant, device, epoch, lane LIMIT $4";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.tx.all(select, args![tenant.unwrap_or(""), from_us, to_us, limit]).await?;
        rows.iter().map(hour_sum).collect()
    }

    /// Returns the encoded positions that were seen of each stream that has an hour from a time on: of a tenant, or
    /// of all.
    pub async fn seen(
        &mut self,
        tenant: Option<&str>,
        from_us: i64,
    ) -> Result<Vec<(StreamId, Vec<u8>)>, StoreError> {
        let select = "SELECT tenant, device, epoch, lane, seen FROM archive_stream \
                      WHERE ($1 = '' OR tenant = $1) AND EXISTS (SELECT 1 FROM archive_hour \
                      WHERE archive_hour.tenant = archive_stream.tenant \
                      AND archive_hour.device = archive_stream.device \
                      AND archive_hour.epoch = archive_stream.epoch \
                      AND archive_hour.lane = archive_stream.lane \
                      AND archive_hour.hour_us >= $2)";
        let rows = self.tx.all(select, args![tenant.unwrap_or(""), from_us]).await?;
        rows.iter().map(|row| Ok((stream_id(row)?, row.bytes("seen")?))).collect()
    }

    /// Returns the hours of a stream that begin within a range, in order.
    pub async fn hours(&mut self, id: &StreamId, range: (i64, i64)) -> Result<Vec<HourRow>, StoreError> {
        hours_of(&mut self.tx, id, range).await
    }
}

fn stream_id(row: &Record) -> Result<StreamId, StoreError> {
    let lane = i32::try_from(row.int("lane")?).map_err(|_large| StoreError::Corrupt("archive_hour.lane"))?;
    let (tenant, device) = (row.text("tenant")?, row.text("device")?);
    Ok(StreamId { tenant, device, epoch: row.unsigned("epoch")?, lane })
}

fn hour_sum(row: &Record) -> Result<HourSum, StoreError> {
    Ok(HourSum {
        id: stream_id(row)?,
        placed: row.unsigned("placed")?,
        archived: row.unsigned("archived")?,
        duplicates: row.unsigned("duplicates")?,
        quarantined: row.unsigned("quarantined")?,
        late: row.unsigned("late")?,
    })
}
