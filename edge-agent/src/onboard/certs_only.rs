//! What EST answers: a certs-only CMS message (RFC 5272, 4.1) in base64, and a chain out of what is in it.

use super::certificate::Certificate;
use super::error::{EdgeError, answer};
use super::limits::CERTIFICATES_MAX;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cms::cert::CertificateChoices;
use cms::cert::x509::der::{Decode, Encode};
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;

/// Reads a base64 certs-only message, in the order in which DER keeps a set.
pub(crate) fn certificates(body: &[u8]) -> Result<Vec<Certificate>, EdgeError> {
    let base64: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(base64).map_err(|_| answer("the answer is not base64"))?;
    let read = || -> Result<_, cms::cert::x509::der::Error> {
        ContentInfo::from_der(&der)?.content.decode_as::<SignedData>()
    };
    let message = read().map_err(|_| answer("the answer is not a certs-only message"))?;
    let set = message.certificates.ok_or_else(|| answer("the answer holds no certificate"))?;
    if set.0.len() > CERTIFICATES_MAX {
        return Err(answer("the answer holds too many certificates"));
    }
    let ders = set.0.iter().filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => certificate.to_der().ok(),
        CertificateChoices::Other(_) => None,
    });
    ders.map(|der| Certificate::read(&der).ok_or_else(|| answer("a certificate cannot be read"))).collect()
}

/// Puts the certificate of our key first and what it was signed by behind it; roots are left out.
pub(crate) fn chain_of(mut all: Vec<Certificate>, public_key: &[u8]) -> Result<Vec<Certificate>, EdgeError> {
    let leaf = all.iter().position(|certificate| certificate.public_key() == public_key);
    let leaf = leaf.ok_or_else(|| answer("the gateway sent a certificate of another key"))?;
    let mut chain = vec![all.swap_remove(leaf)];
    while let Some(parent) = chain.last().and_then(|last| all.iter().position(|c| last.is_signed_by(c))) {
        let parent = all.swap_remove(parent);
        if !parent.is_root() {
            chain.push(parent);
            continue;
        }
        break;
    }
    Ok(chain)
}
