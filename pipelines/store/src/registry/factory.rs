//! Manufacturers' authorities: devices that enrol with the certificate that they left the factory with.

use super::certificates::{IssuedCertificate, insert_certificate, repeated};
use super::claims::{Redeemed, active};
use super::devices::{NewDevice, register};
use super::tenants::{ensure_tenant, tenant_id};
use super::{Change, Reject, audit, usable};
use crate::db::{Record, args};
use crate::{Store, StoreError};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Most serial numbers that are allowed at once.
pub const SERIALS_MAX: usize = 100_000;

/// An authority whose certificates devices bring along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManufacturerCa {
    /// SHA-256 of its certificate, DER, hex.
    pub ca_id: String,
    /// The maker.
    pub maker: TenantId,
    /// The tenant that its devices enrol with.
    pub tenant: TenantId,
    /// Model of its devices, or empty.
    pub model: String,
    /// Its certificate.
    pub pem: String,
    /// When it was revoked, unix microseconds.
    pub revoked_at_us: Option<i64>,
}

/// An enrolment by factory certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedeemFactory {
    /// The authority that vouched for the factory certificate.
    pub ca_id: String,
    /// The serial number that the factory certificate names.
    pub serial_number: String,
    /// The device that enrols.
    pub device: DeviceId,
    /// The certificate that it is to get.
    pub certificate: IssuedCertificate,
}

impl Store {
    /// Registers a manufacturer's authority; the same again changes nothing.
    pub async fn add_manufacturer_ca(&self, change: &Change, ca: &ManufacturerCa) -> Result<(), StoreError> {
        usable("model", &ca.model, true)?;
        let mut tx = self.change().await?;
        ensure_tenant(&mut tx, &ca.tenant, change.at_us).await?;
        let select =
            "SELECT ca_id, maker, tenant, model, pem, revoked_at_us FROM manufacturer_ca WHERE ca_id = $1";
        if let Some(row) = tx.one(select, args![&ca.ca_id]).await? {
            let known = ca_row(&row)?;
            let is_same = (&known.maker, &known.tenant, &known.model) == (&ca.maker, &ca.tenant, &ca.model);
            let is_live = known.revoked_at_us.is_none();
            return if is_same && is_live {
                Ok(())
            } else {
                Err(Reject::Conflict("manufacturer authority").into())
            };
        }
        let insert = "INSERT INTO manufacturer_ca (ca_id, maker, tenant, model, pem, created_at_us) \
                      VALUES ($1, $2, $3, $4, $5, $6)";
        let values =
            args![&ca.ca_id, ca.maker.as_str(), ca.tenant.as_str(), &ca.model, &ca.pem, change.at_us];
        tx.run(insert, values).await?;
        audit(&mut tx, change, ("manufacturer_ca_added", "ok"), &ca.ca_id).await?;
        tx.commit().await
    }

    /// Lists manufacturers' authorities.
    pub async fn list_manufacturer_cas(&self) -> Result<Vec<ManufacturerCa>, StoreError> {
        let select =
            "SELECT ca_id, maker, tenant, model, pem, revoked_at_us FROM manufacturer_ca ORDER BY ca_id";
        self.db().all(select, args![]).await?.iter().map(ca_row).collect()
    }

    /// Puts serial numbers on an authority's list; returns how many are new.
    pub async fn allow_serials(
        &self,
        change: &Change,
        ca_id: &str,
        serial_numbers: &[String],
    ) -> Result<u64, StoreError> {
        if serial_numbers.len() > SERIALS_MAX {
            return Err(Reject::Invalid("number of serial numbers").into());
        }
        serial_numbers.iter().try_for_each(|serial| usable("serial_number", serial, false))?;
        let mut tx = self.change().await?;
        let known = tx.one("SELECT ca_id FROM manufacturer_ca WHERE ca_id = $1", args![ca_id]).await?;
        known.ok_or(Reject::NotFound("manufacturer authority"))?;
        let insert = "INSERT INTO manufacturer_serial (ca_id, serial_number, device, used_key_sha256, certificate_serial) \
                      VALUES ($1, $2, '', '', '') ON CONFLICT (ca_id, serial_number) DO NOTHING";
        let mut new = 0;
        for serial in serial_numbers {
            new += tx.run(insert, args![ca_id, serial]).await?;
        }
        let target = format!("{ca_id}: {new} serial numbers");
        audit(&mut tx, change, ("serials_allowed", "ok"), &target).await?;
        tx.commit().await?;
        Ok(new)
    }

    /// Enrols a device by its factory certificate, once; the same key again gets the same certificate.
    pub async fn redeem_factory(
        &self,
        change: &Change,
        redeem: &RedeemFactory,
    ) -> Result<Redeemed, StoreError> {
        let mut tx = self.change().await?;
        let select =
            "SELECT ca_id, maker, tenant, model, pem, revoked_at_us FROM manufacturer_ca WHERE ca_id = $1";
        let ca = tx.one(select, args![&redeem.ca_id]).await?.as_ref().map(ca_row).transpose()?;
        let ca = ca.filter(|ca| ca.revoked_at_us.is_none()).ok_or(Reject::NotAllowed)?;
        let select = "SELECT device, used_at_us, used_key_sha256, certificate_serial FROM manufacturer_serial \
                      WHERE ca_id = $1 AND serial_number = $2";
        let row =
            tx.one(select, args![&redeem.ca_id, &redeem.serial_number]).await?.ok_or(Reject::NotAllowed)?;
        if row.maybe_int("used_at_us")?.is_some() {
            let is_same = row.text("used_key_sha256")? == redeem.certificate.key_sha256
                && row.text("device")? == redeem.device.as_str();
            if !is_same {
                return Err(Reject::ClaimUsed.into());
            }
            let known = repeated(&mut tx, &row.text("certificate_serial")?).await?;
            return known.ok_or(StoreError::Corrupt("manufacturer_serial.certificate_serial"));
        }
        let key = DeviceKey { tenant: ca.tenant, device: redeem.device.clone() };
        let device = NewDevice {
            model: ca.model,
            serial_number: redeem.serial_number.clone(),
            ..NewDevice::bare(key.clone())
        };
        register(&mut tx, &device, None, change.at_us).await?;
        active(&mut tx, &key).await?;
        insert_certificate(&mut tx, &redeem.certificate, ("", &redeem.ca_id, "")).await?;
        let update = "UPDATE manufacturer_serial SET device = $1, used_at_us = $2, used_key_sha256 = $3, \
                      certificate_serial = $4 WHERE ca_id = $5 AND serial_number = $6";
        let serial = redeem.certificate.serial.to_string();
        let values = args![
            key.device.as_str(),
            change.at_us,
            &redeem.certificate.key_sha256,
            &serial,
            &redeem.ca_id,
            &redeem.serial_number,
        ];
        tx.run(update, values).await?;
        let target = format!("{key} serial {serial} factory {}", redeem.ca_id);
        audit(&mut tx, change, ("enrolled", "ok"), &target).await?;
        tx.commit().await?;
        Ok(Redeemed::Issued)
    }
}

fn ca_row(row: &Record) -> Result<ManufacturerCa, StoreError> {
    let maker =
        TenantId::new(&row.text("maker")?).map_err(|_id| StoreError::Corrupt("manufacturer_ca.maker"))?;
    Ok(ManufacturerCa {
        ca_id: row.text("ca_id")?,
        maker,
        tenant: tenant_id(row)?,
        model: row.text("model")?,
        pem: row.text("pem")?,
        revoked_at_us: row.maybe_int("revoked_at_us")?,
    })
}
