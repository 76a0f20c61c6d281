//! The claim token: `wl1.{secret}.{pin}`. The secret enrols one device, once; the pin says which authority to trust.

use super::error::EdgeError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use std::fmt;
use std::str::FromStr;
use wardline_proto::refusal::Refusal;

const VERSION: &str = "wl1";
const SECRET_BYTES: usize = 24;
const PIN_BYTES: usize = 16;

/// The first 16 bytes of the SHA-256 of a root certificate's DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; PIN_BYTES]);

impl Pin {
    /// Says whether `der` is the certificate that is meant.
    pub fn fits(&self, der: &[u8]) -> bool {
        digest(&SHA256, der).as_ref().starts_with(&self.0)
    }
}

impl FromStr for Pin {
    type Err = EdgeError;

    fn from_str(text: &str) -> Result<Self, EdgeError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| EdgeError::reject(Refusal::EdgeClaim, "the pin cannot be read"))
    }
}

/// A claim. Its secret is in no log line and no error text.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    token: String,
    pin: Pin,
}

impl Claim {
    /// Returns the whole token, which is the password of the enrolment.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Returns which authority to trust.
    pub fn pin(&self) -> Pin {
        self.pin
    }
}

impl FromStr for Claim {
    type Err = EdgeError;

    fn from_str(text: &str) -> Result<Self, EdgeError> {
        let text = text.trim();
        let wrong = |problem| EdgeError::reject(Refusal::EdgeClaim, problem);
        let parts: Vec<_> = text.split('.').collect();
        let [VERSION, secret, pin] = parts[..] else {
            return Err(wrong("the claim is not wl1.SECRET.PIN"));
        };
        match URL_SAFE_NO_PAD.decode(secret) {
            Ok(bytes) if bytes.len() == SECRET_BYTES => {}
            _ => return Err(wrong("the claim's secret is not whole")),
        }
        Ok(Self { token: text.to_owned(), pin: pin.parse()? })
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claim(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_names_its_authority_and_hides_its_secret() {
        let secret = URL_SAFE_NO_PAD.encode([7; SECRET_BYTES]);
        let pin = URL_SAFE_NO_PAD.encode(&digest(&SHA256, b"root").as_ref()[..PIN_BYTES]);
        let claim: Claim = format!(" wl1.{secret}.{pin}\n").parse().unwrap();
        assert!(claim.pin().fits(b"root") && !claim.pin().fits(b"another"));
        assert_eq!(claim.token(), format!("wl1.{secret}.{pin}"));
        assert!(!format!("{claim:?}").contains(&secret));
        for bad in ["", "wl1", "wl2.a.b", &format!("wl1.{secret}"), &format!("wl1.{secret}.{pin}.x")] {
            assert_eq!(bad.parse::<Claim>().unwrap_err().code(), "WL-EDGE-001", "{bad}");
        }
        let error = format!("wl1.{}.{pin}", &secret[1..]).parse::<Claim>().unwrap_err();
        assert!(!error.to_string().contains(&secret[1..]), "{error}");
    }
}
