//! Seals alert events and engine state, per tenant, so that a tenant's keys can be destroyed (SEC-3).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use wardline_journal::{KeyError, KeyPurpose, Keyring, Sealer};
use wardline_proto::{DeviceKey, TenantId};

/// The sealers of all tenants, made when first needed.
pub(crate) struct Sealers {
    keyring: Arc<Keyring>,
    by_tenant: Mutex<HashMap<Option<TenantId>, Arc<Sealer>>>,
}

impl fmt::Debug for Sealers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealers")
    }
}

impl Sealers {
    pub(crate) fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring, by_tenant: Mutex::default() }
    }

    /// Returns the sealer of a tenant, or of the installation.
    pub(crate) fn of(&self, tenant: Option<&TenantId>) -> Result<Arc<Sealer>, KeyError> {
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealer) = by_tenant.get(&tenant.cloned()) {
            return Ok(sealer.clone());
        }
        self.keyring.ensure(KeyPurpose::State, tenant)?;
        let sealer = Arc::new(Sealer::new(self.keyring.clone(), KeyPurpose::State, tenant)?);
        by_tenant.insert(tenant.cloned(), sealer.clone());
        Ok(sealer)
    }
}

/// Binds an event to its alert.
pub(crate) fn event_aad(tenant: &TenantId, alert_id: &str) -> Vec<u8> {
    format!("alert-event/{tenant}/{alert_id}").into_bytes()
}

/// Binds a device's state to its row.
pub(crate) fn device_aad(consumer: &str, key: &DeviceKey) -> Vec<u8> {
    format!("alert-state/{consumer}/{key}").into_bytes()
}

/// Binds the rest of the state to its row.
pub(crate) fn global_aad(consumer: &str) -> Vec<u8> {
    format!("alert-state/{consumer}").into_bytes()
}
