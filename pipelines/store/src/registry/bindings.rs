//! Who wore a device when: a ledger that is only ever added to.
//!
//! An entry says that a subject wore a device from one time until another, or that nobody did. Of the entries that
//! cover a time, the one that was recorded last holds: so one entry mends a wrong binding, and what was believed
//! before it can still be asked. A subject is a pseudonym. The one exception: entries of an erased subject lose its name.

use super::tenants::{device_id, tenant_id};
use super::{Change, Reject, audit, next_number, usable};
use crate::bell::Matter;
use crate::db::{Record, args};
use crate::{Store, StoreError};
use wardline_proto::{DeviceKey, TenantId};

/// An entry to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBinding {
    /// The device.
    pub device: DeviceKey,
    /// Who wore it, a pseudonym; empty: nobody.
    pub subject: String,
    /// From when on, unix microseconds.
    pub from_us: i64,
    /// Until when, exclusive; none while it goes on.
    pub until_us: Option<i64>,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Rises with every entry.
    pub binding_id: i64,
    /// What it says.
    pub binding: NewBinding,
    /// When it was recorded, unix microseconds.
    pub recorded_at_us: i64,
    /// By whom.
    pub recorded_by: String,
}

impl Store {
    /// Records an entry; returns its number.
    pub async fn bind(&self, change: &Change, binding: &NewBinding) -> Result<i64, StoreError> {
        usable("subject", &binding.subject, true)?;
        if binding.until_us.is_some_and(|until_us| until_us <= binding.from_us) || binding.from_us <= 0 {
            return Err(Reject::Invalid("time of the binding").into());
        }
        let mut tx = self.change().await?;
        let (tenant, device) = (binding.device.tenant.as_str(), binding.device.device.as_str());
        let known = "SELECT device FROM device WHERE tenant = $1 AND device = $2";
        tx.one(known, args![tenant, device]).await?.ok_or(Reject::NotFound("device"))?;
        super::erase::refuse_erased(&mut tx, tenant, &binding.subject).await?;
        let id = next_number(&mut tx, "binding").await?;
        let insert = "INSERT INTO binding (binding_id, tenant, device, subject, from_us, until_us, recorded_at_us, \
                      recorded_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let values = args![
            id,
            tenant,
            device,
            &binding.subject,
            binding.from_us,
            binding.until_us.unwrap_or(0),
            change.at_us,
            &change.actor,
        ];
        tx.run(insert, values).await?;
        // The subject stays out of the audit: it is about a person.
        audit(&mut tx, change, ("binding_recorded", "ok"), &format!("{} entry {id}", binding.device)).await?;
        tx.tell(Matter::Orders);
        tx.commit().await?;
        Ok(id)
    }

    /// Returns a device's ledger, in the order of recording.
    pub async fn bindings(&self, device: &DeviceKey) -> Result<Vec<Binding>, StoreError> {
        let select = "SELECT binding_id, tenant, device, subject, from_us, until_us, recorded_at_us, recorded_by \
                      FROM binding WHERE tenant = $1 AND device = $2 ORDER BY binding_id";
        let rows = self.db().all(select, args![device.tenant.as_str(), device.device.as_str()]).await?;
        rows.iter().map(binding).collect()
    }

    /// Returns the ledger of every device of a tenant, or of all, in the order of recording.
    pub async fn ledger(&self, tenant: Option<&TenantId>) -> Result<Vec<Binding>, StoreError> {
        let select = "SELECT binding_id, tenant, device, subject, from_us, until_us, recorded_at_us, recorded_by \
                      FROM binding WHERE $1 = '' OR tenant = $1 ORDER BY recorded_at_us, binding_id";
        let rows = self.db().all(select, args![tenant.map_or("", TenantId::as_str)]).await?;
        rows.iter().map(binding).collect()
    }

    /// Returns who wore a device at a time, as it was known at another. None when nobody did, or nothing is known.
    pub async fn wearer(
        &self,
        device: &DeviceKey,
        at_us: i64,
        known_at_us: i64,
    ) -> Result<Option<String>, StoreError> {
        let select = "SELECT subject FROM binding WHERE tenant = $1 AND device = $2 AND recorded_at_us <= $3 \
                      AND from_us <= $4 AND (until_us = 0 OR until_us > $4) \
                      ORDER BY recorded_at_us DESC, binding_id DESC LIMIT 1";
        let values = args![device.tenant.as_str(), device.device.as_str(), known_at_us, at_us];
        let subject = self.db().one(select, values).await?.map(|row| row.text("subject")).transpose()?;
        Ok(subject.filter(|subject| !subject.is_empty()))
    }
}

pub(super) fn binding(row: &Record) -> Result<Binding, StoreError> {
    let until_us = row.int("until_us")?;
    Ok(Binding {
        binding_id: row.int("binding_id")?,
        binding: NewBinding {
            device: DeviceKey { tenant: tenant_id(row)?, device: device_id(row, "device")? },
            subject: row.text("subject")?,
            from_us: row.int("from_us")?,
            until_us: (until_us != 0).then_some(until_us),
        },
        recorded_at_us: row.int("recorded_at_us")?,
        recorded_by: row.text("recorded_by")?,
    })
}
