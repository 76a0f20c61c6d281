//! The certificate of an erasure: what was taken out, the proof that nothing is left, and a signature.
//!
//! A JSON document, signed as the bytes that it is with the issuing authority's key: ECDSA P-256 over SHA-256, an ASN.1
//! `Ecdsa-Sig-Value`. It names the head of each audit chain as it was, and the chain gets an event with the document's
//! digest: each can be held against the other.

use crate::pki::{Authority, SignError};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::{Value, json};
use wardline_archive::proof::Proof;
use wardline_store::alert_erase::AlertsErased;
use wardline_store::catalog::AuditHead;
use wardline_store::erasure::{Erasure, SignedCertificate};

/// What a document of this form says of itself.
const FORM: &str = "wardline-erasure-certificate/1";
/// What an erasure in the archive does not reach. Told in every certificate.
const NOT_REACHED: [&str; 4] = [
    "exports and backups that were made before",
    "spools of agents: what they still deliver of these times is counted and never stored",
    "the alarm engine's working state of the devices, which newer readings replace",
    "what a system outside Wardline keeps of the subject, such as whose pseudonym it was",
];

/// What the certificate is made of beside the erasure itself.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What was taken out of the alarm service.
    pub alerts: AlertsErased,
    /// The scan.
    pub proof: &'a Proof,
    /// Heads of the audit chains.
    pub heads: &'a [AuditHead],
    /// Records of the journal below this are archived: of those below, segments that are not dropped may hold bytes.
    pub position: u64,
    /// First offset of the journal's oldest segment.
    pub journal_start: Option<u64>,
    /// When it is signed, unix microseconds.
    pub at_us: i64,
}

/// Says what is wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The signature is not of the document and the key.
    #[error("the signature is not of this document and this authority")]
    Signature,
    /// The authority's certificate does not read.
    #[error("the authority's certificate does not read")]
    Authority,
    /// The document is no certificate of this form.
    #[error("the document is no {FORM}")]
    Form,
}

/// Makes and signs the certificate.
pub fn certify(
    authority: &Authority,
    erasure: &Erasure,
    evidence: &Evidence<'_>,
) -> Result<SignedCertificate, SignError> {
    let mut document = format!("{:#}", document(authority, erasure, evidence)).into_bytes();
    document.push(b'\n');
    let signature = authority.sign(&document)?;
    Ok(SignedCertificate { document, signature })
}

/// Checks a certificate against the issuing authority's certificate, DER, and reads it.
pub fn check(certificate: &SignedCertificate, issuer_der: &[u8]) -> Result<Value, CertificateError> {
    let (_, issuer) =
        x509_parser::parse_x509_certificate(issuer_der).map_err(|_der| CertificateError::Authority)?;
    let point = &issuer.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(&certificate.document, &certificate.signature)
        .map_err(|_unspecified| CertificateError::Signature)?;
    let document: Value =
        serde_json::from_slice(&certificate.document).map_err(|_json| CertificateError::Form)?;
    let is_form = document.get("form").and_then(Value::as_str) == Some(FORM);
    if is_form { Ok(document) } else { Err(CertificateError::Form) }
}

/// Says whether a certificate is about a subject of its tenant.
pub fn is_about(document: &Value, subject: &str) -> bool {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let Some(salt) = from_hex(text("salt")) else { return false };
    let bytes = [&salt[..], text("tenant").as_bytes(), &[0], subject.as_bytes()].concat();
    hex(digest(&SHA256, &bytes).as_ref()) == text("subject_sha256")
}

/// Names a certificate in the audit trail.
pub fn target(erasure: &Erasure, certificate: &SignedCertificate) -> String {
    format!("{} erasure {} sha256 {}", erasure.tenant, erasure.erasure_id, digest_of(certificate))
}

/// Digests a certificate's document, SHA-256 in hex.
pub fn digest_of(certificate: &SignedCertificate) -> String {
    hex(digest(&SHA256, &certificate.document).as_ref())
}

fn document(authority: &Authority, erasure: &Erasure, evidence: &Evidence<'_>) -> Value {
    let ranges: Vec<_> = erasure
        .ranges
        .iter()
        .map(|r| json!({"device": r.device, "from": time(r.from_us), "until": time(r.until_us)}))
        .collect();
    let tables: Vec<_> = erasure
        .counts
        .iter()
        .filter(|count| count.files > 0)
        .map(|count| json!({"table": count.table, "files_rewritten": count.files, "rows_erased": count.rows}))
        .collect();
    let chains: Vec<_> = evidence
        .heads
        .iter()
        .map(|head| json!({"node": head.node, "n": head.n, "hash": hex(&head.hash)}))
        .collect();
    json!({
        "form": FORM,
        "erasure": erasure.erasure_id,
        "tenant": erasure.tenant,
        "salt": hex(&erasure.salt),
        "subject_sha256": hex(&erasure.subject_sha256),
        "asked_by": erasure.asked_by,
        "asked_at": time(erasure.asked_at_us),
        "rewritten_at": erasure.rewritten_at_us.map(time),
        "signed_at": time(evidence.at_us),
        "ranges": ranges,
        "tables": tables,
        "alerts_erased": evidence.alerts.alerts,
        "alert_events_erased": evidence.alerts.events,
        "proof": {
            "files_read": evidence.proof.files,
            "rows_read": evidence.proof.rows,
            "bytes_read": evidence.proof.bytes,
            "rows_in_ranges": evidence.proof.rows_in_ranges,
            "catalog_position": evidence.position,
        },
        "journal": {
            "may_hold_below": evidence.position,
            "oldest_offset_now": evidence.journal_start,
            "until": "its sealed segments are dropped when the archive and the alarm engine have passed them; \
                      none is left when oldest_offset has reached may_hold_below",
        },
        "not_reached": NOT_REACHED,
        "audit_heads": chains,
        "issuer_sha256": hex(digest(&SHA256, authority.certificate_der()).as_ref()),
    })
}

fn time(at_us: i64) -> String {
    crate::cli::time_text(at_us)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}
