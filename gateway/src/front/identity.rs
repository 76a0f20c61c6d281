//! The identity step after every handshake, resumed ones included: rustls has verified the chain once, but a resumed
//! session skips its verifier, so expiry, revocation and registration are looked at here (SEC-1, SEC-2).

use super::directory::Directory;
use rustls_pki_types::CertificateDer;
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceKey, Identity};
use wardline_store::registry::Serial;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a verified certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential {
    /// Whom it speaks for.
    pub(super) identity: Identity,
    /// Its serial.
    pub(super) serial: Serial,
    /// End of its life, unix seconds.
    pub(super) not_after_s: i64,
}

/// Reads the leaf of a verified chain. Exactly one SAN URI, of this trust domain, within its life.
pub(super) fn read(
    chain: &[CertificateDer<'_>],
    trust_domain: &str,
    now_us: i64,
) -> Result<Credential, Refusal> {
    let leaf = chain.first().ok_or(Refusal::IdentityMissing)?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| Refusal::IdentityMissing)?;
    let names = leaf.subject_alternative_name().ok().flatten().ok_or(Refusal::IdentityMissing)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(Refusal::IdentityMissing) };
    let identity = Identity::from_uri(uri, trust_domain).map_err(|_| Refusal::IdentityMissing)?;
    let serial = Serial::new(leaf.raw_serial()).ok_or(Refusal::IdentityMissing)?;
    let (from_s, until_s) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let now_s = now_us.div_euclid(1_000_000);
    if now_s < from_s || now_s > until_s {
        return Err(Refusal::IdentityExpired);
    }
    Ok(Credential { identity, serial, not_after_s: until_s })
}

/// Admits a device: not revoked, registered, active. Anybody else is no device.
pub(super) async fn admit(credential: &Credential, directory: &Directory) -> Result<DeviceKey, Refusal> {
    let Identity::Device(key) = &credential.identity else { return Err(Refusal::IdentityMissing) };
    if directory.is_revoked(&credential.serial) {
        return Err(Refusal::IdentityRevoked);
    }
    if !directory.is_active(key) {
        // It may have been registered a moment ago.
        directory.refresh().await;
        if directory.is_revoked(&credential.serial) {
            return Err(Refusal::IdentityRevoked);
        }
    }
    if directory.is_active(key) { Ok(key.clone()) } else { Err(Refusal::IdentityUnknown) }
}
