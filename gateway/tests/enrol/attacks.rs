//! What must get no certificate: each with status, code and audit event.

use crate::rig::{Rig, SIMPLEENROLL, SIMPLEREENROLL, change, tenant};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wardline_store::registry::Change;

async fn expect(rig: &Rig, what: &str, answer: crate::rig::Answer, status: u16, code: &str) {
    assert!(answer.status == status && answer.text().starts_with(code), "{what}: {answer:?}");
    rig.audited_refusal(code).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_wishes_for_more_than_its_own_is_refused() {
    let rig = Rig::new().await;
    rig.claim("geheim", None).await;
    let other = "-addext subjectAltName=URI:spiffe://wardline.local/tenant/demo/device/mon-2";
    let wishes = [
        ("another device's identity", other),
        ("an authority's rights", "-addext basicConstraints=critical,CA:TRUE"),
        ("signing certificates", "-addext keyUsage=keyCertSign"),
    ];
    for (what, extra) in wishes {
        let request = rig.request("wish", extra).await;
        expect(&rig, what, rig.enrol(&request, "mon-1", "geheim").await, 403, "WL-EST-008").await;
    }
    let own = "-addext subjectAltName=URI:spiffe://wardline.local/tenant/demo/device/mon-1";
    let request = rig.request("own", own).await;
    assert_eq!(rig.enrol(&request, "mon-1", "geheim").await.status, 200, "no wish used the claim up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_proves_or_says_nothing_is_refused() {
    let rig = Rig::new().await;
    rig.claim("geheim", None).await;
    let request = rig.request("mon", "").await;
    let mut der = STANDARD.decode(&request).unwrap();
    *der.last_mut().unwrap() ^= 1;
    let answer = rig.enrol(&STANDARD.encode(&der), "mon-1", "geheim").await;
    expect(&rig, "bad proof", answer, 400, "WL-EST-006").await;
    let long = "A".repeat(40_000);
    let trailing = STANDARD.encode([STANDARD.decode(&request).unwrap(), vec![0]].concat());
    let bodies = [
        ("no base64", "!!", 400),
        ("no request", "AAAA", 400),
        ("empty", "", 400),
        ("long", &long, 413),
        ("trailing bytes", &trailing, 400),
    ];
    for (what, body, status) in bodies {
        expect(&rig, what, rig.enrol(body, "mon-1", "geheim").await, status, "WL-EST-005").await;
    }
    expect(&rig, "no id", rig.enrol(&request, "Mon 1", "geheim").await, 400, "WL-EST-005").await;
    std::fs::write(rig.path("request.b64"), &request).unwrap();
    let form = rig.curl(SIMPLEENROLL, &["--data-binary", "@request.b64", "-u", "mon-1:geheim"]).await;
    expect(&rig, "a form", form, 415, "WL-EST-005").await;
    assert_eq!(rig.enrol(&request, "mon-1", "geheim").await.status, 200, "the claim is still whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_unknown_used_over_or_another_ones_is_refused() {
    let rig = Rig::new().await;
    rig.claim("used", None).await;
    rig.claim("pinned", Some("mon-7")).await;
    rig.claim_until(&Change::new("test", 1), "over", None, 2).await;
    rig.claim("revoked", None).await;
    rig.node.store().revoke_claims(&change(), &tenant(), "revoked").await.unwrap();
    let (first, second) = (rig.request("first", "").await, rig.request("second", "").await);
    assert_eq!(rig.enrol(&first, "mon-1", "used").await.status, 200);
    let cases = [
        ("another key", "mon-1", "used", 403, "WL-EST-002"),
        ("unknown", "mon-1", "nobody", 401, "WL-EST-001"),
        ("over", "mon-1", "over", 403, "WL-EST-003"),
        ("revoked", "mon-1", "revoked", 403, "WL-EST-004"),
        ("another device's", "mon-1", "pinned", 403, "WL-EST-011"),
    ];
    for (what, user, secret, status, code) in cases {
        expect(&rig, what, rig.enrol(&second, user, secret).await, status, code).await;
    }
    let answer = rig.enrol(&first, "mon-2", "used").await;
    expect(&rig, "the same key under another name", answer, 403, "WL-EST-002").await;
    expect(&rig, "nothing at all", rig.post(SIMPLEENROLL, &second, &[]).await, 401, "WL-EST-001").await;
    expect(&rig, "no certificate", rig.post(SIMPLEREENROLL, &second, &[]).await, 401, "WL-ID-001").await;
    for event in rig.audits() {
        assert!(!event.target.contains("pinned") || event.actor == "test", "no secret in {event:?}");
    }
}
