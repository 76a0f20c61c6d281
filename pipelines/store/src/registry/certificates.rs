//! Certificates that were issued, and their revocation.

use super::change::ChangeTx;
use super::claims::Redeemed;
use super::devices::{NewDevice, register};
use super::principals::PrincipalKind;
use super::{Change, Reject, Serial, audit, usable};
use crate::db::{Record, Tx, args};
use crate::{Store, StoreError};
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};

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
    /// The certificate itself, DER; empty when it was not kept.
    pub der: Vec<u8>,
    /// SHA-256 of its public key (SubjectPublicKeyInfo), hex; empty when it was not kept.
    pub key_sha256: String,
}

/// A certificate as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// What was issued.
    pub certificate: IssuedCertificate,
    /// The claim that it was issued for, or empty.
    pub claim_id: String,
    /// The manufacturer's authority that vouched for it, or empty.
    pub ca_id: String,
    /// When it was revoked, unix microseconds.
    pub revoked_at_us: Option<i64>,
    /// From when on it is not to be trusted, as far as is known, unix microseconds.
    pub compromised_at_us: Option<i64>,
    /// Why it was revoked.
    pub reason: String,
}

/// What a revocation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokeBy {
    /// Every certificate of a device.
    Device(DeviceKey),
    /// One certificate.
    Certificate(Serial),
    /// Every certificate of a batch of claims, and its unused claims.
    ClaimBatch(TenantId, String),
    /// Every certificate that a manufacturer's authority vouched for, and the authority.
    ManufacturerCa(String),
    /// Every certificate of a service or person.
    Principal(TenantId, PrincipalKind, DeviceId),
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Of what.
    pub by: RevokeBy,
    /// From when on it is not to be trusted; none when nothing is known.
    pub compromised_at_us: Option<i64>,
    /// Why.
    pub reason: String,
}

/// Records a certificate in a transaction: for which claim, by which manufacturer's word, after which serial.
pub(super) async fn insert_certificate(
    tx: &mut Tx,
    certificate: &IssuedCertificate,
    (claim_id, ca_id, follows): (&str, &str, &str),
) -> Result<(), StoreError> {
    let insert = "INSERT INTO certificate (serial, spiffe_uri, not_before_us, not_after_us, der, key_sha256, \
                  claim_id, ca_id, follows) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let serial = certificate.serial.to_string();
    let values = args![
        &serial,
        &certificate.spiffe_uri,
        certificate.not_before_us,
        certificate.not_after_us,
        certificate.der.as_slice(),
        &certificate.key_sha256,
        claim_id,
        ca_id,
        follows,
    ];
    tx.run(insert, values).await?;
    Ok(())
}

/// Finds what was issued then, for who asks again. What was revoked since is not given out again.
pub(super) async fn repeated(tx: &mut Tx, serial: &str) -> Result<Option<Redeemed>, StoreError> {
    let select = "SELECT serial, spiffe_uri, not_before_us, not_after_us, der, key_sha256, revoked_at_us \
                  FROM certificate WHERE serial = $1";
    let Some(row) = tx.one(select, args![serial]).await? else { return Ok(None) };
    if row.maybe_int("revoked_at_us")?.is_some() {
        return Err(Reject::Revoked.into());
    }
    Ok(Some(Redeemed::Repeated(Box::new(issued(&row)?))))
}

impl Store {
    /// Revokes one certificate; says whether it was known and not revoked before.
    pub async fn revoke_certificate(&self, change: &Change, serial: &Serial) -> Result<bool, StoreError> {
        let by = RevokeBy::Certificate(serial.clone());
        let revocation = Revocation { by, compromised_at_us: None, reason: String::new() };
        match self.revoke(change, &revocation).await {
            Ok(revoked) => Ok(!revoked.is_empty()),
            Err(StoreError::Reject(Reject::NotFound(_))) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Revokes every certificate of a SAN URI; returns how many were not revoked before.
    pub async fn revoke_identity(&self, change: &Change, spiffe_uri: &str) -> Result<u64, StoreError> {
        let mut tx = self.change().await?;
        let select =
            "SELECT serial, spiffe_uri FROM certificate WHERE revoked_at_us IS NULL AND spiffe_uri = $1";
        let living = tx.all(select, args![spiffe_uri]).await?;
        mark(&mut tx, change, &living, (None, "")).await?;
        tx.commit().await?;
        Ok(living.len() as u64)
    }

    /// Records a certificate that an operator issues; the device of a device's certificate is registered when it is
    /// new.
    pub async fn enrol(
        &self,
        change: &Change,
        identity: &Identity,
        certificate: &IssuedCertificate,
    ) -> Result<(), StoreError> {
        let mut tx = self.change().await?;
        if let Identity::Device(key) = identity {
            register(&mut tx, &NewDevice::bare(key.clone()), None, change.at_us).await?;
        }
        insert_certificate(&mut tx, certificate, ("", "", "")).await?;
        let target = format!("{} serial {}", certificate.spiffe_uri, certificate.serial);
        audit(&mut tx, change, ("certificate_issued", "ok"), &target).await?;
        tx.commit().await
    }

    /// Records the certificate that follows a living one of the same identity. The old one lives on until its own end.
    /// The same key after the same one again gets the same certificate.
    ///
    /// A device that is not active, or of a suspended tenant, gets none.
    pub async fn renew(
        &self,
        change: &Change,
        old: &Serial,
        certificate: &IssuedCertificate,
    ) -> Result<Redeemed, StoreError> {
        let mut tx = self.change().await?;
        let select = "SELECT spiffe_uri, not_after_us, claim_id, ca_id, revoked_at_us FROM certificate \
                      WHERE serial = $1";
        let known = tx.one(select, args![&old.to_string()]).await?.ok_or(Reject::NotFound("certificate"))?;
        let is_living =
            known.maybe_int("revoked_at_us")?.is_none() && known.int("not_after_us")? > change.at_us;
        if !is_living || known.text("spiffe_uri")? != certificate.spiffe_uri {
            return Err(Reject::NotAllowed.into());
        }
        may_have_one(&mut tx, &certificate.spiffe_uri, change.at_us).await?;
        let (old, select) =
            (old.to_string(), "SELECT serial FROM certificate WHERE follows = $1 AND key_sha256 = $2");
        if let Some(row) = tx.one(select, args![&old, &certificate.key_sha256]).await?
            && let Some(known) = repeated(&mut tx, &row.text("serial")?).await?
        {
            return Ok(known);
        }
        let origin = (known.text("claim_id")?, known.text("ca_id")?);
        insert_certificate(&mut tx, certificate, (&origin.0, &origin.1, &old)).await?;
        let target = format!("{} serial {} after {old}", certificate.spiffe_uri, certificate.serial);
        audit(&mut tx, change, ("certificate_renewed", "ok"), &target).await?;
        tx.commit().await?;
        Ok(Redeemed::Issued)
    }

    /// Revokes; returns the serials that were not revoked before. Claims and authorities of the same go with them.
    pub async fn revoke(&self, change: &Change, revocation: &Revocation) -> Result<Vec<Serial>, StoreError> {
        usable("reason", &revocation.reason, true)?;
        let mut tx = self.change().await?;
        let (what, living) = find(&mut tx, &revocation.by, change.at_us).await?;
        mark(&mut tx, change, &living, (revocation.compromised_at_us, &revocation.reason)).await?;
        let since = revocation.compromised_at_us.map_or(String::new(), |at_us| format!(" since {at_us}"));
        let target = format!("{what}: {} certificates{since} {}", living.len(), revocation.reason);
        audit(&mut tx, change, ("revoked", "ok"), target.trim_end()).await?;
        tx.commit().await?;
        living.iter().map(serial_of).collect()
    }

    /// Returns a certificate.
    pub async fn get_certificate(&self, serial: &Serial) -> Result<Option<CertificateRow>, StoreError> {
        let select = "SELECT serial, spiffe_uri, not_before_us, not_after_us, der, key_sha256, claim_id, ca_id, \
                      revoked_at_us, compromised_at_us, reason FROM certificate WHERE serial = $1";
        self.db().one(select, args![&serial.to_string()]).await?.as_ref().map(row).transpose()
    }

    /// Lists certificates whose SAN URI begins with `uri_prefix`, newest first, at most `limit`.
    pub async fn list_certificates(
        &self,
        uri_prefix: &str,
        limit: u32,
    ) -> Result<Vec<CertificateRow>, StoreError> {
        let select = "SELECT serial, spiffe_uri, not_before_us, not_after_us, der, key_sha256, claim_id, ca_id, \
                      revoked_at_us, compromised_at_us, reason FROM certificate \
                      WHERE spiffe_uri LIKE $1 ESCAPE '!' ORDER BY not_before_us DESC, serial LIMIT $2";
        let pattern = format!("{}%", like(uri_prefix));
        let rows = self.db().all(select, args![&pattern, super::page(limit)]).await?;
        rows.iter().map(row).collect()
    }
}

/// Checks that whom a SAN URI names is not kept out.
async fn may_have_one(tx: &mut Tx, uri: &str, at_us: i64) -> Result<(), StoreError> {
    let authority = uri.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or("");
    let identity = Identity::from_uri(uri, authority).map_err(|_uri| Reject::NotAllowed)?;
    super::tenants::ensure_tenant(tx, identity.tenant(), at_us).await?;
    match &identity {
        Identity::Device(key) => super::claims::active(tx, key).await,
        Identity::Service { .. } | Identity::User { .. } => Ok(()),
    }
}

/// Marks certificates as revoked. One event each: sessions that are cut for it name the same serial.
async fn mark(
    tx: &mut ChangeTx,
    change: &Change,
    living: &[Record],
    (compromised_at_us, reason): (Option<i64>, &str),
) -> Result<(), StoreError> {
    let update =
        "UPDATE certificate SET revoked_at_us = $1, compromised_at_us = $2, reason = $3 WHERE serial = $4";
    for row in living {
        let serial = row.text("serial")?;
        tx.run(update, args![change.at_us, compromised_at_us, reason, &serial]).await?;
        tx.touch_certificate(&serial_of(row)?);
        let target = format!("{} serial {serial}", row.text("spiffe_uri")?);
        audit(tx, change, ("certificate_revoked", "ok"), &target).await?;
    }
    Ok(())
}

/// Returns what is revoked, for the audit, and its certificates that live.
async fn find(tx: &mut Tx, by: &RevokeBy, at_us: i64) -> Result<(String, Vec<Record>), StoreError> {
    let (what, sql, value) = match by {
        RevokeBy::Device(key) => (
            format!("device {key}"),
            "SELECT serial, spiffe_uri FROM certificate WHERE revoked_at_us IS NULL AND spiffe_uri LIKE $1 ESCAPE '!'",
            format!("spiffe://%/tenant/{}/device/{}", like(key.tenant.as_str()), like(key.device.as_str())),
        ),
        RevokeBy::Principal(tenant, kind, name) => (
            format!("{} {tenant}/{name}", kind.name()),
            "SELECT serial, spiffe_uri FROM certificate WHERE revoked_at_us IS NULL AND spiffe_uri LIKE $1 ESCAPE '!'",
            format!("spiffe://%/tenant/{}/{}/{}", like(tenant.as_str()), kind.name(), like(name.as_str())),
        ),
        RevokeBy::Certificate(serial) => {
            let select = "SELECT serial FROM certificate WHERE serial = $1";
            tx.one(select, args![&serial.to_string()]).await?.ok_or(Reject::NotFound("certificate"))?;
            (
                format!("certificate {serial}"),
                "SELECT serial, spiffe_uri FROM certificate WHERE revoked_at_us IS NULL AND serial = $1",
                serial.to_string(),
            )
        }
        RevokeBy::ClaimBatch(tenant, batch) => {
            super::claims::revoke_batch(tx, (tenant, batch), None, at_us).await?;
            let select = "SELECT c.serial AS serial, c.spiffe_uri AS spiffe_uri FROM certificate c JOIN claim k ON k.claim_id = c.claim_id \
                          WHERE c.revoked_at_us IS NULL AND k.tenant || '/' || k.batch = $1";
            (format!("claim batch {tenant}/{batch}"), select, format!("{tenant}/{batch}"))
        }
        RevokeBy::ManufacturerCa(ca_id) => {
            let update =
                "UPDATE manufacturer_ca SET revoked_at_us = $1 WHERE ca_id = $2 AND revoked_at_us IS NULL";
            if tx.run(update, args![at_us, ca_id]).await? == 0 {
                let known =
                    tx.one("SELECT ca_id FROM manufacturer_ca WHERE ca_id = $1", args![ca_id]).await?;
                known.ok_or(Reject::NotFound("manufacturer authority"))?;
            }
            let select =
                "SELECT serial, spiffe_uri FROM certificate WHERE revoked_at_us IS NULL AND ca_id = $1";
            (format!("manufacturer authority {ca_id}"), select, ca_id.clone())
        }
    };
    Ok((what, tx.all(sql, args![&value]).await?))
}

/// Ids have `_`, which stands for any character in a pattern.
fn like(id: &str) -> String {
    id.replace('!', "!!").replace('_', "!_").replace('%', "!%")
}

pub(super) fn serial_of(row: &Record) -> Result<Serial, StoreError> {
    Serial::from_hex(&row.text("serial")?).ok_or(StoreError::Corrupt("certificate.serial"))
}

fn issued(row: &Record) -> Result<IssuedCertificate, StoreError> {
    Ok(IssuedCertificate {
        serial: serial_of(row)?,
        spiffe_uri: row.text("spiffe_uri")?,
        not_before_us: row.int("not_before_us")?,
        not_after_us: row.int("not_after_us")?,
        der: row.maybe_bytes("der")?.unwrap_or_default(),
        key_sha256: row.text("key_sha256")?,
    })
}

fn row(row: &Record) -> Result<CertificateRow, StoreError> {
    Ok(CertificateRow {
        certificate: issued(row)?,
        claim_id: row.text("claim_id")?,
        ca_id: row.text("ca_id")?,
        revoked_at_us: row.maybe_int("revoked_at_us")?,
        compromised_at_us: row.maybe_int("compromised_at_us")?,
        reason: row.text("reason")?,
    })
}
