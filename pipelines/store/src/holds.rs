//! What may not be destroyed, and what was: legal holds, and tenants whose keys were shredded.

use crate::catalog::Catalog;
use crate::db::{Record, Tx, args};
use crate::outbox::{Change, insert};
use crate::registry::Reject;
use crate::{Store, StoreError};
use wardline_proto::TenantId;

/// Longest reason of a hold, bytes.
const REASON_BYTES_MAX: usize = 256;

/// A legal hold: nothing of the tenant is destroyed while it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Whose data.
    pub tenant: String,
    /// Why.
    pub reason: String,
    /// Who set it.
    pub set_by: String,
    /// When, unix microseconds.
    pub set_at_us: i64,
}

impl Store {
    /// Sets a hold, audited. One that stands stays as it is; none is set while the tenant's keys are being destroyed.
    pub async fn set_hold(&self, change: &Change, tenant: &TenantId, reason: &str) -> Result<(), StoreError> {
        if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
            return Err(Reject::Invalid("reason").into());
        }
        let mut tx = self.db().begin().await?;
        lock(&mut tx).await?;
        let begun = "SELECT tenant FROM tenant_shred WHERE tenant = $1 AND done_at_us IS NULL";
        if tx.one(begun, args![tenant.as_str()]).await?.is_some() {
            insert(&mut tx, change, "legal_hold_set", "shred_begun", tenant.as_str()).await?;
            tx.commit().await?;
            return Err(Reject::BeingShredded.into());
        }
        let set = "INSERT INTO legal_hold (tenant, reason, set_by, set_at_us) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (tenant) DO NOTHING";
        tx.run(set, args![tenant.as_str(), reason, &change.actor, change.at_us]).await?;
        insert(&mut tx, change, "legal_hold_set", "ok", tenant.as_str()).await?;
        tx.commit().await
    }

    /// Takes a hold away, audited.
    pub async fn release_hold(&self, change: &Change, tenant: &TenantId) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        if tx.run("DELETE FROM legal_hold WHERE tenant = $1", args![tenant.as_str()]).await? == 0 {
            return Err(Reject::NotFound("legal hold").into());
        }
        insert(&mut tx, change, "legal_hold_released", "ok", tenant.as_str()).await?;
        tx.commit().await
    }

    /// Lists holds by tenant.
    pub async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let select = "SELECT tenant, reason, set_by, set_at_us FROM legal_hold ORDER BY tenant";
        let hold = |row: &Record| {
            Ok(Hold {
                tenant: row.text("tenant")?,
                reason: row.text("reason")?,
                set_by: row.text("set_by")?,
                set_at_us: row.int("set_at_us")?,
            })
        };
        self.db().all(select, args![]).await?.iter().map(hold).collect()
    }

    /// Records, audited, that a tenant's keys are about to be destroyed. To be called before. `false`: a hold forbids
    /// it.
    pub async fn begin_shred(&self, change: &Change, tenant: &TenantId) -> Result<bool, StoreError> {
        let mut tx = self.db().begin().await?;
        lock(&mut tx).await?;
        let begin = "INSERT INTO tenant_shred (tenant, asked_at_us) SELECT $1, $2 \
                     WHERE NOT EXISTS (SELECT 1 FROM legal_hold WHERE tenant = $1)";
        let begun = tx.run(begin, args![tenant.as_str(), change.at_us]).await? == 1;
        let outcome = if begun { "ok" } else { "legal_hold" };
        insert(&mut tx, change, "tenant_shred_asked", outcome, tenant.as_str()).await?;
        tx.commit().await?;
        Ok(begun)
    }

    /// Records, audited, that the keys that were named are no more; what was sealed under them is forgotten, so that it
    /// is made anew under the tenant's next keys.
    pub async fn finish_shred(
        &self,
        change: &Change,
        tenant: &TenantId,
        keys: &[String],
    ) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        let done = "UPDATE tenant_shred SET done_at_us = $1 WHERE tenant = $2 AND done_at_us IS NULL";
        tx.run(done, args![change.at_us, tenant.as_str()]).await?;
        let forget = "DELETE FROM archive_secret WHERE name = $1";
        tx.run(forget, args![&pseudonyms_secret(tenant)]).await?;
        let target = format!("{tenant} keys {}", keys.join(","));
        insert(&mut tx, change, "tenant_shredded", "ok", &target).await?;
        tx.commit().await
    }

    /// Returns the tenants whose keys were destroyed, or are about to be.
    pub async fn shredded(&self) -> Result<Vec<String>, StoreError> {
        let select = "SELECT DISTINCT tenant FROM tenant_shred ORDER BY tenant";
        self.db().all(select, args![]).await?.iter().map(|row| row.text("tenant")).collect()
    }
}

/// Names the secret that holds the key of a tenant's pseudonyms: sealed under the tenant's keys, it goes with them.
pub fn pseudonyms_secret(tenant: &TenantId) -> String {
    format!("pseudonyms/{tenant}")
}

/// Lets a hold and what it forbids come one after the other.
async fn lock(tx: &mut Tx) -> Result<(), StoreError> {
    tx.run("UPDATE registry_version SET version = version WHERE id = 1", args![]).await.map(drop)
}

impl Catalog {
    /// Returns the tenants whose files do not decrypt any more, and must not.
    pub async fn shredded(&self) -> Result<Vec<String>, StoreError> {
        self.store().shredded().await
    }

    /// Returns the same tenants, each with the time until which what was archived is under keys that are destroyed.
    pub async fn shredded_until(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let select = "SELECT tenant, MAX(COALESCE(done_at_us, asked_at_us)) AS until_us FROM tenant_shred \
                      GROUP BY tenant ORDER BY tenant";
        let rows = self.store().db().all(select, args![]).await?;
        rows.iter().map(|row| Ok((row.text("tenant")?, row.int("until_us")?))).collect()
    }
}
