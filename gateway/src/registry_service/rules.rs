//! Who may call what: one table of method and roles. What is not in it is refused.
//!
//! A role reaches the caller's own tenant; only an operator reaches every tenant. A maker reaches, in its own tenant,
//! the devices of its own models.

use crate::access::Caller;
use wardline_proto::Identity;
use wardline_store::registry::Role::{self, Analyst, Auditor, Clinician, Maker, Operator, TenantAdmin};

/// What a method does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Reads.
    Read,
    /// Changes, so it is refused while it cannot be audited (AUD-1).
    Change,
}

/// What is asked of who calls a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Nothing but a good certificate.
    Anyone,
    /// One of these roles.
    Roles(&'static [Role]),
}

/// The rule of a method.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name in the service.
    pub method: &'static str,
    /// What it does.
    pub effect: Effect,
    /// Who may.
    pub allowed: Allowed,
}

const fn read(method: &'static str, roles: &'static [Role]) -> Rule {
    Rule { method, effect: Effect::Read, allowed: Allowed::Roles(roles) }
}

const fn change(method: &'static str, roles: &'static [Role]) -> Rule {
    Rule { method, effect: Effect::Change, allowed: Allowed::Roles(roles) }
}

const LISTERS: &[Role] = &[Maker, TenantAdmin, Clinician, Analyst, Auditor, Operator];
const ADMINS: &[Role] = &[TenantAdmin, Operator];
const MAKERS: &[Role] = &[Maker, TenantAdmin, Operator];

/// Every method. A subject, even a pseudonym, is told to clinicians and administrators alone.
pub const RULES: &[Rule] = &[
    Rule { method: "Whoami", effect: Effect::Read, allowed: Allowed::Anyone },
    change("CreateTenant", &[Operator]),
    read("ListTenants", &[TenantAdmin, Auditor, Operator]),
    change("SetTenantState", &[Operator]),
    change("CreateSite", ADMINS),
    read("ListSites", &[TenantAdmin, Clinician, Analyst, Auditor, Operator]),
    change("PutModel", &[Maker, Operator]),
    read("GetModel", LISTERS),
    read("ListModels", LISTERS),
    change("RegisterDevice", MAKERS),
    read("GetDevice", LISTERS),
    read("ListDevices", LISTERS),
    change("SetDeviceState", ADMINS),
    change("SetForTest", ADMINS),
    change("ImportDevices", MAKERS),
    change("AddPeripheral", MAKERS),
    read("ListPeripherals", LISTERS),
    change("CreateClaims", MAKERS),
    read("ListClaims", &[Maker, TenantAdmin, Auditor, Operator]),
    change("RevokeClaims", MAKERS),
    change("AddManufacturerCa", &[Maker, Operator]),
    read("ListManufacturerCas", &[Maker, TenantAdmin, Auditor, Operator]),
    change("AllowSerials", &[Maker, Operator]),
    read("ListCertificates", &[TenantAdmin, Auditor, Operator]),
    change("RevokeCertificates", ADMINS),
    change("Bind", &[Clinician, TenantAdmin, Operator]),
    read("ListBindings", &[Clinician, TenantAdmin, Operator]),
    read("GetWearer", &[Clinician, TenantAdmin, Operator]),
    change("PutPrincipal", ADMINS),
    read("ListPrincipals", &[TenantAdmin, Auditor, Operator]),
];

/// How far a caller reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The devices of its own models, and what it made for them, in its own tenant.
    Models,
    /// Its own tenant.
    Own,
    /// Every tenant.
    Every,
}

impl Rule {
    /// Finds the rule of a method.
    pub fn of(method: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.method == method)
    }

    /// Says how far a caller reaches with the method; `None`: it may not call it. A device may ask who it is, no more.
    pub fn reach(&self, caller: &Caller) -> Option<Reach> {
        let Allowed::Roles(roles) = self.allowed else { return Some(Reach::Own) };
        if matches!(caller.identity, Identity::Device(_)) || !roles.iter().any(|role| caller.has(*role)) {
            return None;
        }
        let has = |role: &&Role| caller.has(**role);
        if roles.iter().filter(has).all(|role| *role == Maker) {
            return Some(Reach::Models);
        }
        let everywhere = roles.contains(&Operator) && caller.has(Operator);
        Some(if everywhere { Reach::Every } else { Reach::Own })
    }
}
