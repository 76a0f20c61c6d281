//! What a requester shows: a claim by HTTP Basic, a certificate by TLS.

use super::limits::CREDENTIAL_BYTES_MAX;
use crate::pki::sha256;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use std::sync::Arc;
use wardline_proto::refusal::Refusal;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Where it is.
    pub(super) address: IpAddr,
    /// The chain whose key it has; verified against somebody, which proves nothing yet.
    pub(super) chain: Arc<[CertificateDer<'static>]>,
}

/// The header that names the hardware.
const SERIAL_NUMBER: &str = "x-wardline-serial-number";

/// User and password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Basic {
    /// The device's id, or empty.
    pub(super) user: String,
    /// SHA-256 of the claim's secret, hex; `None` when the password is empty. The secret itself is forgotten here.
    pub(super) secret_sha256: Option<String>,
}

/// Reads HTTP Basic; nothing at all is nothing, anything else that does not read is refused.
pub(super) fn basic(headers: &HeaderMap) -> Result<Basic, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Basic::default()) };
    let read = || {
        let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") || credentials.len() > 2 * CREDENTIAL_BYTES_MAX {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        let secret_sha256 =
            if password.is_empty() { None } else { Some(hex(&sha256(secret(password)?.as_bytes()))) };
        Some(Basic { user: user.to_owned(), secret_sha256 })
    };
    read().ok_or(Refusal::EnrolCredential)
}

/// Returns the serial number of the hardware as the requester names it; empty without one.
pub(super) fn serial_number(headers: &HeaderMap) -> Result<String, Refusal> {
    let Some(value) = headers.get(SERIAL_NUMBER) else { return Ok(String::new()) };
    let text = value.to_str().ok().filter(|text| text.len() <= CREDENTIAL_BYTES_MAX);
    text.map(|text| text.trim().to_owned()).ok_or(Refusal::EnrolRequest)
}

/// Takes the secret out of a token `wl1.{secret}.{pin}`; a bare secret is one too.
fn secret(password: &str) -> Option<&str> {
    if password.len() > CREDENTIAL_BYTES_MAX {
        return None;
    }
    match password.strip_prefix("wl1.") {
        Some(token) => token.split_once('.').map(|(secret, _pin)| secret),
        None => Some(password),
    }
}

/// Writes bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(credentials: &str) -> Result<Basic, Refusal> {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(credentials));
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        basic(&headers)
    }

    #[test]
    fn a_token_and_its_bare_secret_are_the_same_claim() {
        let expected = Basic { user: "mon-1".into(), secret_sha256: Some(hex(&sha256(b"geheim"))) };
        assert_eq!(read("mon-1:wl1.geheim.pin").as_ref(), Ok(&expected));
        assert_eq!(read("mon-1:geheim").as_ref(), Ok(&expected));
        assert_eq!(read("mon-1:").unwrap().secret_sha256, None);
        for bad in ["mon-1", "mon-1:wl1.geheim", &format!("mon-1:{}", "x".repeat(300))] {
            assert_eq!(read(bad), Err(Refusal::EnrolCredential), "{bad}");
        }
    }
}
