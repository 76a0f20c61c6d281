//! What a device needs to begin with: where the fronts are, signed by the authority that it trusts (JWS, RFC 7515).

use super::limits::BOOTSTRAP_LIFE;
use crate::front::now_us;
use crate::pki::{Authority, SignError};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cms::cert::x509::der::asn1::UintRef;
use cms::cert::x509::der::{Decode, Reader, SliceReader};
use serde_json::json;

/// Bytes of a coordinate of P-256.
const COORDINATE: usize = 32;

/// Makes the documents.
pub(super) struct Bootstrap {
    /// Where devices connect, in order.
    pub(super) fronts: Vec<String>,
    /// Where they enrol and renew.
    pub(super) est: String,
    /// Root and issuing certificate.
    pub(super) ca_pem: String,
}

impl Bootstrap {
    /// Signs a document of this moment.
    pub(super) fn document(&self, authority: &Authority) -> Result<String, SignError> {
        let issued_at_us = now_us();
        let life_us = i64::try_from(BOOTSTRAP_LIFE.as_micros()).unwrap_or(i64::MAX);
        let payload = json!({
            "version": 1,
            "issued_at_us": issued_at_us,
            "expires_at_us": issued_at_us.saturating_add(life_us),
            "fronts": self.fronts,
            "est": self.est,
            "ca_pem": self.ca_pem,
            "time": { "now_us": issued_at_us, "source": "gateway" },
        });
        let header = json!({ "alg": "ES256", "x5c": [STANDARD.encode(authority.certificate_der())] });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&payload));
        let signature = fixed(&authority.sign(signed.as_bytes())?)
            .ok_or_else(|| SignError("the signature is no Ecdsa-Sig-Value of P-256".to_owned()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Turns an `Ecdsa-Sig-Value` into the two coordinates side by side (RFC 7518, 3.4).
fn fixed(der: &[u8]) -> Option<[u8; 2 * COORDINATE]> {
    let mut reader = SliceReader::new(der).ok()?;
    let (r, s) = reader.sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?))).ok()?;
    let mut both = [0; 2 * COORDINATE];
    for (number, place) in [r, s].iter().zip(both.chunks_exact_mut(COORDINATE)) {
        let bytes = number.as_bytes();
        place.get_mut(COORDINATE.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    }
    Some(both)
}
