//! What the alert log and the ledger forget: what is long over, and what nobody still has to accept.
//!
//! An alert goes whole, with all of its events, when its last event is old, its signal is off, and every listener with
//! a lease has confirmed it. What is present or not accepted stays, however old it is, and
//! nothing of a tenant under legal hold is forgotten.

use crate::alert_log;
use crate::db::{Record, Tx, args};
use crate::{Store, StoreError};

/// Alerts of one transaction.
const BATCH: i64 = 256;

/// A listener that is missed when it is silent: it has a lease and did not give it back.
macro_rules! missed {
    () => {
        "l.lease_us > 0 AND l.leased_until_us <> 0"
    };
}

impl Store {
    /// Forgets alerts whose last event was stored before `before_us`, some at a time. Returns how many; 0 when there
    /// are no more.
    pub async fn forget_alerts(&self, before_us: i64) -> Result<u64, StoreError> {
        let select = concat!(
            "SELECT a.tenant, a.alert_id, a.cursor FROM alert_event e JOIN alert a \
             ON a.tenant = e.tenant AND a.cursor = e.cursor \
             WHERE e.stored_at_us < $1 AND a.ended_us <> 0 \
             AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.tenant = a.tenant) AND NOT EXISTS (SELECT 1 FROM alert_listener l \
             WHERE l.tenant = a.tenant AND l.confirmed < a.cursor AND ",
            missed!(),
            ") ORDER BY e.stored_at_us LIMIT $2"
        );
        let mut tx = self.db().begin().await?;
        let over = tx.all(select, args![before_us, BATCH]).await?;
        for alert in &over {
            forget(&mut tx, alert).await?;
        }
        tx.commit().await?;
        Ok(over.len() as u64)
    }

    /// Forgets deliveries that were sent before `before_us`: accepted ones, and those to whom nobody misses.
    pub async fn trim_deliveries(&self, before_us: i64) -> Result<u64, StoreError> {
        let delete = concat!(
            "DELETE FROM alert_delivery WHERE sent_at_us < $1 \
             AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.tenant = alert_delivery.tenant) AND (accepted_at_us <> 0 OR NOT EXISTS \
             (SELECT 1 FROM alert_listener l WHERE l.tenant = alert_delivery.tenant \
             AND l.listener = alert_delivery.listener AND ",
            missed!(),
            "))"
        );
        self.db().run(delete, args![before_us]).await
    }

    /// Forgets listeners that nobody misses and that subscribed last before `before_us`, and pauses that are over.
    pub async fn forget_listeners(&self, before_us: i64) -> Result<u64, StoreError> {
        let delete = "DELETE FROM alert_listener WHERE opened_at_us < $1 AND state = 'gone' \
                      AND (lease_us = 0 OR leased_until_us = 0)";
        let pauses = "DELETE FROM alert_pause WHERE until_us < $1";
        self.db().run(pauses, args![before_us]).await?;
        self.db().run(delete, args![before_us]).await
    }

    /// Returns the greatest cursor of a tenant that was forgotten; 0 while none was.
    pub async fn alerts_forgotten(&self, tenant: &wardline_proto::TenantId) -> Result<u64, StoreError> {
        let select = "SELECT forgotten FROM alert_cursor WHERE tenant = $1";
        let row = self.db().one(select, args![tenant.as_str()]).await?;
        row.map_or(Ok(0), |row| row.unsigned("forgotten"))
    }
}

async fn forget(tx: &mut Tx, alert: &Record) -> Result<(), StoreError> {
    let (tenant, alert_id, cursor) = (alert.text("tenant")?, alert.text("alert_id")?, alert.int("cursor")?);
    alert_log::lock(tx, &tenant).await?;
    // Its last event may not be the last any more: of two nodes one was first.
    let delete = "DELETE FROM alert WHERE tenant = $1 AND alert_id = $2 AND cursor = $3 AND ended_us <> 0 \
                  AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.tenant = $1)";
    if tx.run(delete, args![&tenant, &alert_id, cursor]).await? == 0 {
        return Ok(());
    }
    tx.run("DELETE FROM alert_event WHERE tenant = $1 AND alert_id = $2", args![&tenant, &alert_id]).await?;
    let update = "UPDATE alert_cursor SET forgotten = $2 WHERE tenant = $1 AND forgotten < $2";
    tx.run(update, args![&tenant, cursor]).await.map(drop)
}
