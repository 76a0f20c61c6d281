//! The signed list of fronts as the agent reads it: as it comes, and with a signature that holds.
#![no_main]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../../edge-agent/src/onboard"]
#[allow(dead_code, reason = "what only the agent uses")]
mod onboard {
    pub mod certificate;
    pub mod error;
    mod jws;
    mod limits;
    mod pem;
    pub mod services;

    /// The list behind its door within the agent.
    pub fn read(
        signed: &str,
        roots: &[certificate::Certificate],
        now_us: i64,
    ) -> Option<services::ServiceList> {
        let list = services::ServiceList::verify(signed, roots, None, now_us).ok()?;
        let again = services::ServiceList::from_file(&list.to_file()).expect("what is kept is read");
        assert_eq!(list, again);
        // Whom it says to trust, and where to knock.
        let _roots = list.roots();
        assert_eq!(list.fronts().len(), list.fronts.len());
        Some(list)
    }
}

use authority::{edited, first_of, root, sign_fixed, signed};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use onboard::certificate::Certificate;
use std::sync::LazyLock;

const NOW_US: i64 = 1_700_000_000_000_000;
const PAYLOAD: &[u8] =
    br#"{"version":1,"issued_at_us":1,"expires_at_us":9000000000000000,"fronts":["a:1"],"est":"x"}"#;

static ROOT: LazyLock<Vec<u8>> = LazyLock::new(root);

fn header(certificate: &[u8]) -> Vec<u8> {
    format!(r#"{{"alg":"ES256","x5c":["{}"]}}"#, STANDARD.encode(certificate)).into_bytes()
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let roots = [Certificate::read(&ROOT).expect("a certificate")];
    let (header, payload) = match mode % 4 {
        0 => {
            assert!(
                onboard::read(&String::from_utf8_lossy(bytes), &roots, NOW_US).is_none(),
                "nobody signed it"
            );
            return;
        }
        1 => (bytes.to_vec(), PAYLOAD.to_vec()),
        2 => (header(&signed(&edited(first_of(&ROOT), bytes))), PAYLOAD.to_vec()),
        _ => (header(&ROOT), bytes.to_vec()),
    };
    let content = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let jws = format!("{content}.{}", URL_SAFE_NO_PAD.encode(sign_fixed(content.as_bytes())));
    let list = onboard::read(&jws, &roots, NOW_US);
    assert!(list.is_some() || mode % 4 != 2 || !bytes.is_empty(), "the list is valid as it is");
});
