//! Alert events, the newest state of each alert, and the alarm engine's checkpoint.
//!
//! [`Store::commit_alerts`] is the transaction of ALR-1: events, engine state and journal position together or not
//! at all. Event and state bytes come sealed; this module never sees what they say.
//!
//! Each commit carries the generation it builds on. A commit that was applied but whose answer was lost is
//! recognised when it is tried again, and a second engine on the same consumer name is refused.

use crate::{Store, StoreError};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// An event without a cursor, which the commit gives it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Whose log it goes to.
    pub tenant: TenantId,
    /// The alert, hex.
    pub alert_id: String,
    /// Event time of the alert's onset.
    pub onset_us: i64,
    /// 0 while the alert is present.
    pub ended_us: i64,
    /// The event, sealed.
    pub sealed: Vec<u8>,
}

/// One step of the alarm engine.
#[derive(Debug, Clone)]
pub struct AlertCommit {
    /// Name of the engine.
    pub consumer: String,
    /// The generation of the last commit; 0 before the first.
    pub generation: i64,
    /// First journal offset that is not decided.
    pub next_offset: u64,
    /// When it is stored, unix microseconds.
    pub stored_at_us: i64,
    /// What happened, in order.
    pub events: Vec<NewEvent>,
    /// Engine state besides the devices, sealed.
    pub sealed: Vec<u8>,
    /// State of the changed devices, sealed; `None` takes the device out.
    pub devices: Vec<(DeviceKey, Option<Vec<u8>>)>,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Position in the tenant's log.
    pub cursor: u64,
    /// The alert, hex.
    pub alert_id: String,
    /// When it became durable, unix microseconds.
    pub stored_at_us: i64,
    /// The event, sealed.
    pub sealed: Vec<u8>,
}

/// Where an engine stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertCheckpoint {
    /// Generation of the last commit.
    pub generation: i64,
    /// First journal offset that is not decided.
    pub next_offset: u64,
    /// Engine state besides the devices, sealed.
    pub sealed: Vec<u8>,
    /// State of every device, sealed.
    pub devices: Vec<(DeviceKey, Vec<u8>)>,
}

/// Says why a commit was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AlertCommitError {
    /// The database failed; the same commit may be tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another engine has committed under this name; this one must stop.
    #[error("another alarm engine has committed: generation {found}, this one builds on {expected}")]
    Fenced {
        /// What the database holds.
        found: i64,
        /// What the commit builds on.
        expected: i64,
    },
}

impl From<sqlx::Error> for AlertCommitError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Commits one step and returns its generation. On disk when it returns. Trying the same commit again is safe.
    pub async fn commit_alerts(&self, commit: &AlertCommit) -> Result<i64, AlertCommitError> {
        let mut tx = self.sqlite()?.begin_with("BEGIN IMMEDIATE").await?;
        let next = commit.generation + 1;
        let found = generation(&mut tx, &commit.consumer).await?;
        if found == next && same_position(&mut tx, commit).await? {
            return Ok(next);
        }
        if found != commit.generation {
            return Err(AlertCommitError::Fenced { found, expected: commit.generation });
        }
        for event in &commit.events {
            insert_event(&mut tx, event, commit.stored_at_us).await?;
        }
        for (key, sealed) in &commit.devices {
            put_device(&mut tx, &commit.consumer, key, sealed.as_deref()).await?;
        }
        sqlx::query(
            "INSERT INTO alert_checkpoint (consumer, generation, next_offset, sealed) VALUES ($1, $2, $3, $4)
             ON CONFLICT (consumer) DO UPDATE SET generation = $2, next_offset = $3, sealed = $4",
        )
        .bind(&commit.consumer)
        .bind(next)
        .bind(commit.next_offset as i64)
        .bind(&commit.sealed)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(next)
    }

    /// Returns where the engine stopped; `None` before its first commit.
    pub async fn alert_checkpoint(&self, consumer: &str) -> Result<Option<AlertCheckpoint>, StoreError> {
        let mut tx = self.sqlite()?.begin().await?;
        let row =
            sqlx::query("SELECT generation, next_offset, sealed FROM alert_checkpoint WHERE consumer = $1")
                .bind(consumer)
                .fetch_optional(&mut *tx)
                .await?;
        let Some(row) = row else { return Ok(None) };
        let rows = sqlx::query("SELECT tenant, device, sealed FROM alert_device_state WHERE consumer = $1")
            .bind(consumer)
            .fetch_all(&mut *tx)
            .await?;
        let devices = rows.iter().map(device_row).collect::<Result<_, _>>()?;
        let next_offset = row.try_get::<i64, _>(1)? as u64;
        Ok(Some(AlertCheckpoint {
            generation: row.try_get(0)?,
            next_offset,
            sealed: row.try_get(2)?,
            devices,
        }))
    }

    /// Returns the first journal offset that the engine has not decided; `None` before its first commit.
    pub async fn alert_position(&self, consumer: &str) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query("SELECT next_offset FROM alert_checkpoint WHERE consumer = $1")
            .bind(consumer)
            .fetch_optional(self.sqlite()?)
            .await?;
        Ok(row.map(|r| r.try_get::<i64, _>(0)).transpose()?.map(|offset| offset as u64))
    }

    /// Returns at most `limit` events of a tenant after `cursor`, in order.
    pub async fn alert_events(
        &self,
        tenant: &TenantId,
        cursor: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT cursor, alert_id, stored_at_us, sealed FROM alert_event
             WHERE tenant = $1 AND cursor > $2 ORDER BY cursor LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(i64::try_from(cursor).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(self.sqlite()?)
        .await?;
        rows.iter().map(event_row).collect()
    }

    /// Returns the newest event of each alert of a tenant, newest onset first.
    pub async fn alerts(
        &self,
        tenant: &TenantId,
        include_ended: bool,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT cursor, alert_id, 0, sealed FROM alert
             WHERE tenant = $1 AND (ended_us = 0 OR $2) ORDER BY onset_us DESC, cursor DESC LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(include_ended)
        .bind(i64::from(limit))
        .fetch_all(self.sqlite()?)
        .await?;
        rows.iter().map(event_row).collect()
    }

    /// Returns the cursor of a tenant's last event; 0 before the first.
    pub async fn alert_head(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT last FROM alert_cursor WHERE tenant = $1")
            .bind(tenant.as_str())
            .fetch_optional(self.sqlite()?)
            .await?;
        Ok(row.map(|r| r.try_get::<i64, _>(0)).transpose()?.unwrap_or(0) as u64)
    }
}

async fn generation(tx: &mut Transaction<'_, Sqlite>, consumer: &str) -> Result<i64, sqlx::Error> {
    let row = sqlx::query("SELECT generation FROM alert_checkpoint WHERE consumer = $1")
        .bind(consumer)
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|r| r.try_get(0)).transpose().map(|found| found.unwrap_or(0))
}

/// A lost answer leaves exactly this commit's position and state; another engine's state differs, as each seal
/// does.
async fn same_position(tx: &mut Transaction<'_, Sqlite>, commit: &AlertCommit) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT next_offset, sealed FROM alert_checkpoint WHERE consumer = $1")
        .bind(&commit.consumer)
        .fetch_one(&mut **tx)
        .await?;
    let (offset, sealed): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(offset as u64 == commit.next_offset && sealed == commit.sealed)
}

async fn insert_event(
    tx: &mut Transaction<'_, Sqlite>,
    event: &NewEvent,
    stored_at_us: i64,
) -> Result<(), sqlx::Error> {
    let tenant = event.tenant.as_str();
    let row = sqlx::query(
        "INSERT INTO alert_cursor (tenant, last) VALUES ($1, 1)
         ON CONFLICT (tenant) DO UPDATE SET last = last + 1 RETURNING last",
    )
    .bind(tenant)
    .fetch_one(&mut **tx)
    .await?;
    let cursor: i64 = row.try_get(0)?;
    sqlx::query(
        "INSERT INTO alert_event (tenant, cursor, alert_id, stored_at_us, sealed) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(tenant)
    .bind(cursor)
    .bind(&event.alert_id)
    .bind(stored_at_us)
    .bind(&event.sealed)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO alert (tenant, alert_id, onset_us, ended_us, cursor, sealed)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant, alert_id) DO UPDATE SET ended_us = $4, cursor = $5, sealed = $6",
    )
    .bind(tenant)
    .bind(&event.alert_id)
    .bind(event.onset_us)
    .bind(event.ended_us)
    .bind(cursor)
    .bind(&event.sealed)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn put_device(
    tx: &mut Transaction<'_, Sqlite>,
    consumer: &str,
    key: &DeviceKey,
    sealed: Option<&[u8]>,
) -> Result<(), sqlx::Error> {
    let statement = match sealed {
        Some(_) => {
            "INSERT INTO alert_device_state (consumer, tenant, device, sealed) VALUES ($1, $2, $3, $4)
             ON CONFLICT (consumer, tenant, device) DO UPDATE SET sealed = $4"
        }
        None => "DELETE FROM alert_device_state WHERE consumer = $1 AND tenant = $2 AND device = $3",
    };
    let query = sqlx::query(statement).bind(consumer).bind(key.tenant.as_str()).bind(key.device.as_str());
    let query = if sealed.is_some() { query.bind(sealed) } else { query };
    query.execute(&mut **tx).await?;
    Ok(())
}

fn device_row(row: &SqliteRow) -> Result<(DeviceKey, Vec<u8>), StoreError> {
    let corrupt = |_| StoreError::Corrupt("alert_device_state");
    let tenant = TenantId::new(row.try_get(0)?).map_err(corrupt)?;
    let device = DeviceId::new(row.try_get(1)?).map_err(corrupt)?;
    Ok((DeviceKey { tenant, device }, row.try_get(2)?))
}

fn event_row(row: &SqliteRow) -> Result<StoredEvent, StoreError> {
    let cursor = row.try_get::<i64, _>(0)? as u64;
    Ok(StoredEvent {
        cursor,
        alert_id: row.try_get(1)?,
        stored_at_us: row.try_get(2)?,
        sealed: row.try_get(3)?,
    })
}
