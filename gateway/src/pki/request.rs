//! Certificate requests (PKCS#10, RFC 2986): a public key, the proof that its private key is there, and wishes.
//!
//! Key and proof are all that is used. A wish can only do harm: one for more than the requester is gets the request
//! refused; every other is ignored.

use rcgen::{PublicKeyData, SignatureAlgorithm};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use wardline_proto::refusal::Refusal;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::der_parser::oid::Oid;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension};
use x509_parser::public_key::PublicKey;

/// Smallest RSA modulus, bits.
const RSA_BITS_MIN: usize = 2048;
/// Largest RSA modulus, bits: a verification grows with the square.
const RSA_BITS_MAX: usize = 4096;
/// Most SAN URIs that are looked at; none is needed.
const URIS_MAX: usize = 4;

/// The public key of a request, of a type that is strong enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    algorithm: &'static SignatureAlgorithm,
    raw: Vec<u8>,
    info_sha256: [u8; 32],
}

impl RequestKey {
    /// Returns SHA-256 of the key's `SubjectPublicKeyInfo`: what names the key in the registry.
    pub fn sha256(&self) -> [u8; 32] {
        self.info_sha256
    }
}

impl PublicKeyData for RequestKey {
    fn der_bytes(&self) -> &[u8] {
        &self.raw
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// A request whose proof of possession holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// Its key.
    pub key: RequestKey,
    uris: Vec<String>,
}

impl CertificateRequest {
    /// Decodes a request and checks its proof. Refuses weak keys and a wish for the rights of an authority.
    pub fn from_der(der: &[u8]) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::EnrolRequest;
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(Refusal::EnrolRequest);
        }
        let info = &request.certification_request_info;
        let kind = KeyKind::of(&request)?;
        let raw = info.subject_pki.subject_public_key.data.to_vec();
        let proof = kind.proof(&request.signature_algorithm.algorithm).ok_or(Refusal::EnrolProof)?;
        UnparsedPublicKey::new(proof, &raw)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_unspecified| Refusal::EnrolProof)?;
        let uris = wishes(&request)?;
        let info_sha256 = sha256(info.subject_pki.raw);
        let key = RequestKey { algorithm: kind.algorithm(), raw, info_sha256 };
        Ok(Self { key, uris })
    }

    /// Refuses a request that names an identity other than `uri`. It need not name any.
    pub fn check_identity(&self, uri: &str) -> Result<(), Refusal> {
        let own = self.uris.iter().all(|wished| wished == uri);
        if own { Ok(()) } else { Err(Refusal::EnrolWish) }
    }
}

/// Reads what is asked for; a wish for an authority's rights is refused.
fn wishes(request: &X509CertificationRequest<'_>) -> Result<Vec<String>, Refusal> {
    let mut uris = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                return Err(Refusal::EnrolWish);
            }
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                return Err(Refusal::EnrolWish);
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                uris.extend(names.general_names.iter().filter_map(|name| match name {
                    GeneralName::URI(uri) => Some((*uri).to_owned()),
                    _ => None,
                }));
            }
            ParsedExtension::ParseError { .. } => return Err(Refusal::EnrolRequest),
            _ignored => {}
        }
    }
    if uris.len() > URIS_MAX { Err(Refusal::EnrolWish) } else { Ok(uris) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl KeyKind {
    fn of(request: &X509CertificationRequest<'_>) -> Result<Self, Refusal> {
        let info = &request.certification_request_info.subject_pki;
        let algorithm = &info.algorithm.algorithm;
        if *algorithm == OID_SIG_ED25519 {
            return Ok(Self::Ed25519);
        }
        if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
            return match curve {
                Some(curve) if curve == OID_EC_P256 => Ok(Self::P256),
                Some(curve) if curve == OID_NIST_EC_P384 => Ok(Self::P384),
                _ => Err(Refusal::EnrolKey),
            };
        }
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            let Ok(PublicKey::RSA(key)) = info.parsed() else { return Err(Refusal::EnrolRequest) };
            let strong = (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&key.key_size());
            return if strong { Ok(Self::Rsa) } else { Err(Refusal::EnrolKey) };
        }
        Err(Refusal::EnrolKey)
    }

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
        }
    }

    /// Returns what verifies a signature of this algorithm by a key of this kind; SHA-1 verifies nothing.
    fn proof(self, signature: &Oid<'_>) -> Option<&'static dyn VerificationAlgorithm> {
        let (sha256, sha384) =
            (*signature == OID_SIG_ECDSA_WITH_SHA256, *signature == OID_SIG_ECDSA_WITH_SHA384);
        match self {
            Self::P256 if sha256 => Some(&ECDSA_P256_SHA256_ASN1),
            Self::P256 if sha384 => Some(&ECDSA_P256_SHA384_ASN1),
            Self::P384 if sha256 => Some(&ECDSA_P384_SHA256_ASN1),
            Self::P384 if sha384 => Some(&ECDSA_P384_SHA384_ASN1),
            Self::Ed25519 if *signature == OID_SIG_ED25519 => Some(&ED25519),
            Self::Rsa if *signature == OID_PKCS1_SHA256WITHRSA => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rsa if *signature == OID_PKCS1_SHA384WITHRSA => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rsa if *signature == OID_PKCS1_SHA512WITHRSA => Some(&RSA_PKCS1_2048_8192_SHA512),
            _ => None,
        }
    }
}

/// Returns SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    sum
}
