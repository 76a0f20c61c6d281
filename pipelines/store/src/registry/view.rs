//! What a node keeps in memory of the registry, and how it follows changes without reading everything again.
//!
//! [`Store::changes_since`] names what the versions after one touched, and reads what became of it, all of one
//! moment. It answers only when it has every version from there on: one that is missing, because it is too old, or
//! was written by a release that did not write changes down, or because the database is an older copy of itself, makes
//! the node read a whole [`RegistrySnapshot`]. So no revocation is passed over (SEC-2).

use super::certificates::serial_of;
use super::change::{CERTIFICATE, DEVICE, TENANT};
use super::principals::{Principal, PrincipalKind, Role, principal};
use super::sites::Sites;
use super::snapshot::RegistrySnapshot;
use super::tenants::{device_id, tenant_id};
use super::{Serial, Store};
use crate::StoreError;
use crate::db::{Record, Tx, args};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use wardline_proto::{DeviceKey, Identity};

/// Entries that are worth reading one by one; past that everything is read.
pub const CHANGES_MAX: i64 = 20_000;

/// What somebody may do, and where.
type Post = (Arc<[Role]>, Arc<Sites>);

/// How a device stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which device.
    pub key: DeviceKey,
    /// Whether it is registered and active, and its tenant is.
    pub is_active: bool,
    /// Whether it is for test.
    pub is_for_test: bool,
}

/// What became of everything that some versions touched.
#[derive(Debug, Clone, Default)]
pub struct RegistryChanges {
    /// The version that this leads to.
    pub version: i64,
    /// Certificates that are revoked, with the end of their lives, unix microseconds.
    pub revoked: Vec<(Serial, i64)>,
    /// Devices as they are now.
    pub devices: Vec<Standing>,
    /// Services and people as they are now: those that were removed have no roles.
    pub principals: Vec<Principal>,
}

/// The registry as a node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryView {
    version: i64,
    revoked: HashMap<Serial, i64>,
    active: HashSet<DeviceKey>,
    for_test: HashSet<DeviceKey>,
    duties: HashMap<Identity, Post>,
}

impl From<RegistrySnapshot> for RegistryView {
    fn from(all: RegistrySnapshot) -> Self {
        Self {
            version: all.version,
            revoked: all.revoked.into_iter().collect(),
            active: all.active.into_iter().collect(),
            for_test: all.for_test.into_iter().collect(),
            duties: all.principals.into_iter().filter_map(duties).collect(),
        }
    }
}

impl RegistryView {
    /// Returns the version that it is of.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Says whether a certificate is revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.revoked.contains_key(serial)
    }

    /// Says whether a device is registered and active.
    pub fn is_active(&self, key: &DeviceKey) -> bool {
        self.active.contains(key)
    }

    /// Says whether an active device is for test.
    pub fn is_for_test(&self, key: &DeviceKey) -> bool {
        self.for_test.contains(key)
    }

    /// Returns the roles of a service or person; none for who is not in the registry.
    pub fn roles(&self, identity: &Identity) -> Arc<[Role]> {
        self.duties.get(identity).map(|(roles, _)| roles.clone()).unwrap_or_default()
    }

    /// Returns the sites of a service or person; none for who is not in the registry.
    pub fn sites(&self, identity: &Identity) -> Arc<Sites> {
        self.duties.get(identity).map(|(_, sites)| sites.clone()).unwrap_or_default()
    }

    /// Takes changes over.
    pub fn apply(&mut self, changes: RegistryChanges) {
        self.version = changes.version;
        self.revoked.extend(changes.revoked);
        for Standing { key, is_active, is_for_test } in changes.devices {
            put(&mut self.for_test, &key, is_active && is_for_test);
            put(&mut self.active, &key, is_active);
        }
        for principal in changes.principals {
            self.duties.remove(&identity(&principal));
            self.duties.extend(duties(principal));
        }
    }

    /// Forgets revoked certificates whose life was over at a time, unix microseconds.
    pub fn forget_expired(&mut self, at_us: i64) {
        self.revoked.retain(|_serial, not_after_us| *not_after_us > at_us);
    }
}

impl Store {
    /// Reads what the versions after `since` changed; `None` when that cannot be told, or is more than
    /// [`CHANGES_MAX`]: then read a snapshot.
    pub async fn changes_since(
        &self,
        since: i64,
        now_us: i64,
    ) -> Result<Option<RegistryChanges>, StoreError> {
        let mut tx = self.db().begin_read().await?;
        let version = tx.one("SELECT version FROM registry_version WHERE id = 1", args![]).await?;
        let version = version.ok_or(StoreError::Corrupt("registry_version"))?.int("version")?;
        let count = "SELECT COUNT(*) AS entries, COUNT(DISTINCT version) AS versions FROM registry_change \
                     WHERE version > $1 AND version <= $2";
        let count = tx.one(count, args![since, version]).await?;
        let count = count.ok_or(StoreError::Corrupt("registry_change"))?;
        if since > version || count.int("versions")? != version - since || count.int("entries")? > CHANGES_MAX
        {
            return Ok(None);
        }
        let mut changes = RegistryChanges { version, ..RegistryChanges::default() };
        let select = "SELECT c.serial AS serial, c.not_after_us AS not_after_us FROM registry_change r \
                      JOIN certificate c ON c.serial = r.name WHERE r.version > $1 AND r.kind = $2 \
                      AND c.revoked_at_us IS NOT NULL AND c.not_after_us > $3";
        for row in tx.all(select, args![since, CERTIFICATE, now_us]).await? {
            changes.revoked.push((serial_of(&row)?, row.int("not_after_us")?));
        }
        devices(&mut tx, since, &mut changes.devices).await?;
        for kind in [PrincipalKind::Service, PrincipalKind::User] {
            let select = "SELECT DISTINCT r.tenant AS tenant, r.kind AS kind, r.name AS name, \
                          COALESCE(p.roles, '') AS roles, COALESCE(p.sites, '') AS sites, \
                          COALESCE(p.created_at_us, 0) AS created_at_us \
                          FROM registry_change r LEFT JOIN principal p ON p.tenant = r.tenant \
                          AND p.kind = r.kind AND p.name = r.name AND p.state = 'active' \
                          WHERE r.version > $1 AND r.kind = $2";
            for row in tx.all(select, args![since, kind.name()]).await? {
                changes.principals.push(principal(&row)?);
            }
        }
        Ok(Some(changes))
    }
}

/// Reads the devices that were touched, by themselves or with their tenant. One that is no longer there is not active.
async fn devices(tx: &mut Tx, since: i64, into: &mut Vec<Standing>) -> Result<(), StoreError> {
    let by_name = "SELECT DISTINCT r.tenant AS tenant, r.name AS device, COALESCE(d.for_test, 0) AS for_test, \
                   CAST(CASE WHEN d.state = 'active' AND (t.state IS NULL OR t.state = 'active') THEN 1 \
                   ELSE 0 END AS BIGINT) AS active FROM registry_change r \
                   LEFT JOIN device d ON d.tenant = r.tenant AND d.device = r.name \
                   LEFT JOIN tenant t ON t.tenant = r.tenant WHERE r.version > $1 AND r.kind = $2";
    let by_tenant = "SELECT DISTINCT d.tenant AS tenant, d.device AS device, d.for_test AS for_test, \
                     CAST(CASE WHEN d.state = 'active' AND (t.state IS NULL OR t.state = 'active') THEN 1 \
                     ELSE 0 END AS BIGINT) AS active FROM registry_change r \
                     JOIN device d ON d.tenant = r.tenant \
                     LEFT JOIN tenant t ON t.tenant = r.tenant WHERE r.version > $1 AND r.kind = $2";
    for (select, kind) in [(by_name, DEVICE), (by_tenant, TENANT)] {
        for row in tx.all(select, args![since, kind]).await? {
            into.push(standing(&row)?);
        }
    }
    Ok(())
}

fn standing(row: &Record) -> Result<Standing, StoreError> {
    let key = DeviceKey { tenant: tenant_id(row)?, device: device_id(row, "device")? };
    Ok(Standing { key, is_active: row.flag("active")?, is_for_test: row.flag("for_test")? })
}

fn put(set: &mut HashSet<DeviceKey>, key: &DeviceKey, is_in: bool) {
    if is_in {
        set.insert(key.clone());
    } else {
        set.remove(key);
    }
}

fn duties(principal: Principal) -> Option<(Identity, Post)> {
    let has = !principal.roles.is_empty();
    has.then(|| (identity(&principal), (principal.roles.into(), principal.sites.into())))
}

fn identity(principal: &Principal) -> Identity {
    let (tenant, name) = (principal.tenant.clone(), principal.name.clone());
    match principal.kind {
        PrincipalKind::Service => Identity::Service { tenant, name },
        PrincipalKind::User => Identity::User { tenant, name },
    }
}
