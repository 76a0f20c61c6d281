//! What binds a caller: the alerts and overrides of its sites, and those of no site, which are everybody's. The registry
//! says which sites; a filter can narrow them and not widen them. Bound are people and services with a role, unless one
//! of their roles is for the whole tenant; a service without any role is a relay of the tenant, and hears it whole.

use super::Alerts;
use super::acts::missing;
use super::error::{unreadable, unwritable};
use crate::access::{Caller, Role};
use crate::front::now_us;
use std::collections::BTreeSet;
use tonic::Status;
use wardline_alert::Selection;
use wardline_proto::refusal::Refusal;
use wardline_proto::{Identity, TenantId};
use wardline_store::registry::{Ledger, NewOverride, Sites};

/// Who has one of these hears its whole tenant, also as a clinician.
const WHOLE: [Role; 3] = [Role::TenantAdmin, Role::Auditor, Role::Operator];

/// Whom a clinician's overrides may be for: its sites, and who wears a device there now.
pub(super) struct Reach {
    sites: BTreeSet<String>,
    patients: BTreeSet<String>,
}

impl Reach {
    /// Says whether an override is its own to set and to end. What is for a whole tenant is not.
    pub(super) fn changes(&self, said: &NewOverride) -> bool {
        self.sites.contains(&said.site) || self.patients.contains(&said.subject)
    }

    /// Says whether it reads one: its own, and what is for the whole tenant.
    pub(super) fn reads(&self, said: &NewOverride) -> bool {
        self.changes(said) || (said.site.is_empty() && said.subject.is_empty())
    }
}

impl Alerts {
    /// Returns the sites that bind a caller; none binds whoever hears the whole tenant.
    fn bound(caller: &Caller) -> Option<&BTreeSet<String>> {
        let is_relay = matches!(caller.identity, Identity::Service { .. }) && caller.roles.is_empty();
        let is_bound = !is_relay && !WHOLE.into_iter().any(|role| caller.has(role));
        match &*caller.sites {
            Sites::Only(own) if is_bound => Some(own),
            _whole => None,
        }
    }

    /// Returns whom a caller's overrides may be for; none: anybody of the tenant.
    pub(super) async fn reach(&self, caller: &Caller, tenant: &TenantId) -> Result<Option<Reach>, Status> {
        let Some(own) = Self::bound(caller) else { return Ok(None) };
        if own.is_empty() {
            return Err(self.elsewhere(caller, "overrides of another site"));
        }
        let store = self.parts.feed.store();
        let ledger = Ledger::new(&store.ledger(Some(tenant)).await.map_err(unwritable)?);
        let devices = store.device_sites().await.map_err(unwritable)?.into_iter();
        let here = devices.filter(|(key, site)| key.tenant == *tenant && own.contains(site));
        let at_us = now_us();
        let wearer = |device: &str| ledger.wearer(tenant.as_str(), device, at_us).map(str::to_owned);
        let patients = here.filter_map(|(key, _site)| wearer(key.device.as_str())).collect();
        Ok(Some(Reach { sites: own.clone(), patients }))
    }

    /// Refuses, and audits, what is of no site of the caller's.
    pub(super) fn elsewhere(&self, caller: &Caller, target: &str) -> Status {
        self.parts.access.deny(caller, Refusal::IdentitySite, target)
    }

    /// Returns the sites that a caller hears of those that it asks for; none means all of its tenant. Who is bound and
    /// has no site is refused: silence would look like health (ALR-2).
    pub(super) fn heard(&self, caller: &Caller, wanted: Vec<String>) -> Result<Vec<String>, Status> {
        let Some(own) = Self::bound(caller) else { return Ok(wanted) };
        if own.is_empty() || wanted.iter().any(|site| !own.contains(site)) {
            return Err(self.elsewhere(caller, "alerts of another site"));
        }
        Ok(if wanted.is_empty() { own.iter().cloned().collect() } else { wanted })
    }

    /// Says whether a caller may speak of a listener: one that hears sites of the caller's alone.
    pub(super) fn is_own(caller: &Caller, sites: &[String]) -> bool {
        Self::bound(caller).is_none_or(|own| !sites.is_empty() && sites.iter().all(|site| own.contains(site)))
    }

    /// Refuses an alert that a caller does not hear, as if there were none.
    pub(super) async fn hears(&self, caller: &Caller, tenant: &TenantId, id: &str) -> Result<(), Status> {
        let sites = self.heard(caller, Vec::new())?;
        if sites.is_empty() {
            return Ok(());
        }
        let alert = self.parts.feed.get(tenant, id).await.map_err(unreadable)?.ok_or_else(missing)?;
        let own = Selection { sites, ..Selection::default() };
        if own.wants(&alert) { Ok(()) } else { Err(missing()) }
    }
}
