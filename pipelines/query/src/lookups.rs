//! What the registry knows of devices and of who wore them, as it is when a statement starts.
//!
//! **Invariant:** what a server keeps of it is that of the registry's version, which every change of the registry raises
//! in its own transaction, whoever makes it. The version is read when a statement starts, and before what is kept by it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use wardline_proto::TenantId;
use wardline_store::registry::{DeviceFilter, Ledger};
use wardline_store::{Store, StoreError};

/// Devices asked for at a time.
const PAGE: u32 = 1000;
/// Tenants of which the registry is kept; with more they are read again.
const KEPT_MAX: usize = 64;

/// The registry of one statement.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    /// Who wore which device when.
    pub(crate) ledger: Ledger,
    /// By tenant, then by device.
    sites: HashMap<String, HashMap<String, String>>,
}

/// What was read last, by tenant, with the version of the registry that it was read at.
#[derive(Debug, Default)]
pub(crate) struct KnownLookups(Mutex<HashMap<TenantId, (i64, Arc<Lookups>)>>);

impl KnownLookups {
    /// Returns what is known of a tenant now.
    pub(crate) async fn of(&self, store: &Store, tenant: &TenantId) -> Result<Arc<Lookups>, StoreError> {
        let version = store.registry_version().await?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned();
        if let Some((_, known)) = known.filter(|(of, _)| *of == version) {
            return Ok(known);
        }
        // A change meanwhile may be in it: then the next statement finds another version.
        let read = Arc::new(Lookups::load(store, Some(tenant)).await?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(tenant.clone(), (version, read.clone()));
        Ok(read)
    }
}

impl Lookups {
    /// Reads what is known of a tenant, or of all.
    pub(crate) async fn load(store: &Store, tenant: Option<&TenantId>) -> Result<Self, StoreError> {
        let (ledger, sites) = tokio::try_join!(store.ledger(tenant), Self::sites(store, tenant))?;
        Ok(Self { ledger: Ledger::new(&ledger), sites })
    }

    async fn sites(
        store: &Store,
        tenant: Option<&TenantId>,
    ) -> Result<HashMap<String, HashMap<String, String>>, StoreError> {
        let mut sites = HashMap::<String, HashMap<String, String>>::new();
        let mut filter = DeviceFilter { tenant: tenant.cloned(), ..DeviceFilter::default() };
        loop {
            let page = store.list_devices(&filter, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            filter.after = page.last().map(|last| last.device.key.clone());
            for row in page.into_iter().filter(|row| !row.device.site.is_empty()) {
                let of_tenant = sites.entry(row.device.key.tenant.as_str().to_owned()).or_default();
                of_tenant.insert(row.device.key.device.as_str().to_owned(), row.device.site);
            }
            if is_last {
                return Ok(sites);
            }
        }
    }

    /// Returns the devices of a tenant that are at a site.
    pub(crate) fn devices_at(&self, tenant: &str, is_one: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let devices = self.sites.get(tenant).into_iter().flatten();
        devices.filter(|(_, site)| is_one(site)).map(|(device, _)| device.clone()).collect()
    }

    /// Returns the devices of any tenant that are at a site.
    pub(crate) fn devices_of_site(&self, site: &str) -> BTreeSet<String> {
        self.sites.keys().flat_map(|tenant| self.devices_at(tenant, |own| own == site)).collect()
    }

    /// Returns where a device is.
    pub(crate) fn site(&self, tenant: &str, device: &str) -> Option<&str> {
        self.sites.get(tenant)?.get(device).map(String::as_str)
    }
}
