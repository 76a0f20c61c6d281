//! What a node must know of the registry to let anybody in, all of one version.

use super::certificates::serial_of;
use super::principals::{Principal, principal};
use super::tenants::{device_id, tenant_id};
use super::{Serial, Store};
use crate::StoreError;
use crate::db::{Record, args};
use wardline_proto::DeviceKey;

/// What a node keeps in memory.
#[derive(Debug, Clone, Default)]
pub struct RegistrySnapshot {
    /// The version that this is of.
    pub version: i64,
    /// Revoked certificates that have not expired, with the end of their lives, unix microseconds.
    pub revoked: Vec<(Serial, i64)>,
    /// Active devices of active tenants.
    pub active: Vec<DeviceKey>,
    /// Those of them that are for test.
    pub for_test: Vec<DeviceKey>,
    /// Services and people with roles.
    pub principals: Vec<Principal>,
    /// Manufacturers' authorities in force: id and PEM.
    pub manufacturer_cas: Vec<(String, String)>,
}

/// A certificate that is revoked and has not expired, as a revocation list tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Its serial.
    pub serial: Serial,
    /// When it was revoked, unix microseconds.
    pub revoked_at_us: i64,
    /// From when on it is not to be trusted, as far as is known, unix microseconds.
    pub compromised_at_us: Option<i64>,
}

impl Store {
    /// Reads what a revocation list tells, in the order of serials.
    pub async fn revoked_certificates(&self, now_us: i64) -> Result<Vec<RevokedCertificate>, StoreError> {
        let select = "SELECT serial, revoked_at_us, compromised_at_us FROM certificate \
                      WHERE revoked_at_us IS NOT NULL AND not_after_us > $1 ORDER BY serial";
        let read = |row: &Record| {
            Ok(RevokedCertificate {
                serial: serial_of(row)?,
                revoked_at_us: row.int("revoked_at_us")?,
                compromised_at_us: row.maybe_int("compromised_at_us")?,
            })
        };
        self.db().all(select, args![now_us]).await?.iter().map(read).collect()
    }

    /// Reads what a node must know, all of one version.
    pub async fn registry_snapshot(&self, now_us: i64) -> Result<RegistrySnapshot, StoreError> {
        let mut tx = self.db().begin_read().await?;
        let version = tx.one("SELECT version FROM registry_version WHERE id = 1", args![]).await?;
        let version = version.ok_or(StoreError::Corrupt("registry_version"))?.int("version")?;
        let mut snapshot = RegistrySnapshot { version, ..RegistrySnapshot::default() };
        let select = "SELECT serial, not_after_us FROM certificate WHERE revoked_at_us IS NOT NULL AND not_after_us > $1";
        for row in tx.all(select, args![now_us]).await? {
            snapshot.revoked.push((serial_of(&row)?, row.int("not_after_us")?));
        }
        let select = "SELECT d.tenant AS tenant, d.device AS device, d.for_test AS for_test FROM device d \
                      LEFT JOIN tenant t ON t.tenant = d.tenant \
                      WHERE d.state = 'active' AND (t.state IS NULL OR t.state = 'active')";
        for row in tx.all(select, args![]).await? {
            let key = DeviceKey { tenant: tenant_id(&row)?, device: device_id(&row, "device")? };
            if row.flag("for_test")? {
                snapshot.for_test.push(key.clone());
            }
            snapshot.active.push(key);
        }
        let select =
            "SELECT tenant, kind, name, roles, sites, created_at_us FROM principal WHERE state = 'active'";
        for row in tx.all(select, args![]).await? {
            snapshot.principals.push(principal(&row)?);
        }
        let select = "SELECT ca_id, pem FROM manufacturer_ca WHERE revoked_at_us IS NULL ORDER BY ca_id";
        for row in tx.all(select, args![]).await? {
            snapshot.manufacturer_cas.push((row.text("ca_id")?, row.text("pem")?));
        }
        Ok(snapshot)
    }
}
