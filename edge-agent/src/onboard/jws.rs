//! The signature of a list of fronts: compact JWS, ES256, by a certificate of our authority that may itself sign
//! certificates.
//!
//! A device's certificate chains to the same root, so a chain alone proves nothing: every signer must be a CA.

use super::certificate::Certificate;
use super::error::{EdgeError, services};
use super::limits::SIGNER_CHAIN_MAX;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Deserialize;

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    x5c: Vec<String>,
    /// Extensions that must be understood. None is. (RFC 7515, 4.1.11)
    crit: Option<serde_json::Value>,
}

/// Returns the payload when one of `roots` stands behind it.
pub(super) fn verify(jws: &str, roots: &[Certificate], now_us: i64) -> Result<Vec<u8>, EdgeError> {
    let (signed, signature) = jws.trim().rsplit_once('.').ok_or_else(|| services("it is not a JWS"))?;
    let (header, payload) = signed.split_once('.').ok_or_else(|| services("it is not a JWS"))?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| services("it is not a JWS"));
    let header: Header =
        serde_json::from_slice(&decode(header)?).map_err(|_| services("its header cannot be read"))?;
    if header.alg != "ES256" || header.crit.is_some() {
        return Err(services("it is not signed with ES256"));
    }
    let signer = signer(&header.x5c, roots, now_us)?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.public_key());
    key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| services("its signature is wrong"))?;
    decode(payload)
}

/// Follows the chain to one of our roots.
fn signer(x5c: &[String], roots: &[Certificate], now_us: i64) -> Result<Certificate, EdgeError> {
    if x5c.is_empty() || x5c.len() > SIGNER_CHAIN_MAX {
        return Err(services("it names no signer"));
    }
    let mut chain = Vec::with_capacity(x5c.len());
    for text in x5c {
        let certificate = STANDARD.decode(text).ok().and_then(|der| Certificate::read(&der));
        let certificate = certificate.ok_or_else(|| services("its signer cannot be read"))?;
        if !certificate.is_authority() || !certificate.is_in_force(now_us) {
            return Err(services("its signer may not sign"));
        }
        chain.push(certificate);
    }
    let is_linked = chain.windows(2).all(|pair| pair[0].is_signed_by(&pair[1]));
    let is_ours = chain
        .last()
        .is_some_and(|last| roots.iter().any(|root| last.der() == root.der() || last.is_signed_by(root)));
    if !is_linked || !is_ours {
        return Err(services("its signer is not of our authority"));
    }
    Ok(chain.swap_remove(0))
}
