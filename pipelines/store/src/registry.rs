//! Devices that may connect, and the certificates that were issued.
//!
//! A front keeps a [`RegistrySnapshot`] in memory and reloads it when [`Store::registry_version`] has risen: every
//! change here raises it in the same transaction.

use crate::outbox::{self, Change};
use crate::{Store, StoreError};
use sqlx::{Row, SqliteConnection};
use std::borrow::Borrow;
use std::fmt;
use wardline_proto::v1::DeviceState;
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};

/// Longest certificate serial, bytes (RFC 5280, 4.1.2.2).
pub const SERIAL_BYTES_MAX: usize = 20;

/// A certificate's serial, big endian, as it stands in the certificate.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Box<[u8]>);

impl Serial {
    /// Takes a serial; `None` when it is empty or longer than a certificate may have.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty() && bytes.len() <= SERIAL_BYTES_MAX).then(|| Self(bytes.into()))
    }

    /// Reads the hex form.
    pub fn from_hex(hex: &str) -> Option<Self> {
        if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
        Self::new(&bytes?)
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Serial {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// Its serial.
    pub serial: Serial,
    /// The SAN URI that it certifies.
    pub spiffe_uri: String,
    /// Start of its life, unix microseconds.
    pub not_before_us: i64,
    /// End of its life, unix microseconds.
    pub not_after_us: i64,
}

/// What a front must know to let devices in.
#[derive(Debug, Clone, Default)]
pub struct RegistrySnapshot {
    /// The version that this is of.
    pub version: i64,
    /// Revoked certificates that have not expired.
    pub revoked: Vec<Serial>,
    /// Active devices.
    pub active: Vec<DeviceKey>,
}

impl Store {
    /// Records a certificate; the device of a device's certificate is registered as active when it is new.
    pub async fn enrol(
        &self,
        change: &Change,
        identity: &Identity,
        certificate: &IssuedCertificate,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        if let Identity::Device(key) = identity {
            insert_device(&mut tx, key, change.at_us).await?;
        }
        let target = format!("{} serial {}", certificate.spiffe_uri, certificate.serial);
        outbox::insert(&mut tx, change, "certificate_issued", "ok", &target).await?;
        sqlx::query(
            "INSERT INTO certificate (serial, spiffe_uri, not_before_us, not_after_us) VALUES ($1, $2, $3, $4)",
        )
        .bind(certificate.serial.to_string())
        .bind(&certificate.spiffe_uri)
        .bind(certificate.not_before_us)
        .bind(certificate.not_after_us)
        .execute(&mut *tx)
        .await?;
        raise_version(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Revokes a certificate; says whether it was known and not revoked before.
    pub async fn revoke_certificate(&self, change: &Change, serial: &Serial) -> Result<bool, StoreError> {
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let query = "UPDATE certificate SET revoked_at_us = $1 WHERE serial = $2 AND revoked_at_us IS NULL";
        let done = sqlx::query(query).bind(change.at_us).bind(serial.to_string()).execute(&mut *tx).await?;
        if done.rows_affected() > 0 {
            outbox::insert(&mut tx, change, "certificate_revoked", "ok", &format!("serial {serial}")).await?;
        }
        raise_version(&mut tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Revokes every certificate of a SAN URI; returns how many were not revoked before.
    pub async fn revoke_identity(&self, change: &Change, spiffe_uri: &str) -> Result<u64, StoreError> {
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let query = "UPDATE certificate SET revoked_at_us = $1 WHERE spiffe_uri = $2 AND revoked_at_us IS NULL \
                     RETURNING serial";
        let revoked = sqlx::query(query).bind(change.at_us).bind(spiffe_uri).fetch_all(&mut *tx).await?;
        // One event a certificate: sessions that are cut for it name the same serial.
        for row in &revoked {
            let target = format!("{spiffe_uri} serial {}", row.try_get::<String, _>("serial")?);
            outbox::insert(&mut tx, change, "certificate_revoked", "ok", &target).await?;
        }
        raise_version(&mut tx).await?;
        tx.commit().await?;
        Ok(revoked.len() as u64)
    }

    /// Changes a device's state; says whether the device is registered.
    pub async fn set_device_state(
        &self,
        change: &Change,
        key: &DeviceKey,
        state: DeviceState,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let done = sqlx::query("UPDATE device SET state = $1 WHERE tenant = $2 AND device = $3")
            .bind(state_name(state))
            .bind(key.tenant.as_str())
            .bind(key.device.as_str())
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() > 0 {
            let target = format!("{key} {}", state_name(state));
            outbox::insert(&mut tx, change, "device_state_set", "ok", &target).await?;
        }
        raise_version(&mut tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Returns the version of devices and certificates.
    pub async fn registry_version(&self) -> Result<i64, StoreError> {
        let row =
            sqlx::query("SELECT version FROM registry_version WHERE id = 1").fetch_one(self.pool()).await?;
        Ok(row.try_get(0)?)
    }

    /// Reads what a front must know, all of one version.
    pub async fn registry_snapshot(&self, now_us: i64) -> Result<RegistrySnapshot, StoreError> {
        let mut tx = self.pool().begin().await?;
        let version =
            sqlx::query("SELECT version FROM registry_version WHERE id = 1").fetch_one(&mut *tx).await?;
        let mut snapshot = RegistrySnapshot { version: version.try_get(0)?, ..RegistrySnapshot::default() };
        let revoked = "SELECT serial FROM certificate WHERE revoked_at_us IS NOT NULL AND not_after_us > $1";
        for row in sqlx::query(revoked).bind(now_us).fetch_all(&mut *tx).await? {
            let serial =
                Serial::from_hex(row.try_get(0)?).ok_or(StoreError::Corrupt("certificate.serial"))?;
            snapshot.revoked.push(serial);
        }
        let active = sqlx::query("SELECT tenant, device FROM device WHERE state = 'active'");
        for row in active.fetch_all(&mut *tx).await? {
            let tenant =
                TenantId::new(row.try_get(0)?).map_err(|_id| StoreError::Corrupt("device.tenant"))?;
            let device =
                DeviceId::new(row.try_get(1)?).map_err(|_id| StoreError::Corrupt("device.device"))?;
            snapshot.active.push(DeviceKey { tenant, device });
        }
        Ok(snapshot)
    }
}

async fn insert_device(tx: &mut SqliteConnection, key: &DeviceKey, now_us: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO device (tenant, device, model, serial_number, state, for_test, created_at_us) \
         VALUES ($1, $2, '', '', 'active', 0, $3) ON CONFLICT (tenant, device) DO NOTHING",
    )
    .bind(key.tenant.as_str())
    .bind(key.device.as_str())
    .bind(now_us)
    .execute(tx)
    .await?;
    Ok(())
}

async fn raise_version(tx: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE registry_version SET version = version + 1 WHERE id = 1").execute(tx).await?;
    Ok(())
}

fn state_name(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Active => "active",
        DeviceState::Suspended | DeviceState::Unspecified => "suspended",
        DeviceState::Retired => "retired",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(device: &str) -> Identity {
        let key =
            DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new(device).unwrap() };
        Identity::Device(key)
    }

    fn certificate(byte: u8, uri: &str) -> IssuedCertificate {
        let serial = Serial::new(&[byte; 16]).unwrap();
        IssuedCertificate { serial, spiffe_uri: uri.into(), not_before_us: 0, not_after_us: 1_000 }
    }

    fn change(at_us: i64) -> Change {
        Change { actor: "os:alice@front".into(), at_us }
    }

    #[tokio::test]
    async fn every_change_is_in_the_outbox_with_who_made_it_and_what_changed_nothing_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let serial = Serial::new(&[0x41; 16]).unwrap();
        let Identity::Device(key) = identity("mon-1") else { unreachable!() };
        assert!(!store.set_device_state(&change(4), &key, DeviceState::Suspended).await.unwrap());
        store.enrol(&change(5), &identity("mon-1"), &certificate(0x41, "a")).await.unwrap();
        store.enrol(&change(6), &identity("mon-1"), &certificate(0x41, "a")).await.unwrap_err();
        assert!(store.set_device_state(&change(7), &key, DeviceState::Suspended).await.unwrap());
        assert!(store.revoke_certificate(&change(8), &serial).await.unwrap());
        assert_eq!(store.revoke_identity(&change(9), "a").await.unwrap(), 0);
        let rows = store.audit_outbox_pending(10).await.unwrap();
        let told: Vec<_> = rows.iter().map(|row| (row.id, row.at_us, row.action.as_str())).collect();
        let expected =
            [(1, 5, "certificate_issued"), (2, 7, "device_state_set"), (3, 8, "certificate_revoked")];
        assert_eq!(told, expected);
        assert!(rows.iter().all(|row| row.actor == "os:alice@front"));
        assert_eq!(rows[0].target, format!("a serial {serial}"));
    }

    #[tokio::test]
    async fn a_revoked_certificate_shows_until_it_expires() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let before = store.registry_version().await.unwrap();
        store.enrol(&change(5), &identity("mon-1"), &certificate(0x41, "a")).await.unwrap();
        store.enrol(&change(6), &identity("mon-1"), &certificate(0x42, "a")).await.unwrap();
        assert!(store.registry_version().await.unwrap() > before);
        assert_eq!(store.registry_snapshot(7).await.unwrap().revoked, []);
        assert_eq!(store.revoke_identity(&change(8), "a").await.unwrap(), 2);
        assert!(!store.revoke_certificate(&change(9), &Serial::new(&[0x41; 16]).unwrap()).await.unwrap());
        assert_eq!(store.registry_snapshot(9).await.unwrap().revoked.len(), 2);
        assert_eq!(store.registry_snapshot(1_000).await.unwrap().revoked.len(), 0);
    }

    #[tokio::test]
    async fn only_active_devices_are_in_the_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        store.enrol(&change(5), &identity("mon-1"), &certificate(0x41, "a")).await.unwrap();
        let Identity::Device(key) = identity("mon-1") else { unreachable!() };
        assert_eq!(store.registry_snapshot(9).await.unwrap().active, std::slice::from_ref(&key));
        assert!(store.set_device_state(&change(9), &key, DeviceState::Suspended).await.unwrap());
        assert_eq!(store.registry_snapshot(9).await.unwrap().active, []);
    }

    #[test]
    fn a_serial_round_trips_in_hex() {
        let serial = Serial::new(&[0x0f, 0xa0]).unwrap();
        assert_eq!(Serial::from_hex(&serial.to_string()), Some(serial));
        for bad in ["", "0", "0g", &"00".repeat(21)] {
            assert_eq!(Serial::from_hex(bad), None, "{bad}");
        }
    }
}
