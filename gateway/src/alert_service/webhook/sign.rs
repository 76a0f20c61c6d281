//! The signature of a request.
//!
//! ```text
//! Wardline-Timestamp: 1700000000                     unix seconds, of this attempt
//! Wardline-Signature: v1=HEX                         HMAC-SHA256(secret, timestamp "." body), lower case hex
//! ```
//! A receiver computes the same, compares in constant time, and refuses what is more than 300 seconds off: so an
//! old request cannot be played to it again.

use ring::hmac;

/// Header with the time of signing.
pub(super) const TIMESTAMP: &str = "wardline-timestamp";
/// Header with the signature.
pub(super) const SIGNATURE: &str = "wardline-signature";

/// Returns the value of [`SIGNATURE`].
pub(super) fn signature(key: &hmac::Key, timestamp: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python: `hmac.new(b"k" * 32, b'1700000000.{"a":1}', "sha256").hexdigest()`.
    #[test]
    fn a_signature_is_what_another_implementation_computes() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[b'k'; 32]);
        let signed = signature(&key, "1700000000", b"{\"a\":1}");
        assert_eq!(signed, "v1=6935b796c0fec66e5dee52c86c7fd1218a424c32f1adb239ff2893c31e54f033");
        assert_ne!(signature(&key, "1700000001", b"{\"a\":1}"), signed);
    }
}
