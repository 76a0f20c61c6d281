//! What is done about alerts: acknowledge, pause, and what time does. Each act is one transaction with its event in
//! the log and its entry in the audit outbox (AUD-1); doing the same again changes nothing.

use crate::alert_log::{self, Written};
use crate::alert_signal::{Act, Condition, Signal};
use crate::alerts::{NewEvent, StoredEvent};
use crate::db::{Record, Tx, args};
use crate::outbox::{self, Change};
use crate::{Store, StoreError};
use prost::Message;
use wardline_proto::TenantId;
use wardline_proto::v1::AlarmPhase;

/// What became of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted {
    /// It is done, and in the log under this cursor.
    Done(StoredEvent),
    /// It changed nothing; the alert as it is.
    Unchanged(StoredEvent),
    /// The alert is over: nothing can be done about it.
    Over,
    /// There is no such alert.
    Missing,
}

/// An alert on which time must act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAlert {
    /// Whose.
    pub tenant: TenantId,
    /// The alert, hex.
    pub alert_id: String,
}

impl Store {
    /// Does something about an alert. `by` is audited as who did it; time is nobody.
    pub async fn act_on_alert(
        &self,
        tenant: &TenantId,
        alert_id: &str,
        act: &Act,
        by: &Change,
    ) -> Result<Acted, StoreError> {
        let mut tx = self.db().begin().await?;
        alert_log::lock(&mut tx, tenant.as_str()).await?;
        let select = "SELECT cursor, alert_id, onset_us, ended_us, sealed, signal, condition_id FROM alert \
                      WHERE tenant = $1 AND alert_id = $2";
        let Some(row) = tx.one(select, args![tenant.as_str(), alert_id]).await? else {
            return Ok(Acted::Missing);
        };
        let Some(signal) = row.maybe_bytes("signal")? else { return Ok(Acted::Over) };
        let signal = alert_log::signal(&signal)?;
        if signal.is_over() {
            return Ok(Acted::Over);
        }
        let before = stored(&row, &signal)?;
        let (policy, priority) = (signal.policy, signal.priority());
        let Some(said) = signal.act(act, by.at_us) else { return Ok(Acted::Unchanged(before)) };
        let condition_id = row.text("condition_id")?;
        if let Act::Pause { by, until_us } = act {
            pause(&mut tx, tenant, &condition_id, (i64::from(said.signal.priority), *until_us, by)).await?;
        }
        // Whoever acknowledges ends the pause as well: what comes back afterwards is not seen to.
        let over_us = match act {
            Act::Resume | Act::Acknowledge { .. } => Some(i64::MAX),
            Act::Expire => Some(by.at_us),
            Act::Pause { .. } => None,
        };
        if let Some(until_us) = over_us {
            alert_log::end_pause(&mut tx, (tenant.as_str(), &condition_id), until_us).await?;
        }
        // The phase is in `said`; nothing follows the condition here.
        let condition = Condition { condition_id, phase: AlarmPhase::Unspecified, priority, policy };
        let event = NewEvent {
            tenant: tenant.clone(),
            device: String::new(),
            alert_id: alert_id.to_owned(),
            onset_us: row.int("onset_us")?,
            ended_us: by.at_us,
            condition,
            sealed: before.sealed.clone(),
        };
        let cursor =
            alert_log::write(&mut tx, Written { event: &event, said: &said, now_us: by.at_us }).await?;
        if let Some(action) = action(act) {
            let target = format!("{tenant}/alert/{alert_id}");
            outbox::insert(&mut tx, by, action, "ok", &target).await?;
        }
        tx.commit().await?;
        let said = Some(said.encode_to_vec());
        Ok(Acted::Done(StoredEvent { cursor, stored_at_us: by.at_us, said, ..before }))
    }

    /// Returns alerts on which time must act, the longest due first, at most `limit`.
    pub async fn alerts_due(&self, now_us: i64, limit: u32) -> Result<Vec<DueAlert>, StoreError> {
        let select =
            "SELECT tenant, alert_id FROM alert WHERE due_us <> 0 AND due_us <= $1 ORDER BY due_us LIMIT $2";
        let rows = self.db().all(select, args![now_us, i64::from(limit)]).await?;
        let due = |row: &Record| {
            Ok(DueAlert { tenant: alert_log::tenant_of(row)?, alert_id: row.text("alert_id")? })
        };
        rows.iter().map(due).collect()
    }

    /// Returns an alert's newest event; `None` when there is no such alert.
    pub async fn alert(&self, tenant: &TenantId, alert_id: &str) -> Result<Option<StoredEvent>, StoreError> {
        let select = "SELECT cursor, alert_id, sealed, signal FROM alert WHERE tenant = $1 AND alert_id = $2";
        let row = self.db().one(select, args![tenant.as_str(), alert_id]).await?;
        row.map(|row| {
            let signal = row.maybe_bytes("signal")?;
            let signal = signal.as_deref().map(alert_log::signal).transpose()?.unwrap_or_default();
            stored(&row, &signal)
        })
        .transpose()
    }
}

/// Returns what an act is called in the audit trail; time's own acts are in the alert log alone.
fn action(act: &Act) -> Option<&'static str> {
    match act {
        Act::Acknowledge { .. } => Some("alert_acknowledged"),
        Act::Pause { .. } => Some("alert_paused"),
        Act::Resume => Some("alert_pause_ended"),
        Act::Expire => None,
    }
}

async fn pause(
    tx: &mut Tx,
    tenant: &TenantId,
    condition: &str,
    (priority, until_us, by): (i64, i64, &str),
) -> Result<(), StoreError> {
    let upsert = "INSERT INTO alert_pause (tenant, condition_id, priority, until_us, paused_by) \
                  VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, condition_id) DO UPDATE SET \
                  priority = $3, until_us = $4, paused_by = $5";
    tx.run(upsert, args![tenant.as_str(), condition, priority, until_us, by]).await.map(drop)
}

/// Makes an event of an alert's row: what it is now, with no phase of its own.
fn stored(row: &Record, signal: &Signal) -> Result<StoredEvent, StoreError> {
    let said = crate::alert_signal::Said { signal: signal.clone(), ..Default::default() };
    Ok(StoredEvent {
        cursor: row.unsigned("cursor")?,
        alert_id: row.text("alert_id")?,
        stored_at_us: 0,
        sealed: row.bytes("sealed")?,
        said: Some(said.encode_to_vec()),
    })
}
