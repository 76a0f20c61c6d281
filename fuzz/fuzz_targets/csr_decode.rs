//! A request for a certificate, from whoever has a claim: as it comes, and with a proof that holds.
#![no_main]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../../gateway/src/pki/request.rs"]
#[allow(dead_code, reason = "what only the gateway reads of a key")]
mod request;

use authority::{der, edited, first_of, key, public_key_info, signed};
use libfuzzer_sys::fuzz_target;
use request::CertificateRequest;
use std::sync::LazyLock;
use wardline_proto::refusal::Refusal;

const OWN: &str = "spiffe://wardline.local/tenant/demo/device/mon-1";
/// `extensionRequest` (RFC 2985, 5.4.2).
const EXTENSION_REQUEST: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut params = authority::params();
    params.is_ca = rcgen::IsCa::NoCa;
    params.subject_alt_names = vec![rcgen::SanType::URI(OWN.try_into().expect("a URI"))];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.serial_number = None;
    params.serialize_request(&key()).expect("a request").der().to_vec()
});

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let attributes = match mode % 4 {
        0 => return drop(CertificateRequest::from_der(bytes)),
        1 => {
            let edited = edited(first_of(&VALID), bytes);
            return drop(CertificateRequest::from_der(&signed(&edited)));
        }
        2 => bytes.to_vec(),
        _ => {
            let extensions = der(0x31, &der(0x30, bytes));
            der(0x30, &[&EXTENSION_REQUEST[..], &extensions].concat())
        }
    };
    let info = [&[0x02, 1, 0, 0x30, 0][..], &public_key_info(), &der(0xa0, &attributes)].concat();
    match CertificateRequest::from_der(&signed(&der(0x30, &info))) {
        Ok(request) => assert!(request.check_identity(OWN).is_ok() || request.check_identity("").is_err()),
        Err(refusal) => assert_ne!(refusal, Refusal::EnrolProof, "the proof holds"),
    }
});
