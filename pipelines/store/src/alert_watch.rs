//! Conditions of the alarm service itself: a ward without a listener, a listener that is gone, an engine that is silent.
//! Each is in the log once while it is present, whichever process sees it first.

use crate::alert_log;
use crate::alerts::NewEvent;
use crate::db::{Record, args};
use crate::{Store, StoreError};
use wardline_proto::TenantId;

/// A condition that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRow {
    /// Whose.
    pub tenant: TenantId,
    /// Names it.
    pub condition_id: String,
    /// Its alert, hex.
    pub alert_id: String,
    /// Since when, unix microseconds.
    pub onset_us: i64,
}

impl Store {
    /// Raises a condition; `false` when it is present already.
    pub async fn raise_watch(&self, event: &NewEvent, now_us: i64) -> Result<bool, StoreError> {
        let insert = "INSERT INTO alert_watch (tenant, condition_id, alert_id, onset_us) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT (tenant, condition_id) DO NOTHING";
        let condition = &event.condition.condition_id;
        let mut tx = self.db().begin().await?;
        let values = args![event.tenant.as_str(), condition, &event.alert_id, event.onset_us];
        if tx.run(insert, values).await? == 0 {
            return Ok(false);
        }
        alert_log::append(&mut tx, event, now_us).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends a condition; `false` when it is not present any more.
    pub async fn end_watch(&self, event: &NewEvent, now_us: i64) -> Result<bool, StoreError> {
        let delete = "DELETE FROM alert_watch WHERE tenant = $1 AND condition_id = $2 AND alert_id = $3";
        let mut tx = self.db().begin().await?;
        let values = args![event.tenant.as_str(), &event.condition.condition_id, &event.alert_id];
        if tx.run(delete, values).await? == 0 {
            return Ok(false);
        }
        alert_log::append(&mut tx, event, now_us).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Returns the conditions that are present.
    pub async fn watch_present(&self) -> Result<Vec<WatchRow>, StoreError> {
        let select =
            "SELECT tenant, condition_id, alert_id, onset_us FROM alert_watch ORDER BY tenant, condition_id";
        let present = |row: &Record| {
            Ok(WatchRow {
                tenant: alert_log::tenant_of(row)?,
                condition_id: row.text("condition_id")?,
                alert_id: row.text("alert_id")?,
                onset_us: row.int("onset_us")?,
            })
        };
        self.db().all(select, args![]).await?.iter().map(present).collect()
    }
}
