//! Alerts of an erased time: taken out of the log whole, and never put into it again.

use crate::alert_log;
use crate::alerts::NewEvent;
use crate::db::{Tx, args};
use crate::{Store, StoreError};
use wardline_proto::TenantId;

/// What the counts of an erasure call alerts and their events: no table of the archive has such a name.
const ALERTS: &str = "alert service";
const EVENTS: &str = "alert service log";

/// What was taken out of the alert store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlertsErased {
    /// Alerts.
    pub alerts: u64,
    /// Events of theirs.
    pub events: u64,
}

impl Store {
    /// Takes alerts out, with their events and what the ledger says of them, and counts them for an erasure. Refuses
    /// nothing: what is not there any more is not counted. A legal hold leaves them: `None`.
    pub async fn erase_alerts(
        &self,
        tenant: &TenantId,
        erasure_id: &str,
        alert_ids: &[String],
    ) -> Result<Option<AlertsErased>, StoreError> {
        let mut tx = self.db().begin().await?;
        let held = "SELECT tenant FROM legal_hold WHERE tenant = $1";
        if tx.one(held, args![tenant.as_str()]).await?.is_some() {
            return Ok(None);
        }
        alert_log::lock(&mut tx, tenant.as_str()).await?;
        let mut erased = AlertsErased::default();
        for id in alert_ids {
            let values = args![tenant.as_str(), id];
            erased.alerts += tx.run("DELETE FROM alert WHERE tenant = $1 AND alert_id = $2", values).await?;
            erased.events +=
                tx.run("DELETE FROM alert_event WHERE tenant = $1 AND alert_id = $2", values).await?;
            tx.run("DELETE FROM alert_delivery WHERE tenant = $1 AND alert_id = $2", values).await?;
        }
        crate::erasure::add(&mut tx, erasure_id, ALERTS, 0, erased.alerts).await?;
        crate::erasure::add(&mut tx, erasure_id, EVENTS, 0, erased.events).await?;
        tx.commit().await?;
        Ok(Some(erased))
    }

    /// Returns how many alerts an erasure has taken out, over all its passes.
    pub async fn alerts_erased(&self, erasure_id: &str) -> Result<AlertsErased, StoreError> {
        let select = "SELECT table_name, row_count FROM erasure_count WHERE erasure_id = $1 AND files = 0";
        let mut erased = AlertsErased::default();
        for row in self.db().all(select, args![erasure_id]).await? {
            match row.text("table_name")?.as_str() {
                ALERTS => erased.alerts = row.unsigned("row_count")?,
                EVENTS => erased.events = row.unsigned("row_count")?,
                _ => {}
            }
        }
        Ok(erased)
    }
}

/// Says whether an event is of an alert that began in an erased time of its device.
pub(crate) async fn is_erased(tx: &mut Tx, event: &NewEvent) -> Result<bool, StoreError> {
    let select = "SELECT r.erasure_id FROM erasure_range r JOIN erasure e ON e.erasure_id = r.erasure_id \
                  WHERE e.tenant = $1 AND r.device = $2 AND r.from_us <= $3 AND r.until_us > $3 LIMIT 1";
    let values = args![event.tenant.as_str(), &event.device, event.onset_us];
    Ok(tx.one(select, values).await?.is_some())
}
