//! Seals alert events and engine state, per tenant, so that a tenant's keys can be destroyed (SEC-3).

use crate::engine::Transition;
use crate::engine::condition_id;
use prost::Message;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use wardline_journal::{KeyError, KeyPurpose, Keyring, Sealer};
use wardline_proto::v1::AlertEvent;
use wardline_proto::{DeviceKey, TenantId};
use wardline_store::alert_signal::{Condition, Policy};
use wardline_store::alerts::NewEvent;

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

/// Seals a transition for the log; `None` without a valid tenant, which nobody makes.
pub(crate) fn sealed_event(
    sealers: &Sealers,
    transition: &Transition,
    policy: Policy,
) -> Result<Option<NewEvent>, KeyError> {
    let Transition { phase, reason, at_us, alert } = transition;
    let Ok(tenant) = TenantId::new(&alert.tenant) else { return Ok(None) };
    let event = AlertEvent {
        phase: (*phase).into(),
        reason: (*reason).to_owned(),
        at_us: *at_us,
        alert: Some(alert.clone()),
        ..AlertEvent::default()
    };
    let aad = event_aad(&tenant, &alert.alert_id);
    let sealed = sealers.of(Some(&tenant))?.seal(&aad, &event.encode_to_vec())?;
    let condition_id = condition_id(alert);
    let condition = Condition { condition_id, phase: *phase, priority: alert.priority(), policy };
    let (onset_us, ended_us) = (alert.onset_us, alert.ended_us);
    let (alert_id, device) = (alert.alert_id.clone(), alert.device.clone());
    Ok(Some(NewEvent { tenant, device, alert_id, onset_us, ended_us, condition, sealed }))
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
