//! `GET Device`, `GET Device/{id}`: the tenant's devices, as the registry has them.

use super::error::FhirError;
use super::naming::Naming;
use super::{Asked, Site};
use crate::error::QueryError;
use crate::lookups::Lookups;
use crate::wards::Wards;
use serde_json::Value;
use std::collections::BTreeSet;
use wardline_fhir::bundle::{Page, searchset};
use wardline_fhir::device::{Registered, device};
use wardline_fhir::search::{self, DeviceSearch};
use wardline_proto::TenantId;
use wardline_proto::v1::DeviceState;
use wardline_store::StoreError;
use wardline_store::registry::{DeviceFilter, DeviceRow, Sites};

/// Devices asked for at a time.
const PAGE: u32 = 1000;

/// Answers a search. Its cursor is the id behind which it goes on.
pub(crate) async fn search(site: &Site, asked: &Asked, query: &str) -> Result<Value, FhirError> {
    let DeviceSearch { ids, names, page } = search::devices(query)?;
    site.reads(asked, &format!("GET Device?{query}"), &["registry"]).await?;
    let mut found: Vec<(String, DeviceRow)> =
        site.devices_of(asked).await?.into_iter().map(|row| (asked.naming.device(name(&row)), row)).collect();
    // Pseudonyms are in no order of names, and tell none.
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let shown_name = |id: &str, row: &DeviceRow| {
        if asked.naming.is_masked() { id.to_owned() } else { name(row).to_owned() }
    };
    found.retain(|(id, row)| {
        ids.as_ref().is_none_or(|ids| ids.contains(id))
            && names.as_ref().is_none_or(|names| names.contains(&shown_name(id, row)))
            && page.cursor.as_ref().is_none_or(|cursor| id > cursor)
    });
    let more = found.len() > page.count;
    found.truncate(page.count);
    let next = found.last().filter(|_| more).map(|(id, _)| {
        let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("_cursor="));
        let kept: String = kept.map(|pair| format!("{pair}&")).collect();
        format!("Device?{kept}_cursor={id}")
    });
    let resources = found.iter().map(|(_, row)| resource(row, &asked.naming)).collect();
    let itself = format!("Device?{query}");
    Ok(searchset(Page { base: asked.base.clone(), itself, next, resources, outcome: None }))
}

/// Answers a read.
pub(crate) async fn read(site: &Site, asked: &Asked, id: &str) -> Result<Value, FhirError> {
    site.reads(asked, &format!("GET Device/{id}"), &["registry"]).await?;
    let devices = site.devices_of(asked).await?;
    let found = devices.iter().find(|row| asked.naming.device(name(row)) == id);
    let found = found.ok_or_else(|| FhirError::NotFound(format!("Device/{id}")))?;
    Ok(resource(found, &asked.naming))
}

/// Makes the resource; a serial number, a ward or a day of registration would tell an analyst which device it is.
pub(crate) fn resource(row: &DeviceRow, naming: &Naming) -> Value {
    let id = naming.device(name(row));
    let known = Registered {
        id: &id,
        name: if naming.is_masked() { &id } else { name(row) },
        is_active: row.state == DeviceState::Active,
        model: &row.device.model,
        maker: &row.maker,
        ..Registered::default()
    };
    device(&match naming.is_masked() {
        true => known,
        false => Registered {
            serial_number: &row.device.serial_number,
            udi: &row.device.udi,
            site: &row.device.site,
            registered_us: row.created_at_us,
            ..known
        },
    })
}

fn away(error: &StoreError) -> QueryError {
    tracing::error!(%error, "the registry does not read");
    QueryError::Archive("the registry does not read".into())
}

fn name(row: &DeviceRow) -> &str {
    row.device.key.device.as_str()
}

impl Site {
    /// Lists the devices that the caller sees.
    pub(crate) async fn devices_of(&self, asked: &Asked) -> Result<Vec<DeviceRow>, QueryError> {
        self.devices_seen(&asked.caller.tenant, asked.sites.as_ref()).await
    }

    /// Lists the devices of a tenant of which some sites may see rows; all without sites.
    pub(crate) async fn devices_seen(
        &self,
        tenant: &TenantId,
        sites: Option<&Sites>,
    ) -> Result<Vec<DeviceRow>, QueryError> {
        let mut devices = self.devices_of_tenant(tenant).await?;
        if let Some(sites @ Sites::Only(_)) = sites {
            let lookups = Lookups::load(&self.store, Some(tenant)).await.map_err(|error| away(&error))?;
            let wards = Wards::new(tenant, sites, lookups.into());
            devices.retain(|row| wards.knows(name(row)));
        }
        Ok(devices)
    }

    /// Lists the devices of a tenant.
    async fn devices_of_tenant(&self, tenant: &TenantId) -> Result<Vec<DeviceRow>, QueryError> {
        let tenant = Some(tenant.clone());
        let (mut filter, mut all) = (DeviceFilter { tenant, ..DeviceFilter::default() }, Vec::new());
        loop {
            let page = self.store.list_devices(&filter, PAGE).await.map_err(|error| away(&error))?;
            let Some(last) = page.last() else { return Ok(all) };
            filter.after = Some(last.device.key.clone());
            all.extend(page);
        }
    }

    /// Returns the names behind FHIR ids of devices; what has none is left out.
    pub(crate) async fn named_devices(
        &self,
        asked: &Asked,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, QueryError> {
        if !asked.naming.is_masked() {
            return Ok(ids.iter().map(|id| wardline_fhir::id::device_name(id)).collect());
        }
        let devices = self.devices_of(asked).await?;
        let named = devices.iter().map(name).filter(|name| ids.contains(&asked.naming.device(name)));
        Ok(named.map(str::to_owned).collect())
    }
}
