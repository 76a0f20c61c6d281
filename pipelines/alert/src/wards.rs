//! Which device is in which ward: the registry's sites, as they are now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use wardline_proto::{DeviceKey, TenantId};
use wardline_store::{Store, StoreError};

#[derive(Debug, Default)]
struct Known {
    version: i64,
    sites: HashMap<DeviceKey, String>,
}

/// The wards. Cheap to clone; all clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Wards {
    known: Arc<RwLock<Known>>,
}

impl Wards {
    /// Returns a device's site; empty when it has none or is not known.
    pub fn site_of(&self, key: &DeviceKey) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.sites.get(key).cloned().unwrap_or_default()
    }

    /// Returns a number that changes with what is known.
    pub(crate) fn version(&self) -> i64 {
        self.known.read().unwrap_or_else(PoisonError::into_inner).version
    }

    /// Returns the sites of each tenant that have a device; an empty one stands for devices without a site.
    pub fn by_tenant(&self) -> BTreeMap<TenantId, BTreeSet<String>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut wards: BTreeMap<TenantId, BTreeSet<String>> = BTreeMap::new();
        for (key, site) in &known.sites {
            let sites = wards.entry(key.tenant.clone()).or_default();
            if !sites.contains(site) {
                sites.insert(site.clone());
            }
        }
        wards
    }

    /// Reads the registry again when it has changed.
    pub async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let version = store.registry_version().await?;
        if version == self.known.read().unwrap_or_else(PoisonError::into_inner).version {
            return Ok(());
        }
        let sites = store.device_sites().await?.into_iter().collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { version, sites };
        Ok(())
    }
}
