//! What an agent reads from a gateway that it does not know yet: a certs-only message, and the certificates in it.
#![no_main]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../../edge-agent/src/onboard"]
#[allow(dead_code, reason = "what only the agent uses")]
mod onboard {
    pub mod certificate;
    pub mod certs_only;
    pub mod error;
    mod limits;

    pub const BOUND: usize = limits::CERTIFICATES_MAX;
}

use authority::{der, edited, first_of, root, signed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use onboard::certs_only::{certificates, chain_of};
use std::sync::LazyLock;

const SIGNED_DATA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const DATA: [u8; 13] = [0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];

static ROOT: LazyLock<Vec<u8>> = LazyLock::new(root);

/// Wraps certificates in a message (RFC 5272, 4.1).
fn message(certificates: &[u8]) -> Vec<u8> {
    let content = [&[0x02, 1, 1, 0x31, 0][..], &DATA, &der(0xa0, certificates), &[0x31, 0]].concat();
    der(0x30, &[&SIGNED_DATA[..], &der(0xa0, &der(0x30, &content))].concat())
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let body = match mode % 4 {
        0 => bytes.to_vec(),
        1 => STANDARD.encode(bytes).into_bytes(),
        2 => STANDARD.encode(message(bytes)).into_bytes(),
        _ => {
            let certificate = signed(&edited(first_of(&ROOT), bytes));
            STANDARD.encode(message(&[&certificate[..], &ROOT].concat())).into_bytes()
        }
    };
    let Ok(all) = certificates(&body) else {
        assert!(mode % 4 != 3 || !bytes.is_empty(), "the message is valid as it is");
        return;
    };
    assert!(all.len() <= onboard::BOUND);
    for certificate in &all {
        let _any = (certificate.life_us(), certificate.serial(), certificate.is_root());
        let key = certificate.public_key().to_vec();
        let chain = chain_of(all.clone(), &key).expect("the key is there");
        assert!(chain[0].public_key() == key && chain.len() <= all.len());
    }
});
