//! Claims: secrets that each let one device enrol, once.

use super::certificates::{IssuedCertificate, insert_certificate, repeated};
use super::devices::{NewDevice, maker_of, register};
use super::tenants::{ensure_tenant, tenant_id};
use super::{Change, Reject, audit, page, usable};
use crate::db::{Record, Tx, args};
use crate::{Store, StoreError};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Most claims that are made at once.
pub const CLAIMS_MAX: usize = 10_000;

/// Claims to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClaims {
    /// Whose devices enrol with them.
    pub tenant: TenantId,
    /// Names them together, for revocation.
    pub batch: String,
    /// Model of the devices, or empty.
    pub model: String,
    /// The one device that may use it; with one claim only.
    pub device: Option<DeviceId>,
    /// End of their life, unix microseconds.
    pub expires_at_us: i64,
    /// SHA-256 of each secret, hex.
    pub secrets_sha256: Vec<String>,
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its id: the first 16 hex digits of its secret's SHA-256.
    pub claim_id: String,
    /// Names it together with others.
    pub batch: String,
    /// Whose device enrols with it.
    pub tenant: TenantId,
    /// The one device that may use it.
    pub device: Option<DeviceId>,
    /// Model of the device, or empty.
    pub model: String,
    /// End of its life, unix microseconds.
    pub expires_at_us: i64,
    /// Unix microseconds.
    pub created_at_us: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was used, unix microseconds.
    pub used_at_us: Option<i64>,
    /// Which device used it, or empty.
    pub used_by_device: String,
    /// When it was revoked, unix microseconds.
    pub revoked_at_us: Option<i64>,
}

/// A claim that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeem {
    /// SHA-256 of the secret, hex.
    pub secret_sha256: String,
    /// The device that enrols.
    pub device: DeviceId,
    /// Serial number of its hardware, or empty.
    pub serial_number: String,
    /// The certificate that it is to get; its `key_sha256` names the key.
    pub certificate: IssuedCertificate,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// The certificate is the device's.
    Issued,
    /// It had been used with the same key: this is the certificate of then. The new one is not to be given out.
    Repeated(Box<IssuedCertificate>),
}

const SELECT: &str = "SELECT claim_id, batch, tenant, device, model, expires_at_us, created_at_us, created_by, used_at_us, used_by_device, used_key_sha256, certificate_serial, revoked_at_us, maker FROM claim WHERE secret_sha256 = $1";

impl Store {
    /// Makes claims; returns their ids in the order of their secrets.
    pub async fn create_claims(
        &self,
        change: &Change,
        claims: &NewClaims,
    ) -> Result<Vec<String>, StoreError> {
        self.create_claims_of(change, claims, None).await
    }

    /// The same; when `only` names a maker, the claims are its own: for no device but of its own models.
    pub async fn create_claims_of(
        &self,
        change: &Change,
        claims: &NewClaims,
        only: Option<&TenantId>,
    ) -> Result<Vec<String>, StoreError> {
        usable("batch", &claims.batch, false)?;
        usable("model", &claims.model, true)?;
        let count = claims.secrets_sha256.len();
        if count == 0 || count > CLAIMS_MAX || (claims.device.is_some() && count > 1) {
            return Err(Reject::Invalid("number of claims").into());
        }
        if claims.expires_at_us <= change.at_us {
            return Err(Reject::Invalid("expiry").into());
        }
        claims.secrets_sha256.iter().try_for_each(|secret| usable_hash(secret))?;
        let mut tx = self.change().await?;
        ensure_tenant(&mut tx, &claims.tenant, change.at_us).await?;
        let maker = only.map_or("", TenantId::as_str);
        if only.is_some() && maker_of(&mut tx, &claims.model).await? != maker {
            return Err(Reject::OtherMaker.into());
        }
        let insert = "INSERT INTO claim (claim_id, secret_sha256, batch, tenant, device, model, expires_at_us, \
                      created_at_us, created_by, used_by_device, used_key_sha256, certificate_serial, maker) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', '', '', $10)";
        let mut ids = Vec::with_capacity(count);
        for secret in &claims.secrets_sha256 {
            let id = secret.get(..16).ok_or(Reject::Invalid("secret"))?.to_owned();
            let values = args![
                &id,
                secret,
                &claims.batch,
                claims.tenant.as_str(),
                claims.device.as_ref().map_or("", DeviceId::as_str),
                &claims.model,
                claims.expires_at_us,
                change.at_us,
                &change.actor,
                maker,
            ];
            tx.run(insert, values).await?;
            ids.push(id);
        }
        let target = format!("{}/{}: {count} claims", claims.tenant, claims.batch);
        audit(&mut tx, change, ("claims_created", "ok"), &target).await?;
        tx.commit().await?;
        Ok(ids)
    }

    /// Finds a claim by the SHA-256 of its secret, hex.
    pub async fn lookup_claim(&self, secret_sha256: &str) -> Result<Option<Claim>, StoreError> {
        self.db().one(SELECT, args![secret_sha256]).await?.as_ref().map(claim).transpose()
    }

    /// Lists a tenant's claims, newest first: of a batch, or all.
    pub async fn list_claims(
        &self,
        tenant: &TenantId,
        batch: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        self.list_claims_of(tenant, batch, limit, None).await
    }

    /// The same; when `only` names a maker, its own.
    pub async fn list_claims_of(
        &self,
        tenant: &TenantId,
        batch: Option<&str>,
        limit: u32,
        only: Option<&TenantId>,
    ) -> Result<Vec<Claim>, StoreError> {
        let select = "SELECT claim_id, batch, tenant, device, model, expires_at_us, created_at_us, created_by, \
                      used_at_us, used_by_device, used_key_sha256, certificate_serial, revoked_at_us FROM claim \
                      WHERE tenant = $1 AND ($2 = '' OR batch = $2) AND ($4 = '' OR maker = $4) \
                      ORDER BY created_at_us DESC, claim_id LIMIT $3";
        let maker = only.map_or("", TenantId::as_str);
        let values = args![tenant.as_str(), batch.unwrap_or(""), page(limit), maker];
        self.db().all(select, values).await?.iter().map(claim).collect()
    }

    /// Takes back the unused claims of a batch; returns how many. Certificates stay: see `revoke`.
    pub async fn revoke_claims(
        &self,
        change: &Change,
        tenant: &TenantId,
        batch: &str,
    ) -> Result<u64, StoreError> {
        self.revoke_claims_of(change, tenant, batch, None).await
    }

    /// The same; when `only` names a maker, its own.
    pub async fn revoke_claims_of(
        &self,
        change: &Change,
        tenant: &TenantId,
        batch: &str,
        only: Option<&TenantId>,
    ) -> Result<u64, StoreError> {
        let mut tx = self.change().await?;
        let revoked = revoke_batch(&mut tx, (tenant, batch), only, change.at_us).await?;
        let target = format!("{tenant}/{batch}: {revoked} claims");
        audit(&mut tx, change, ("claims_revoked", "ok"), &target).await?;
        tx.commit().await?;
        Ok(revoked)
    }

    /// Uses a claim: the device is registered, the certificate recorded, the claim spent, together or not at all.
    pub async fn redeem_claim(&self, change: &Change, redeem: &Redeem) -> Result<Redeemed, StoreError> {
        let mut tx = self.change().await?;
        let row = tx.one(SELECT, args![&redeem.secret_sha256]).await?.ok_or(Reject::ClaimUnknown)?;
        let claim = claim(&row)?;
        if claim.used_at_us.is_some() {
            let is_same = row.text("used_key_sha256")? == redeem.certificate.key_sha256
                && claim.used_by_device == redeem.device.as_str();
            if !is_same || claim.revoked_at_us.is_some() {
                return Err(Reject::ClaimUsed.into());
            }
            let known = repeated(&mut tx, &row.text("certificate_serial")?).await?;
            return known.ok_or(StoreError::Corrupt("claim.certificate_serial"));
        }
        if claim.revoked_at_us.is_some() {
            return Err(Reject::ClaimRevoked.into());
        }
        if claim.expires_at_us <= change.at_us {
            return Err(Reject::ClaimExpired.into());
        }
        if claim.device.as_ref().is_some_and(|device| *device != redeem.device) {
            return Err(Reject::ClaimOtherDevice.into());
        }
        let key = DeviceKey { tenant: claim.tenant, device: redeem.device.clone() };
        let device = NewDevice {
            model: claim.model,
            serial_number: redeem.serial_number.clone(),
            ..NewDevice::bare(key.clone())
        };
        let maker = row.text("maker")?;
        let maker = (!maker.is_empty()).then(|| TenantId::new(&maker)).transpose();
        let maker = maker.map_err(|_id| StoreError::Corrupt("claim.maker"))?;
        register(&mut tx, &device, maker.as_ref(), change.at_us).await?;
        active(&mut tx, &key).await?;
        insert_certificate(&mut tx, &redeem.certificate, (&claim.claim_id, "", "")).await?;
        let update = "UPDATE claim SET used_at_us = $1, used_by_device = $2, used_key_sha256 = $3, \
                      certificate_serial = $4 WHERE claim_id = $5 AND used_at_us IS NULL";
        let serial = redeem.certificate.serial.to_string();
        let values = args![
            change.at_us,
            key.device.as_str(),
            &redeem.certificate.key_sha256,
            &serial,
            &claim.claim_id
        ];
        if tx.run(update, values).await? != 1 {
            return Err(Reject::ClaimUsed.into());
        }
        let target = format!("{key} serial {serial} claim {}", claim.claim_id);
        audit(&mut tx, change, ("enrolled", "ok"), &target).await?;
        tx.commit().await?;
        Ok(Redeemed::Issued)
    }
}

/// Checks the hex form of a SHA-256: it is compared as text, so there is one form of it.
fn usable_hash(hex: &str) -> Result<(), StoreError> {
    let is_hex = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { Ok(()) } else { Err(Reject::Invalid("secret").into()) }
}

/// A device that was suspended or retired gets no certificate.
pub(super) async fn active(tx: &mut Tx, key: &DeviceKey) -> Result<(), StoreError> {
    let select = "SELECT state FROM device WHERE tenant = $1 AND device = $2";
    let row = tx.one(select, args![key.tenant.as_str(), key.device.as_str()]).await?;
    match row {
        Some(row) if row.text("state")? == "active" => Ok(()),
        _ => Err(Reject::NotActive.into()),
    }
}

pub(super) async fn revoke_batch(
    tx: &mut Tx,
    (tenant, batch): (&TenantId, &str),
    only: Option<&TenantId>,
    at_us: i64,
) -> Result<u64, StoreError> {
    let maker = only.map_or("", TenantId::as_str);
    let known =
        "SELECT claim_id FROM claim WHERE tenant = $1 AND batch = $2 AND ($3 = '' OR maker = $3) LIMIT 1";
    tx.one(known, args![tenant.as_str(), batch, maker]).await?.ok_or(Reject::NotFound("claim batch"))?;
    let update = "UPDATE claim SET revoked_at_us = $1 WHERE tenant = $2 AND batch = $3 \
                  AND used_at_us IS NULL AND revoked_at_us IS NULL AND ($4 = '' OR maker = $4)";
    tx.run(update, args![at_us, tenant.as_str(), batch, maker]).await
}

fn claim(row: &Record) -> Result<Claim, StoreError> {
    let device = row.text("device")?;
    let device = if device.is_empty() { None } else { Some(super::tenants::device_id(row, "device")?) };
    Ok(Claim {
        claim_id: row.text("claim_id")?,
        batch: row.text("batch")?,
        tenant: tenant_id(row)?,
        device,
        model: row.text("model")?,
        expires_at_us: row.int("expires_at_us")?,
        created_at_us: row.int("created_at_us")?,
        created_by: row.text("created_by")?,
        used_at_us: row.maybe_int("used_at_us")?,
        used_by_device: row.text("used_by_device")?,
        revoked_at_us: row.maybe_int("revoked_at_us")?,
    })
}
