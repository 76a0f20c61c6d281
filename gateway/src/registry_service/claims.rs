//! Claims. A token is `wl1.{secret}.{pin}`; of the secret only its SHA-256 is kept, so a token is told once.

use super::call::{Call, given, id};
use super::error::{failed, invalid, status};
use super::limits::{CLAIM_LIFE, CLAIM_LIFE_MAX};
use crate::pki::{PkiError, sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::time::Duration;
use tonic::Status;
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{
    Claim as Wire, ClaimToken, CreateClaimsRequest, CreateClaimsResponse, ListClaimsRequest,
    ListClaimsResponse, RevokeClaimsRequest, RevokeClaimsResponse,
};
use wardline_store::registry::{CLAIMS_MAX, Claim, NewClaims};

const SECRET_BYTES: usize = 24;
const PIN_BYTES: usize = 16;
const BATCH_BYTES: usize = 6;

/// Returns the pin of an authority: base64url of the first 16 bytes of the SHA-256 of its root certificate's DER.
pub fn pin(root_pem: &str) -> Result<String, PkiError> {
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes());
    let root = root.map_err(|_pem| PkiError::Decode("root.pem"))?;
    Ok(URL_SAFE_NO_PAD.encode(&sha256(&root)[..PIN_BYTES]))
}

pub(super) async fn create(call: &Call, wanted: CreateClaimsRequest) -> Result<CreateClaimsResponse, Status> {
    let change = call.change();
    let count = wanted.count.max(1) as usize;
    if count > CLAIMS_MAX {
        return Err(invalid("count"));
    }
    let micros = |life: Duration| i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
    let default = change.at_us.saturating_add(micros(CLAIM_LIFE));
    let expires_at_us = if wanted.expires_at_us == 0 { default } else { wanted.expires_at_us };
    if expires_at_us > change.at_us.saturating_add(micros(CLAIM_LIFE_MAX)) {
        return Err(invalid("expires_at_us"));
    }
    let secrets = (0..count).map(|_| random::<SECRET_BYTES>()).collect::<Result<Vec<_>, _>>()?;
    let batch = match given(&wanted.batch) {
        Some(batch) => batch.to_owned(),
        None => format!("batch-{}", hex(&random_bytes::<BATCH_BYTES>()?)),
    };
    let claims = NewClaims {
        tenant: call.tenant(&wanted.tenant)?,
        batch: batch.clone(),
        model: wanted.model,
        device: given(&wanted.device).map(|device| id("device", device)).transpose()?,
        expires_at_us,
        secrets_sha256: secrets.iter().map(|secret| hex(&sha256(secret.as_bytes()))).collect(),
    };
    if let (Some(_maker), Some(device)) = (call.maker(), &claims.device) {
        let key = DeviceKey { tenant: claims.tenant.clone(), device: device.clone() };
        if let Some(row) = call.store().get_device(&key).await.map_err(failed)? {
            call.own(&row.maker)?;
        }
    }
    let ids = call.store().create_claims_of(&change, &claims, call.maker()).await;
    let ids = ids.map_err(|error| call.failed(error))?;
    let tokens = ids.into_iter().zip(secrets).map(|(claim_id, secret)| {
        let token = format!("wl1.{secret}.{}", call.parts.pin);
        ClaimToken { claim_id, token }
    });
    Ok(CreateClaimsResponse { batch, tokens: tokens.collect(), expires_at_us })
}

pub(super) async fn list(call: &Call, wanted: ListClaimsRequest) -> Result<ListClaimsResponse, Status> {
    let tenant = call.tenant(&wanted.tenant)?;
    let claims =
        call.store().list_claims_of(&tenant, given(&wanted.batch), wanted.page_size, call.maker()).await;
    Ok(ListClaimsResponse { claims: claims.map_err(failed)?.into_iter().map(wire).collect() })
}

pub(super) async fn revoke(call: &Call, wanted: RevokeClaimsRequest) -> Result<RevokeClaimsResponse, Status> {
    let tenant = call.tenant(&wanted.tenant)?;
    let (change, maker) = (call.change(), call.maker());
    let revoked = call.store().revoke_claims_of(&change, &tenant, &wanted.batch, maker).await;
    Ok(RevokeClaimsResponse { revoked: revoked.map_err(failed)? })
}

fn random_bytes<const N: usize>() -> Result<[u8; N], Status> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| status(Refusal::RegistryUnavailable, "no randomness from the system"))?;
    Ok(bytes)
}

fn random<const N: usize>() -> Result<String, Status> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes::<N>()?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn wire(claim: Claim) -> Wire {
    Wire {
        claim_id: claim.claim_id,
        batch: claim.batch,
        tenant: claim.tenant.to_string(),
        device: claim.device.map_or(String::new(), |device| device.to_string()),
        model: claim.model,
        expires_at_us: claim.expires_at_us,
        created_at_us: claim.created_at_us,
        created_by: claim.created_by,
        used_at_us: claim.used_at_us.unwrap_or(0),
        used_by_device: claim.used_by_device,
        revoked_at_us: claim.revoked_at_us.unwrap_or(0),
    }
}
