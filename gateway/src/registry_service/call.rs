//! One admitted call: who makes it, and how far it reaches.

use super::RegistryParts;
use super::error::{failed, invalid, missing, status};
use super::rules::{Effect, Reach, Rule};
use crate::access::Caller;
use crate::front::now_us;
use std::sync::Arc;
use tonic::{Request, Status};
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::registry::{Change, DeviceRow, Reject};
use wardline_store::{Store, StoreError};

/// An admitted call.
pub(super) struct Call {
    pub(super) parts: Arc<RegistryParts>,
    pub(super) caller: Caller,
    method: &'static str,
    reach: Reach,
}

impl Call {
    /// Admits a call whose method is in the table, for a role of the caller. Refused attempts are audited.
    pub(super) fn admit<T>(
        parts: &Arc<RegistryParts>,
        method: &'static str,
        request: &Request<T>,
    ) -> Result<Self, Status> {
        let caller = parts.access.caller(request)?;
        let rule = Rule::of(method);
        let Some(reach) = rule.and_then(|rule| rule.reach(&caller)) else {
            return Err(parts.access.deny(&caller, Refusal::RoleMissing, &target(method)));
        };
        let call = Self { parts: parts.clone(), caller, method, reach };
        if rule.is_none_or(|rule| rule.effect == Effect::Change) {
            call.auditable()?;
        }
        Ok(call)
    }

    /// Refuses a change that could not be audited now (AUD-1).
    pub(super) fn auditable(&self) -> Result<(), Status> {
        let refused = |_| {
            let message =
                "what must be audited cannot be journaled now, so it is not done; nothing was changed";
            status(Refusal::CannotAudit, message)
        };
        self.parts.auditor.guard().map_err(refused)
    }

    /// Returns the registry.
    pub(super) fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Says who changes something, and when.
    pub(super) fn change(&self) -> Change {
        Change::new(self.caller.uri(), now_us())
    }

    /// Says whether the caller reaches every tenant.
    pub(super) fn is_everywhere(&self) -> bool {
        self.reach == Reach::Every
    }

    /// Says whether the caller reaches a tenant.
    pub(super) fn reaches(&self, tenant: &TenantId) -> bool {
        self.is_everywhere() || *tenant == self.caller.tenant
    }

    /// Names the maker that the caller is, when it reaches the devices of its own models alone.
    pub(super) fn maker(&self) -> Option<&TenantId> {
        (self.reach == Reach::Models).then_some(&self.caller.tenant)
    }

    /// Refuses what is another maker's, or nobody's.
    pub(super) fn own(&self, maker: &str) -> Result<(), Status> {
        match self.maker() {
            Some(own) if own.as_str() != maker => Err(self.deny(Refusal::RegistryMaker)),
            _ => Ok(()),
        }
    }

    /// Tells of the store's error; a maker that reached for what is another's is audited.
    pub(super) fn failed(&self, error: StoreError) -> Status {
        match error {
            StoreError::Reject(Reject::OtherMaker) => self.deny(Refusal::RegistryMaker),
            error => failed(error),
        }
    }

    /// Refuses, and audits it. Nothing that the caller wrote gets into the audit but ids.
    pub(super) fn deny(&self, refusal: Refusal) -> Status {
        self.parts.access.deny(&self.caller, refusal, &target(self.method))
    }

    /// Reads a tenant's id and refuses one that the caller does not reach.
    pub(super) fn tenant(&self, id: &str) -> Result<TenantId, Status> {
        let tenant = TenantId::new(id).map_err(|_id| invalid("tenant"))?;
        if self.reaches(&tenant) { Ok(tenant) } else { Err(self.deny(Refusal::RegistryTenant)) }
    }

    /// The same of a filter: an empty one is every tenant that the caller reaches, which is `None` for all.
    pub(super) fn tenant_filter(&self, id: &str) -> Result<Option<TenantId>, Status> {
        match (id, self.is_everywhere()) {
            ("", true) => Ok(None),
            ("", false) => Ok(Some(self.caller.tenant.clone())),
            (id, _) => self.tenant(id).map(Some),
        }
    }

    /// Reads a device's name and refuses one of a tenant that the caller does not reach.
    pub(super) fn device(&self, tenant: &str, device: &str) -> Result<DeviceKey, Status> {
        Ok(DeviceKey { tenant: self.tenant(tenant)?, device: id("device", device)? })
    }

    /// Returns a registered device that the caller reaches.
    pub(super) async fn registered(&self, key: &DeviceKey) -> Result<DeviceRow, Status> {
        let row = self.store().get_device(key).await.map_err(failed)?.ok_or_else(|| missing("device"))?;
        self.own(&row.maker).map(|()| row)
    }
}

/// Reads an id.
pub(super) fn id(what: &str, text: &str) -> Result<DeviceId, Status> {
    DeviceId::new(text).map_err(|_id| invalid(what))
}

/// Returns a text when there is one.
pub(super) fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn target(method: &str) -> String {
    format!("registry {method}")
}
