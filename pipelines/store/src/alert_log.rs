//! The one place that adds to a tenant's alert log: the event, its cursor, the alert's newest state and its signal,
//! in the caller's transaction.

use crate::StoreError;
use crate::alert_signal::{Paused, Said, Signal};
use crate::alerts::NewEvent;
use crate::db::{Record, Tx, args};
use prost::Message;
use wardline_proto::TenantId;
use wardline_proto::v1::{AlarmPhase, AlertState};

/// Adds an event of the engine or of the watch; returns its cursor.
pub(crate) async fn append(tx: &mut Tx, event: &NewEvent, now_us: i64) -> Result<u64, StoreError> {
    let (tenant, change) = (event.tenant.as_str(), &event.condition);
    lock(tx, tenant).await?;
    let select = "SELECT signal FROM alert WHERE tenant = $1 AND alert_id = $2";
    let before = tx.one(select, args![tenant, &event.alert_id]).await?;
    let before = before.map(|row| row.maybe_bytes("signal")).transpose()?.flatten();
    let before = before.as_deref().map(signal).transpose()?;
    // The same name of an alert that is over, begun again: its signal begins again too.
    let before = before.filter(|signal| !signal.is_over() || change.phase != AlarmPhase::Start);
    let was_paused = before.as_ref().is_some_and(|signal| signal.state() == AlertState::Paused);
    let paused = if before.is_none() { pause_of(tx, tenant, &change.condition_id).await? } else { None };
    let said = Signal::follow(before, change, paused, now_us);
    // A higher priority has ended the pause: it does not come back with the condition.
    if was_paused && said.signal.state() == AlertState::Present {
        end_pause(tx, (tenant, &change.condition_id), i64::MAX).await?;
    }
    write(tx, Written { event, said: &said, now_us }).await
}

/// Takes the row of the tenant's cursor first, as every writer of its log does: so they take turns on either database.
pub(crate) async fn lock(tx: &mut Tx, tenant: &str) -> Result<(), StoreError> {
    tx.run("UPDATE alert_cursor SET last = last WHERE tenant = $1", args![tenant]).await.map(drop)
}

/// An event with what it says.
pub(crate) struct Written<'a> {
    pub(crate) event: &'a NewEvent,
    pub(crate) said: &'a Said,
    pub(crate) now_us: i64,
}

/// Adds an event whose signal is decided; returns its cursor.
pub(crate) async fn write(tx: &mut Tx, written: Written<'_>) -> Result<u64, StoreError> {
    let Written { event, said, now_us } = written;
    let tenant = event.tenant.as_str();
    let next = "INSERT INTO alert_cursor (tenant, last) VALUES ($1, 1) \
                ON CONFLICT (tenant) DO UPDATE SET last = alert_cursor.last + 1 RETURNING last";
    let cursor =
        tx.one(next, args![tenant]).await?.ok_or(StoreError::Corrupt("alert_cursor"))?.int("last")?;
    let (signal, said_bytes) = (said.signal.encode_to_vec(), said.encode_to_vec());
    let insert = "INSERT INTO alert_event (tenant, cursor, alert_id, stored_at_us, sealed, said) \
                  VALUES ($1, $2, $3, $4, $5, $6)";
    let (sealed, said_bytes) = (event.sealed.as_slice(), said_bytes.as_slice());
    tx.run(insert, args![tenant, cursor, &event.alert_id, now_us, sealed, said_bytes]).await?;
    // 0 while the signal is on: a latched alert has ended and is still to be seen.
    let ended_us = if said.signal.is_over() { event.ended_us.max(1) } else { 0 };
    let upsert = "INSERT INTO alert (tenant, alert_id, onset_us, ended_us, cursor, sealed, signal, due_us, condition_id) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                  ON CONFLICT (tenant, alert_id) DO UPDATE SET ended_us = $4, cursor = $5, sealed = $6, signal = $7, \
                  due_us = $8, condition_id = $9";
    let (due_us, condition) = (said.signal.due_us(), &event.condition.condition_id);
    let signal = signal.as_slice();
    let values =
        args![tenant, &event.alert_id, event.onset_us, ended_us, cursor, sealed, signal, due_us, condition];
    tx.run(upsert, values).await?;
    u64::try_from(cursor).map_err(|_negative| StoreError::Corrupt("alert_cursor"))
}

/// Reads a stored signal.
pub(crate) fn signal(bytes: &[u8]) -> Result<Signal, StoreError> {
    Signal::decode(bytes).map_err(|_damaged| StoreError::Corrupt("alert.signal"))
}

async fn pause_of(tx: &mut Tx, tenant: &str, condition: &str) -> Result<Option<Paused>, StoreError> {
    let select =
        "SELECT priority, until_us, paused_by FROM alert_pause WHERE tenant = $1 AND condition_id = $2";
    let Some(row) = tx.one(select, args![tenant, condition]).await? else { return Ok(None) };
    let priority = i32::try_from(row.int("priority")?).unwrap_or(0);
    Ok(Some(Paused { priority, until_us: row.int("until_us")?, by: row.text("paused_by")? }))
}

/// Ends the pause of a condition that lasts until `until_us` at most.
pub(crate) async fn end_pause(
    tx: &mut Tx,
    (tenant, condition): (&str, &str),
    until_us: i64,
) -> Result<(), StoreError> {
    let delete = "DELETE FROM alert_pause WHERE tenant = $1 AND condition_id = $2 AND until_us <= $3";
    tx.run(delete, args![tenant, condition, until_us]).await.map(drop)
}

/// Reads a tenant's id.
pub(crate) fn tenant_of(row: &Record) -> Result<TenantId, StoreError> {
    TenantId::new(&row.text("tenant")?).map_err(|_bad| StoreError::Corrupt("alert.tenant"))
}
