//! Alert events, the newest state of each alert, and the alarm engine's checkpoint.
//!
//! [`Store::commit_alerts`] is the transaction of ALR-1: events, engine state and journal position together or not
//! at all. Event and state bytes come sealed; this module never sees what they say.
//!
//! Each commit carries the generation it builds on. A commit that was applied but whose answer was lost is
//! recognised when it is tried again, and a second engine on the same consumer name is refused.

use crate::alert_log;
use crate::alert_signal::{Condition, Signal};
use crate::cluster::{Step, advance as advance_lease};
use crate::db::{Record, Tx, args, signed};
use crate::{Store, StoreError};
use std::collections::BTreeSet;
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// An event without a cursor, which the commit gives it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Whose log it goes to.
    pub tenant: TenantId,
    /// The device that it is about; empty: none. Not stored: it is in what is sealed.
    pub device: String,
    /// The alert, hex.
    pub alert_id: String,
    /// Event time of the alert's onset.
    pub onset_us: i64,
    /// 0 while the condition is present.
    pub ended_us: i64,
    /// What happened to the condition, for the signal.
    pub condition: Condition,
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
    /// The lease of the partition that it is of, and what it moves that to; none on one machine.
    pub step: Option<Step>,
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
    /// What it says beside the condition, an encoded [`crate::alert_signal::Said`]; `None` on events of before signals.
    pub said: Option<Vec<u8>>,
}

/// An alert as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRow {
    /// Event time of its onset.
    pub onset_us: i64,
    /// Its newest event.
    pub event: StoredEvent,
    /// Its signal; `None` on an alert of before signals.
    pub signal: Option<Signal>,
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
    /// The partition was taken by another worker; this one must stop.
    #[error("partition {partition} was taken by another worker")]
    Taken {
        /// Which.
        partition: u16,
    },
    /// Another engine has committed under this name; this one must stop.
    #[error("another alarm engine has committed: generation {found}, this one builds on {expected}")]
    Fenced {
        /// What the database holds.
        found: i64,
        /// What the commit builds on.
        expected: i64,
    },
}

impl Store {
    /// Commits one step and returns its generation. On disk when it returns. Trying the same commit again is safe.
    pub async fn commit_alerts(&self, commit: &AlertCommit) -> Result<i64, AlertCommitError> {
        let mut tx = self.db().begin().await?;
        let next = commit.generation + 1;
        if let Some(step) = &commit.step
            && !advance_lease(&mut tx, step, None).await?
        {
            return Err(AlertCommitError::Taken { partition: step.claim.share.partition });
        }
        // The checkpoint's row is taken first: of two engines one waits here, and then is refused.
        if !advance(&mut tx, commit, next).await? {
            let found = checkpoint(&mut tx, &commit.consumer).await?;
            let is_this = found.as_ref().is_some_and(|found| {
                (found.generation, found.next_offset, &found.sealed)
                    == (next, commit.next_offset, &commit.sealed)
            });
            // A lost answer leaves exactly this commit's position and state; another engine's state differs, as each
            // seal does.
            if is_this {
                return Ok(next);
            }
            let found = found.map_or(0, |found| found.generation);
            return Err(AlertCommitError::Fenced { found, expected: commit.generation });
        }
        // Engines of several partitions write to the logs of the same tenants: all take them in the same order.
        let tenants: BTreeSet<_> = commit.events.iter().map(|event| event.tenant.as_str()).collect();
        for tenant in tenants.into_iter().filter(|_| commit.step.is_some()) {
            alert_log::lock(&mut tx, tenant).await?;
        }
        for event in &commit.events {
            if crate::alert_erase::is_erased(&mut tx, event).await? {
                continue;
            }
            alert_log::append(&mut tx, event, commit.stored_at_us).await?;
        }
        for (key, sealed) in &commit.devices {
            put_device(&mut tx, &commit.consumer, key, sealed.as_deref()).await?;
        }
        tx.commit().await?;
        Ok(next)
    }

    /// Returns where the engine stopped; `None` before its first commit.
    pub async fn alert_checkpoint(&self, consumer: &str) -> Result<Option<AlertCheckpoint>, StoreError> {
        let mut tx = self.db().begin_read().await?;
        let Some(mut found) = checkpoint(&mut tx, consumer).await? else { return Ok(None) };
        let select = "SELECT tenant, device, sealed FROM alert_device_state WHERE consumer = $1";
        let rows = tx.all(select, args![consumer]).await?;
        found.devices = rows.iter().map(device_row).collect::<Result<_, _>>()?;
        Ok(Some(found))
    }

    /// Returns the first journal offset that the engine has not decided; `None` before its first commit.
    pub async fn alert_position(&self, consumer: &str) -> Result<Option<u64>, StoreError> {
        let select = "SELECT next_offset FROM alert_checkpoint WHERE consumer = $1";
        self.db().one(select, args![consumer]).await?.map(|row| row.unsigned("next_offset")).transpose()
    }

    /// Returns at most `limit` events of a tenant after `cursor`, in order.
    pub async fn alert_events(
        &self,
        tenant: &TenantId,
        cursor: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let select = "SELECT cursor, alert_id, stored_at_us, sealed, said FROM alert_event \
                      WHERE tenant = $1 AND cursor > $2 ORDER BY cursor LIMIT $3";
        let after = i64::try_from(cursor).unwrap_or(i64::MAX);
        let rows = self.db().all(select, args![tenant.as_str(), after, i64::from(limit)]).await?;
        rows.iter().map(|row| event_row(row, row.maybe_bytes("said")?)).collect()
    }

    /// Returns the newest event of each alert of a tenant, newest onset first, of those before `before`: an onset and
    /// the alert of it.
    pub async fn alerts(
        &self,
        tenant: &TenantId,
        include_ended: bool,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<AlertRow>, StoreError> {
        let select = "SELECT cursor, alert_id, CAST(0 AS BIGINT) AS stored_at_us, onset_us, sealed, signal FROM alert \
                      WHERE tenant = $1 AND (ended_us = 0 OR $2 = 1) \
                      AND (onset_us < $3 OR (onset_us = $3 AND alert_id < $4)) \
                      ORDER BY onset_us DESC, alert_id DESC LIMIT $5";
        // No id comes behind it, whatever the database's order of letters: none has this onset.
        let (onset_us, alert_id) = before.unwrap_or((i64::MAX, ""));
        let values = args![tenant.as_str(), include_ended, onset_us, alert_id, i64::from(limit)];
        let alert = |row: &Record| {
            let signal = row.maybe_bytes("signal")?;
            let signal = signal.as_deref().map(alert_log::signal).transpose()?;
            Ok(AlertRow { onset_us: row.int("onset_us")?, event: event_row(row, None)?, signal })
        };
        self.db().all(select, values).await?.iter().map(alert).collect()
    }

    /// Returns how many events all logs have together: another number means that there are new ones.
    pub async fn alert_heads(&self) -> Result<u64, StoreError> {
        let select = "SELECT CAST(COALESCE(SUM(last), 0) AS BIGINT) AS last FROM alert_cursor";
        let row = self.db().one(select, args![]).await?;
        row.map_or(Ok(0), |row| row.unsigned("last"))
    }

    /// Returns the cursor of a tenant's last event; 0 before the first.
    pub async fn alert_head(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let row =
            self.db().one("SELECT last FROM alert_cursor WHERE tenant = $1", args![tenant.as_str()]).await?;
        row.map_or(Ok(0), |row| row.unsigned("last"))
    }
}

/// Moves the checkpoint on from the generation that a commit builds on; says whether it stood there.
async fn advance(tx: &mut Tx, commit: &AlertCommit, next: i64) -> Result<bool, StoreError> {
    let first = "INSERT INTO alert_checkpoint (consumer, generation, next_offset, sealed) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT (consumer) DO NOTHING";
    let later = "UPDATE alert_checkpoint SET generation = $2, next_offset = $3, sealed = $4 \
                 WHERE consumer = $1 AND generation = $2 - 1";
    let sql = if commit.generation == 0 { first } else { later };
    let values = args![&commit.consumer, next, signed(commit.next_offset)?, commit.sealed.as_slice()];
    Ok(tx.run(sql, values).await? == 1)
}

/// Reads where an engine stopped, without its devices.
async fn checkpoint(tx: &mut Tx, consumer: &str) -> Result<Option<AlertCheckpoint>, StoreError> {
    let select = "SELECT generation, next_offset, sealed FROM alert_checkpoint WHERE consumer = $1";
    let Some(row) = tx.one(select, args![consumer]).await? else { return Ok(None) };
    Ok(Some(AlertCheckpoint {
        generation: row.int("generation")?,
        next_offset: row.unsigned("next_offset")?,
        sealed: row.bytes("sealed")?,
        devices: Vec::new(),
    }))
}

async fn put_device(
    tx: &mut Tx,
    consumer: &str,
    key: &DeviceKey,
    sealed: Option<&[u8]>,
) -> Result<(), StoreError> {
    let (tenant, device) = (key.tenant.as_str(), key.device.as_str());
    let upsert = "INSERT INTO alert_device_state (consumer, tenant, device, sealed) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (consumer, tenant, device) DO UPDATE SET sealed = excluded.sealed";
    let delete = "DELETE FROM alert_device_state WHERE consumer = $1 AND tenant = $2 AND device = $3";
    match sealed {
        Some(sealed) => tx.run(upsert, args![consumer, tenant, device, sealed]).await.map(drop),
        None => tx.run(delete, args![consumer, tenant, device]).await.map(drop),
    }
}

fn device_row(row: &Record) -> Result<(DeviceKey, Vec<u8>), StoreError> {
    let corrupt = |_| StoreError::Corrupt("alert_device_state");
    let tenant = TenantId::new(&row.text("tenant")?).map_err(corrupt)?;
    let device = DeviceId::new(&row.text("device")?).map_err(corrupt)?;
    Ok((DeviceKey { tenant, device }, row.bytes("sealed")?))
}

fn event_row(row: &Record, said: Option<Vec<u8>>) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        cursor: row.unsigned("cursor")?,
        alert_id: row.text("alert_id")?,
        stored_at_us: row.int("stored_at_us")?,
        sealed: row.bytes("sealed")?,
        said,
    })
}
