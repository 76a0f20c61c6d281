//! Certificates and their revocation. A revocation raises the registry's version, so every node cuts within 2 s (SEC-2).

use super::call::{Call, given, id};
use super::error::{failed, invalid, missing};
use super::{manufacturers, principals};
use crate::front::now_us;
use tonic::Status;
use wardline_proto::Identity;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::revoke_certificates_request::By;
use wardline_proto::v1::{
    Certificate as Wire, CertificateState, ListCertificatesRequest, ListCertificatesResponse,
    RevokeCertificatesRequest, RevokeCertificatesResponse,
};
use wardline_store::registry::{CertificateRow, Revocation, RevokeBy, Serial};

pub(super) async fn list(
    call: &Call,
    wanted: ListCertificatesRequest,
) -> Result<ListCertificatesResponse, Status> {
    let state = CertificateState::try_from(wanted.state).map_err(|_state| invalid("state"))?;
    let tenant = call.tenant_filter(&wanted.tenant)?;
    let device = given(&wanted.device).map(|device| id("device", device)).transpose()?;
    let domain = &call.parts.trust_domain;
    let prefix = match (&tenant, &device) {
        (None, Some(_)) => return Err(invalid("tenant of the device")),
        (None, None) => String::new(),
        (Some(tenant), None) => format!("spiffe://{domain}/tenant/{tenant}/"),
        (Some(tenant), Some(device)) => format!("spiffe://{domain}/tenant/{tenant}/device/{device}"),
    };
    let rows = call.store().list_certificates(&prefix, wanted.page_size).await.map_err(failed)?;
    let now = now_us();
    // Another device's name may begin with this one's.
    let is_meant = |row: &CertificateRow| device.is_none() || row.certificate.spiffe_uri == prefix;
    let is_listed = |row: &CertificateRow| is_meant(row) && is_in(row, state, now);
    let certificates = rows.into_iter().filter(is_listed).map(wire).collect();
    Ok(ListCertificatesResponse { certificates })
}

pub(super) async fn revoke(
    call: &Call,
    wanted: RevokeCertificatesRequest,
) -> Result<RevokeCertificatesResponse, Status> {
    let change = call.change();
    let at_us = wanted.compromised_at_us;
    if at_us < 0 || at_us > change.at_us {
        return Err(invalid("compromised_at_us"));
    }
    let by = revoke_by(call, wanted.by.ok_or_else(|| invalid("what to revoke"))?).await?;
    let compromised_at_us = (at_us != 0).then_some(at_us);
    let revocation = Revocation { by, compromised_at_us, reason: wanted.reason };
    let serials = call.store().revoke(&change, &revocation).await.map_err(failed)?;
    let serials = serials.iter().map(|serial| serial.as_bytes().to_vec()).collect();
    Ok(RevokeCertificatesResponse { serials })
}

async fn revoke_by(call: &Call, by: By) -> Result<RevokeBy, Status> {
    Ok(match by {
        By::Device(name) => RevokeBy::Device(call.device(&name.tenant, &name.device)?),
        By::Serial(serial) => {
            let serial = Serial::new(&serial).ok_or_else(|| invalid("serial"))?;
            own_certificate(call, &serial).await?;
            RevokeBy::Certificate(serial)
        }
        By::ClaimBatch(name) => RevokeBy::ClaimBatch(call.tenant(&name.tenant)?, name.batch),
        By::CaId(ca_id) => {
            manufacturers::reached(call, &ca_id).await?;
            RevokeBy::ManufacturerCa(ca_id)
        }
        By::Principal(name) => {
            let kind = principals::kind(name.kind)?;
            RevokeBy::Principal(call.tenant(&name.tenant)?, kind, id("name", &name.name)?)
        }
    })
}

/// Refuses a certificate of a tenant that the caller does not reach: as one that does not exist.
async fn own_certificate(call: &Call, serial: &Serial) -> Result<(), Status> {
    let row = call.store().get_certificate(serial).await.map_err(failed)?;
    let row = row.ok_or_else(|| missing("certificate"))?;
    let identity = Identity::from_uri(&row.certificate.spiffe_uri, &call.parts.trust_domain);
    if call.is_everywhere() || identity.is_ok_and(|identity| call.reaches(identity.tenant())) {
        return Ok(());
    }
    let _audited = call.deny(Refusal::RegistryTenant);
    Err(missing("certificate"))
}

fn is_in(row: &CertificateRow, state: CertificateState, now_us: i64) -> bool {
    let is_over = row.certificate.not_after_us < now_us;
    match state {
        CertificateState::Unspecified => true,
        CertificateState::Revoked => row.revoked_at_us.is_some(),
        CertificateState::Expired => row.revoked_at_us.is_none() && is_over,
        CertificateState::Valid => row.revoked_at_us.is_none() && !is_over,
    }
}

fn wire(row: CertificateRow) -> Wire {
    Wire {
        serial: row.certificate.serial.as_bytes().to_vec(),
        spiffe_uri: row.certificate.spiffe_uri,
        not_before_us: row.certificate.not_before_us,
        not_after_us: row.certificate.not_after_us,
        revoked_at_us: row.revoked_at_us.unwrap_or(0),
        compromised_at_us: row.compromised_at_us.unwrap_or(0),
        reason: row.reason,
        claim_id: row.claim_id,
        ca_id: row.ca_id,
    }
}
