//! Certificates as PEM text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

const LINE: usize = 64;

/// Writes certificates, in order.
pub(super) fn certificates<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for der in ders {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = STANDARD.encode(der);
        while !rest.is_empty() {
            let tail = rest.split_off(rest.len().min(LINE));
            text.push_str(&rest);
            text.push('\n');
            rest = tail;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Reads certificates, in order; `None` when the text is not PEM.
pub(super) fn read(text: &str) -> Option<Vec<Vec<u8>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    Some(read.ok()?.into_iter().map(|der| der.to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let ders: Vec<Vec<u8>> = [0, 1, 47, 48, 49, 500].map(|n| vec![n as u8; n]).into();
        let text = certificates(ders.iter().map(Vec::as_slice));
        assert_eq!(read(&text).unwrap(), ders);
        assert!(text.lines().all(|line| line.len() <= LINE));
    }
}
