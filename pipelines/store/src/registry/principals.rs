//! Services and people, and what they may do.

use super::sites::{Duties, Sites};
use super::tenants::{device_id, ensure_tenant, tenant_id};
use super::{Change, Reject, audit};
use crate::db::{Record, args};
use crate::{Store, StoreError};
use std::fmt;
use std::str::FromStr;
use wardline_proto::{DeviceId, TenantId};

/// A service or a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PrincipalKind {
    /// A program.
    Service,
    /// A person.
    User,
}

impl PrincipalKind {
    /// Returns its name, as it stands in a SPIFFE URI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::User => "user",
        }
    }
}

/// What someone may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Its models, claims, devices and authorities.
    Maker,
    /// All of its tenant.
    TenantAdmin,
    /// Bindings and alerts of its tenant.
    Clinician,
    /// Reads without subjects.
    Analyst,
    /// Reads the audit and lists.
    Auditor,
    /// Everything, of every tenant.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Maker, Self::TenantAdmin, Self::Clinician, Self::Analyst, Self::Auditor, Self::Operator];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maker => "maker",
            Self::TenantAdmin => "tenant-admin",
            Self::Clinician => "clinician",
            Self::Analyst => "analyst",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or_else(|| format!("roles are {}", names()))
    }
}

/// A service or person with its roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose.
    pub tenant: TenantId,
    /// What it is.
    pub kind: PrincipalKind,
    /// Its name within the tenant.
    pub name: DeviceId,
    /// What it may do, in order, each once.
    pub roles: Vec<Role>,
    /// Where it works: as a clinician it sees these sites alone.
    pub sites: Sites,
    /// Unix microseconds.
    pub created_at_us: i64,
}

impl Store {
    /// Gives a service or person exactly these roles, at exactly these sites.
    pub async fn put_principal(
        &self,
        change: &Change,
        (tenant, kind, name): (&TenantId, PrincipalKind, &DeviceId),
        duties: impl Into<Duties>,
    ) -> Result<(), StoreError> {
        let Duties { mut roles, sites } = duties.into();
        let sites = sites.to_string();
        roles.sort_unstable();
        roles.dedup();
        let text = roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(",");
        let mut tx = self.change().await?;
        ensure_tenant(&mut tx, tenant, change.at_us).await?;
        let upsert = "INSERT INTO principal (tenant, kind, name, roles, state, created_at_us, sites) \
                      VALUES ($1, $2, $3, $4, 'active', $5, $6) ON CONFLICT (tenant, kind, name) \
                      DO UPDATE SET roles = excluded.roles, sites = excluded.sites";
        let values = args![tenant.as_str(), kind.name(), name.as_str(), &text, change.at_us, &sites];
        tx.run(upsert, values).await?;
        tx.touch_principal((tenant, kind, name));
        let at = if sites.is_empty() { String::new() } else { format!(" at {sites}") };
        let target = format!("{} {tenant}/{name}: {text}{at}", kind.name());
        audit(&mut tx, change, ("roles_set", "ok"), &target).await?;
        tx.commit().await
    }

    /// Takes a service or person out of the registry; its certificates are revoked apart.
    pub async fn remove_principal(
        &self,
        change: &Change,
        (tenant, kind, name): (&TenantId, PrincipalKind, &DeviceId),
    ) -> Result<(), StoreError> {
        let mut tx = self.change().await?;
        let delete = "DELETE FROM principal WHERE tenant = $1 AND kind = $2 AND name = $3";
        if tx.run(delete, args![tenant.as_str(), kind.name(), name.as_str()]).await? == 0 {
            return Err(Reject::NotFound("principal").into());
        }
        tx.touch_principal((tenant, kind, name));
        let target = format!("{} {tenant}/{name}", kind.name());
        audit(&mut tx, change, ("principal_removed", "ok"), &target).await?;
        tx.commit().await
    }

    /// Lists services and people: of a tenant, or all.
    pub async fn list_principals(&self, tenant: Option<&TenantId>) -> Result<Vec<Principal>, StoreError> {
        let select = "SELECT tenant, kind, name, roles, sites, created_at_us FROM principal \
                      WHERE ($1 = '' OR tenant = $1) AND state = 'active' ORDER BY tenant, kind, name";
        let rows = self.db().all(select, args![tenant.map_or("", TenantId::as_str)]).await?;
        rows.iter().map(principal).collect()
    }
}

pub(super) fn principal(row: &Record) -> Result<Principal, StoreError> {
    let kind = match row.text("kind")?.as_str() {
        "service" => PrincipalKind::Service,
        "user" => PrincipalKind::User,
        _ => return Err(StoreError::Corrupt("principal.kind")),
    };
    let roles = row.text("roles")?;
    let roles = roles.split(',').filter(|name| !name.is_empty()).map(Role::from_str);
    Ok(Principal {
        tenant: tenant_id(row)?,
        kind,
        name: device_id(row, "name")?,
        roles: roles.collect::<Result<_, _>>().map_err(|_role| StoreError::Corrupt("principal.roles"))?,
        sites: Sites::parse(&row.text("sites")?).map_err(|_sites| StoreError::Corrupt("principal.sites"))?,
        created_at_us: row.int("created_at_us")?,
    })
}
