//! The identity step after every handshake, resumed ones included: rustls has verified the chain once, but a resumed
//! session skips its verifier, so expiry, revocation and registration are looked at here (SEC-1, SEC-2).

pub(super) use crate::access::Credential;

use crate::access::Directory;
use rustls_pki_types::CertificateDer;
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceKey, Identity};

/// Reads the leaf of a verified chain.
pub(crate) fn read(
    chain: &[CertificateDer<'_>],
    trust_domain: &str,
    now_us: i64,
) -> Result<Credential, Refusal> {
    Credential::read(chain, trust_domain, now_us)
}

/// Admits a device: not revoked, registered, active. Anybody else is no device.
pub(crate) async fn admit(credential: &Credential, directory: &Directory) -> Result<DeviceKey, Refusal> {
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
