//! What is read of a certificate beside what rustls checks: its life, its key, who signed it.

use cms::cert::x509::der::oid::ObjectIdentifier;
use cms::cert::x509::der::{Decode, Encode};
use cms::cert::x509::ext::pkix::BasicConstraints;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey, VerificationAlgorithm,
};

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

/// A certificate with its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

impl Certificate {
    /// Reads DER; `None` when it is no certificate.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        Some(Self { parsed: x509_cert::Certificate::from_der(der).ok()?, der: der.to_vec() })
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// First and last microsecond of its life.
    pub(crate) fn life_us(&self) -> (i64, i64) {
        let validity = self.parsed.tbs_certificate.validity;
        let us = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_micros()).unwrap_or(i64::MAX)
        };
        (us(validity.not_before), us(validity.not_after))
    }

    /// The bits of its public key.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.parsed.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes()
    }

    /// Its serial number, lower-case hex.
    pub(crate) fn serial(&self) -> String {
        let bytes = self.parsed.tbs_certificate.serial_number.as_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Says whether it may sign certificates.
    pub(crate) fn is_authority(&self) -> bool {
        let constraints = self.parsed.tbs_certificate.get::<BasicConstraints>();
        matches!(constraints, Ok(Some((_, BasicConstraints { ca: true, .. }))))
    }

    /// Says whether it is the root of an authority: signed by itself, and may sign.
    pub(crate) fn is_root(&self) -> bool {
        self.is_authority() && self.is_signed_by(self)
    }

    /// Says whether `parent` signed it: names and signature, nothing else.
    pub(crate) fn is_signed_by(&self, parent: &Self) -> bool {
        let tbs = &self.parsed.tbs_certificate;
        if tbs.issuer != parent.parsed.tbs_certificate.subject {
            return false;
        }
        let algorithm: &dyn VerificationAlgorithm = match self.parsed.signature_algorithm.oid {
            ECDSA_WITH_SHA256 => &ECDSA_P256_SHA256_ASN1,
            ECDSA_WITH_SHA384 => &ECDSA_P384_SHA384_ASN1,
            _ => return false,
        };
        // A signature is of whole bytes. (RFC 5280, 4.1.1.3)
        let (Ok(signed), Some(signature)) = (tbs.to_der(), self.parsed.signature.as_bytes()) else {
            return false;
        };
        UnparsedPublicKey::new(algorithm, parent.public_key()).verify(&signed, signature).is_ok()
    }

    /// Says whether it is in force at `now_us`.
    pub(crate) fn is_in_force(&self, now_us: i64) -> bool {
        let (from, until) = self.life_us();
        (from..until).contains(&now_us)
    }
}
