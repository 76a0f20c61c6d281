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

#[cfg(test)]
mod tests {
    use super::super::services::ServiceList;
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    const NOW_US: i64 = 1_700_000_000_000_000;

    /// A root, and what it says in this header and payload.
    fn signed(header: &str, payload: &str) -> (Certificate, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = Certificate::read(params.self_signed(&key).unwrap().der()).unwrap();
        let header = header.replace("CERT", &STANDARD.encode(root.der()));
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der(), &random);
        let signature = key.unwrap().sign(&random, signed.as_bytes()).unwrap();
        (root, format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    #[test]
    fn only_es256_and_nothing_critical_is_believed() {
        let (root, good) = signed(r#"{"alg":"ES256","x5c":["CERT"]}"#, "{}");
        assert_eq!(verify(&good, &[root], NOW_US).unwrap(), b"{}");
        for header in [
            r#"{"alg":"none","x5c":["CERT"]}"#,
            r#"{"alg":"HS256","x5c":["CERT"]}"#,
            r#"{"alg":"ES256","crit":["exp"],"x5c":["CERT"]}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"ES256","x5c":["CERT","CERT","CERT","CERT"]}"#,
        ] {
            let (root, jws) = signed(header, "{}");
            assert_eq!(verify(&jws, &[root], NOW_US).unwrap_err().code(), "WL-EDGE-006", "{header}");
        }
    }

    #[test]
    fn no_change_of_a_byte_is_believed_and_none_panics() {
        let payload =
            r#"{"version":1,"issued_at_us":1,"expires_at_us":9000000000000000,"fronts":["a:1"],"est":"x"}"#;
        let (root, good) = signed(r#"{"alg":"ES256","x5c":["CERT"]}"#, payload);
        let roots = [root];
        assert!(ServiceList::verify(&good, &roots, None, NOW_US).is_ok());
        for at in 0..good.len() {
            for to in [b'A', b'.'] {
                let mut bad = good.clone().into_bytes();
                if bad[at] == to {
                    continue;
                }
                bad[at] = to;
                let bad = String::from_utf8(bad).unwrap();
                // The last character of a part carries bits that base64 does not keep: those must be zero.
                assert!(ServiceList::verify(&bad, &roots, None, NOW_US).is_err(), "byte {at} to {to}");
            }
        }
    }

    #[test]
    fn no_change_of_a_byte_of_a_certificate_panics() {
        let (root, _) = signed("{}", "{}");
        for at in 0..root.der().len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut der = root.der().to_vec();
                der[at] ^= flip;
                if let Some(read) = Certificate::read(&der) {
                    let _whatever = (read.life_us(), read.serial(), read.is_authority());
                    assert!(!read.is_root(), "byte {at} flipped by {flip}");
                }
            }
        }
    }
}
