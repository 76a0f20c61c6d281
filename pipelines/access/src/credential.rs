//! What a verified certificate says. Chain and signatures are rustls's work; a resumed session skips its verifier, so
//! the life of the leaf is looked at here.

use rustls_pki_types::CertificateDer;
use wardline_proto::Identity;
use wardline_proto::refusal::Refusal;
use wardline_store::registry::Serial;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a verified certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Whom it speaks for.
    pub identity: Identity,
    /// Its serial.
    pub serial: Serial,
    /// End of its life, unix seconds.
    pub not_after_s: i64,
}

impl Credential {
    /// Reads the leaf of a verified chain: exactly one SAN URI, of this trust domain, within its life. Two URIs would
    /// be two identities: none.
    pub fn read(chain: &[CertificateDer<'_>], trust_domain: &str, now_us: i64) -> Result<Self, Refusal> {
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
        let (from_s, until_s) =
            (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
        let now_s = now_us.div_euclid(1_000_000);
        if now_s < from_s || now_s > until_s {
            return Err(Refusal::IdentityExpired);
        }
        Ok(Self { identity, serial, not_after_s: until_s })
    }
}

/// Returns the end of a certificate's life, unix seconds; `None` when it does not decode.
pub fn not_after_s(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Reads the trust domain that an issuing certificate names; `None` when it names none.
pub fn trust_domain(issuing_pem: &str) -> Option<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(issuing_pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let names = certificate.subject_alternative_name().ok().flatten()?;
    let uri = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("spiffe://"),
        _ => None,
    });
    uri.filter(|domain| !domain.is_empty()).map(str::to_owned)
}
