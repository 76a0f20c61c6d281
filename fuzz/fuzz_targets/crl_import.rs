//! `pki/crl.pem`: another authority's revocation list, as it comes, and with a signature that holds.
#![no_main]

extern crate self as wardline_store;

#[path = "../support/authority.rs"]
mod authority;
/// What loading can say; there is more of it where files are read.
mod files {
    #[derive(Debug)]
    #[allow(dead_code, reason = "told to an operator, and nobody reads it here")]
    pub enum FileError {
        Crl(&'static str),
    }
}
#[path = "../../pipelines/access/src/imported.rs"]
#[allow(dead_code, reason = "what only the gateway asks of its lists")]
mod imported;
/// The registry's serial alone: the rest of the store is a database.
#[path = "../../pipelines/store/src/registry/serial.rs"]
#[allow(dead_code, reason = "forms of a serial that only the registry uses")]
pub mod registry;

use authority::{der, edited, first_of, key, root, signed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imported::ImportedCrls;
use libfuzzer_sys::fuzz_target;
use registry::Serial;
use rustls_pki_types::CertificateDer;
use std::sync::LazyLock;

const NOW_S: i64 = 1_700_000_000;

static ROOT: LazyLock<CertificateDer<'static>> = LazyLock::new(|| root().into());
static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let entry = |serial: u8| rcgen::RevokedCertParams {
        serial_number: vec![serial; 16].into(),
        revocation_time: rcgen::date_time_ymd(2023, 1, 1),
        reason_code: Some(rcgen::RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let params = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2023, 1, 1),
        next_update: rcgen::date_time_ymd(2033, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![entry(2), entry(3)],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let issuer = rcgen::Issuer::new(authority::params(), key());
    params.signed_by(&issuer).expect("a list").der().to_vec()
});

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let list = match mode % 4 {
        0 => return drop(ImportedCrls::load(&String::from_utf8_lossy(bytes), &[ROOT.clone()])),
        1 => bytes.to_vec(),
        2 => signed(&edited(first_of(&VALID), bytes)),
        _ => signed(&der(0x30, bytes)),
    };
    let pem = format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(list));
    let Ok(lists) = ImportedCrls::load(&pem, &[ROOT.clone()]) else {
        assert!(mode % 4 != 2 || !bytes.is_empty(), "the list is valid as it is");
        return;
    };
    assert_ne!(mode % 4, 1, "nobody has signed it");
    let expires_at_s = lists.expires_at_s().expect("every list ends");
    let _any = (lists.is_ageing(NOW_S), lists.names(&Serial::new(&[2; 16]).expect("a serial")));
    assert!(lists.screen(&ROOT, expires_at_s).is_err(), "a list that is over refuses");
});
