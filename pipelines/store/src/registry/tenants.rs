//! Tenants and their sites.

use super::{Change, Reject, audit, usable};
use crate::db::{Record, Tx, args};
use crate::{Store, StoreError};
use wardline_proto::{DeviceId, TenantId};

/// A tenant: a hospital, or a maker of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub tenant: TenantId,
    /// For people.
    pub display_name: String,
    /// Suspended: none of its devices connects.
    pub is_active: bool,
    /// Unix microseconds.
    pub created_at_us: i64,
}

/// A place of a tenant, such as a ward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Whose.
    pub tenant: TenantId,
    /// Its id within the tenant.
    pub site: DeviceId,
    /// For people.
    pub display_name: String,
    /// Unix microseconds.
    pub created_at_us: i64,
}

/// Makes a tenant known that is not.
pub(super) async fn ensure_tenant(tx: &mut Tx, tenant: &TenantId, at_us: i64) -> Result<(), StoreError> {
    let insert = "INSERT INTO tenant (tenant, display_name, state, created_at_us) VALUES ($1, $1, 'active', $2) \
                  ON CONFLICT (tenant) DO NOTHING";
    tx.run(insert, args![tenant.as_str(), at_us]).await?;
    let state = tx.one("SELECT state FROM tenant WHERE tenant = $1", args![tenant.as_str()]).await?;
    match state {
        Some(row) if row.text("state")? == "active" => Ok(()),
        _ => Err(Reject::TenantSuspended.into()),
    }
}

impl Store {
    /// Creates a tenant; the same again changes nothing.
    pub async fn create_tenant(
        &self,
        change: &Change,
        tenant: &TenantId,
        display_name: &str,
    ) -> Result<(), StoreError> {
        usable("display_name", display_name, false)?;
        let mut tx = self.change().await?;
        let select = "SELECT tenant, display_name, state, created_at_us FROM tenant WHERE tenant = $1";
        match tx.one(select, args![tenant.as_str()]).await? {
            Some(row) if row.text("display_name")? == display_name => return Ok(()),
            // Made on the way, when the first device was issued: now it gets its name.
            Some(row) if row.text("display_name")? == tenant.as_str() => {
                let update = "UPDATE tenant SET display_name = $1 WHERE tenant = $2";
                tx.run(update, args![display_name, tenant.as_str()]).await?;
            }
            Some(_) => return Err(Reject::Conflict("tenant").into()),
            None => {
                let insert = "INSERT INTO tenant (tenant, display_name, state, created_at_us) \
                              VALUES ($1, $2, 'active', $3)";
                tx.run(insert, args![tenant.as_str(), display_name, change.at_us]).await?;
            }
        }
        audit(&mut tx, change, ("tenant_created", "ok"), tenant.as_str()).await?;
        tx.commit().await
    }

    /// Suspends a tenant, or takes it back.
    pub async fn set_tenant_active(
        &self,
        change: &Change,
        tenant: &TenantId,
        active: bool,
    ) -> Result<(), StoreError> {
        let (state, action) =
            if active { ("active", "tenant_resumed") } else { ("suspended", "tenant_suspended") };
        let mut tx = self.change().await?;
        let update = "UPDATE tenant SET state = $1 WHERE tenant = $2";
        if tx.run(update, args![state, tenant.as_str()]).await? == 0 {
            return Err(Reject::NotFound("tenant").into());
        }
        tx.touch_tenant(tenant);
        audit(&mut tx, change, (action, "ok"), tenant.as_str()).await?;
        tx.commit().await
    }

    /// Lists tenants by id.
    pub async fn list_tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let select = "SELECT tenant, display_name, state, created_at_us FROM tenant ORDER BY tenant";
        self.db().all(select, args![]).await?.iter().map(tenant_row).collect()
    }

    /// Creates a site; the same again changes nothing.
    pub async fn create_site(
        &self,
        change: &Change,
        tenant: &TenantId,
        site: &DeviceId,
        display_name: &str,
    ) -> Result<(), StoreError> {
        usable("display_name", display_name, false)?;
        let mut tx = self.change().await?;
        ensure_tenant(&mut tx, tenant, change.at_us).await?;
        let select = "SELECT display_name FROM site WHERE tenant = $1 AND site = $2";
        match tx.one(select, args![tenant.as_str(), site.as_str()]).await? {
            Some(row) if row.text("display_name")? == display_name => return Ok(()),
            Some(_) => return Err(Reject::Conflict("site").into()),
            None => {}
        }
        let insert = "INSERT INTO site (tenant, site, display_name, created_at_us) VALUES ($1, $2, $3, $4)";
        tx.run(insert, args![tenant.as_str(), site.as_str(), display_name, change.at_us]).await?;
        let target = format!("{tenant}/{site}");
        audit(&mut tx, change, ("site_created", "ok"), &target).await?;
        tx.commit().await
    }

    /// Lists a tenant's sites by id.
    pub async fn list_sites(&self, tenant: &TenantId) -> Result<Vec<Site>, StoreError> {
        let select =
            "SELECT tenant, site, display_name, created_at_us FROM site WHERE tenant = $1 ORDER BY site";
        self.db().all(select, args![tenant.as_str()]).await?.iter().map(site_row).collect()
    }
}

fn tenant_row(row: &Record) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        tenant: tenant_id(row)?,
        display_name: row.text("display_name")?,
        is_active: row.text("state")? == "active",
        created_at_us: row.int("created_at_us")?,
    })
}

fn site_row(row: &Record) -> Result<Site, StoreError> {
    Ok(Site {
        tenant: tenant_id(row)?,
        site: DeviceId::new(&row.text("site")?).map_err(|_id| StoreError::Corrupt("site.site"))?,
        display_name: row.text("display_name")?,
        created_at_us: row.int("created_at_us")?,
    })
}

pub(super) fn tenant_id(row: &Record) -> Result<TenantId, StoreError> {
    TenantId::new(&row.text("tenant")?).map_err(|_id| StoreError::Corrupt("tenant"))
}

pub(super) fn device_id(row: &Record, column: &'static str) -> Result<DeviceId, StoreError> {
    DeviceId::new(&row.text(column)?).map_err(|_id| StoreError::Corrupt(column))
}
