//! Manufacturers' authorities and the serial numbers that may enrol with their certificates.

use super::call::{Call, given, id};
use super::error::{failed, invalid, missing};
use super::limits::PEM_BYTES_MAX;
use crate::pki::sha256;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::Status;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{
    AddManufacturerCaRequest, AddManufacturerCaResponse, AllowSerialsRequest, AllowSerialsResponse,
    ListManufacturerCasRequest, ListManufacturerCasResponse, ManufacturerCa as Wire,
};
use wardline_store::registry::ManufacturerCa;
use x509_parser::prelude::{FromDer, X509Certificate};

pub(super) async fn add(
    call: &Call,
    wanted: AddManufacturerCaRequest,
) -> Result<AddManufacturerCaResponse, Status> {
    let maker = call.tenant(&wanted.maker)?;
    let tenant = given(&wanted.tenant).map_or(Ok(maker.clone()), |tenant| call.tenant(tenant))?;
    if call.maker().is_some() {
        let model = call.store().get_model(&id("model", &wanted.model)?).await.map_err(failed)?;
        call.own(model.as_ref().map_or("", |model| model.maker.as_str()))?;
    }
    let ca_id = ca_id(&wanted.pem).ok_or_else(|| invalid("pem: exactly one certificate of an authority"))?;
    let ca = ManufacturerCa {
        ca_id: ca_id.clone(),
        maker,
        tenant,
        model: wanted.model,
        pem: wanted.pem,
        revoked_at_us: None,
    };
    call.store().add_manufacturer_ca(&call.change(), &ca).await.map_err(failed)?;
    Ok(AddManufacturerCaResponse { ca_id })
}

pub(super) async fn list(
    call: &Call,
    _all: ListManufacturerCasRequest,
) -> Result<ListManufacturerCasResponse, Status> {
    let cas = call.store().list_manufacturer_cas().await.map_err(failed)?;
    let cas = cas.into_iter().filter(|ca| reaches(call, ca)).map(|ca| Wire {
        ca_id: ca.ca_id,
        maker: ca.maker.to_string(),
        tenant: ca.tenant.to_string(),
        model: ca.model,
        pem: ca.pem,
        revoked_at_us: ca.revoked_at_us.unwrap_or(0),
    });
    Ok(ListManufacturerCasResponse { cas: cas.collect() })
}

pub(super) async fn allow(call: &Call, wanted: AllowSerialsRequest) -> Result<AllowSerialsResponse, Status> {
    reached(call, &wanted.ca_id).await?;
    let allowed = call.store().allow_serials(&call.change(), &wanted.ca_id, &wanted.serial_numbers).await;
    Ok(AllowSerialsResponse { added: allowed.map_err(failed)? })
}

/// Refuses an authority whose devices are of a tenant that the caller does not reach: as one that does not exist.
pub(super) async fn reached(call: &Call, ca_id: &str) -> Result<(), Status> {
    let cas = call.store().list_manufacturer_cas().await.map_err(failed)?;
    let ca = cas.iter().find(|ca| ca.ca_id == ca_id).ok_or_else(|| missing("manufacturer authority"))?;
    if reaches(call, ca) {
        return Ok(());
    }
    let _audited = call.deny(Refusal::RegistryTenant);
    Err(missing("manufacturer authority"))
}

/// A maker reaches its own authorities; who administers a tenant, all that enrol devices there.
fn reaches(call: &Call, ca: &ManufacturerCa) -> bool {
    call.reaches(&ca.tenant) && call.maker().is_none_or(|maker| ca.maker == *maker)
}

fn ca_id(pem: &str) -> Option<String> {
    if pem.len() > PEM_BYTES_MAX {
        return None;
    }
    let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    let (Some(Ok(der)), None) = (certificates.next(), certificates.next()) else { return None };
    let (rest, certificate) = X509Certificate::from_der(&der).ok()?;
    let is_one = rest.is_empty() && certificate.is_ca();
    is_one.then(|| sha256(&der).iter().map(|byte| format!("{byte:02x}")).collect())
}
