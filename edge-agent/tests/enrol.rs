//! Enrolment: an identity from a claim or a maker's certificate, whatever breaks on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Enrolment, Est, Hold, Life, Pki, Signer, until};
use tempfile::tempdir;
use wardline_edge::{EdgeError, EdgeKind, EnrolOptions, Enrolled, Proof, device_from_serial_number, enrol};
use wardline_proto::DeviceId;

async fn est() -> Est {
    Est::start(Arc::new(Pki::new())).await
}

fn options(est: &Est, claim: &str, certs: &Path) -> EnrolOptions {
    EnrolOptions {
        url: est.url.clone(),
        proof: Proof::Claim(claim.parse().unwrap()),
        device: DeviceId::new("m-1").unwrap(),
        serial_number: Some("SN-7".to_owned()),
        certs_dir: certs.to_owned(),
    }
}

async fn try_claim(est: &Est, claim: &str, certs: &Path) -> Result<Enrolled, EdgeError> {
    enrol(&options(est, claim, certs)).await
}

#[tokio::test]
async fn a_claim_becomes_an_identity_once_and_the_same_call_again_changes_nothing() {
    let (est, dir) = (est().await, tempdir().unwrap());
    let (claim, certs) = (est.claim(), dir.path().join("certs"));
    est.with(|state| state.fronts = vec!["localhost:1".to_owned(), "[::1]:2".to_owned()]);
    let enrolled = try_claim(&est, &claim, &certs).await.unwrap();
    assert_eq!(enrolled.device.to_string(), "demo/m-1");
    assert_eq!(
        enrolled.fronts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["localhost:1", "[::1]:2"]
    );
    assert!(enrolled.is_new);
    let mode = |file: &str| fs::metadata(certs.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key.pem"), mode("cert.pem"), mode("services.json")), (0o600, 0o600, 0o600));
    let read = |file: &str| fs::read(certs.join(file)).unwrap();
    let before = (read("key.pem"), read("cert.pem"), read("ca.pem"));
    assert!(!String::from_utf8(read("ca.pem")).unwrap().contains("PRIVATE"));

    let again = try_claim(&est, &claim, &certs).await.unwrap();
    assert!(!again.is_new);
    assert_eq!(before, (read("key.pem"), read("cert.pem"), read("ca.pem")));
    assert_eq!(est.with(|state| (state.issued.len(), state.keys_seen.len())), (1, 1));
}

#[tokio::test]
async fn a_kill_at_any_step_leaves_a_state_from_which_the_same_key_goes_on() {
    let est = est().await;
    for hold in [
        Hold::Before("cacerts"),
        Hold::After("cacerts"),
        Hold::Before("simpleenroll"),
        Hold::After("simpleenroll"),
        Hold::Before("bootstrap"),
        Hold::After("bootstrap"),
    ] {
        let (dir, claim) = (tempdir().unwrap(), est.claim());
        let certs = dir.path().join("certs");
        est.with(|state| {
            (state.hold, state.is_held) = (Some(hold), false);
            state.keys_seen.clear();
            state.issued.clear();
        });
        let mut first = Enrolment::new(&est.url, &claim, "m-1", &certs).start();
        until("the agent is at the step", || est.with(|state| state.is_held)).await;
        first.kill().unwrap();
        first.wait().unwrap();
        est.with(|state| state.hold = None);
        let second = Enrolment::new(&est.url, &claim, "m-1", &certs).output().await;
        assert!(second.status.success(), "{hold:?}: {}", String::from_utf8_lossy(&second.stderr));
        let told = String::from_utf8(second.stdout).unwrap();
        assert!(
            told.contains("enrolled as demo/m-1") && told.contains("wardline-edge run --certs"),
            "{told}"
        );
        est.with(|state| {
            state.keys_seen.dedup();
            assert_eq!((state.keys_seen.len(), state.issued.len()), (1, 1), "{hold:?}");
        });
        let leftovers: Vec<_> =
            fs::read_dir(&certs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(leftovers.len(), 4, "{hold:?}: {leftovers:?}");
    }
}

#[tokio::test]
async fn half_written_files_of_a_crash_do_not_stand_in_the_way() {
    let (est, dir) = (est().await, tempdir().unwrap());
    for file in ["key.tmp", "cert.tmp", "ca.tmp", "services.tmp"] {
        fs::write(dir.path().join(file), "-----BEGIN").unwrap();
    }
    try_claim(&est, &est.claim(), dir.path()).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_to_a_gateway_of_another_authority() {
    let (est, other, dir) = (est().await, est().await, tempdir().unwrap());
    let error = try_claim(&est, &other.claim(), dir.path()).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WL-EDGE-002", EdgeKind::Reject), "{error}");
    assert_eq!(est.with(|state| state.keys_seen.len()), 0);
    assert!(!dir.path().join("ca.pem").exists());
}

#[tokio::test]
async fn a_used_or_unknown_claim_is_refused_with_the_gateways_code() {
    let (est, dir) = (est().await, tempdir().unwrap());
    let claim = est.claim();
    try_claim(&est, &claim, &dir.path().join("one")).await.unwrap();
    let used = try_claim(&est, &claim, &dir.path().join("two")).await.unwrap_err();
    assert_eq!((used.code(), used.kind()), ("WL-EDGE-004", EdgeKind::Reject));
    assert!(used.to_string().contains("WL-EST-003"), "{used}");
    let secret = claim.split('.').nth(1).unwrap();
    assert!(!used.to_string().contains(secret), "{used}");
    est.with(|state| state.claims.clear());
    let unknown = try_claim(&est, &claim, &dir.path().join("three")).await.unwrap_err();
    assert!(unknown.to_string().contains("WL-EST-002"), "{unknown}");
}

#[tokio::test]
async fn only_a_list_that_the_authority_signed_and_that_is_in_force_is_believed() {
    let (est, dir) = (est().await, tempdir().unwrap());
    let claim = est.claim();
    for (words, spoil) in [
        (
            "not of our authority",
            Box::new(|s: &mut _| set(s, Signer::Stranger, 0, false)) as Box<dyn Fn(&mut _)>,
        ),
        ("may not sign", Box::new(|s: &mut _| set(s, Signer::Device, 0, false))),
        ("signature is wrong", Box::new(|s: &mut _| set(s, Signer::Issuing, 0, true))),
        ("has expired", Box::new(|s: &mut _| set(s, Signer::Issuing, 7200, false))),
    ] {
        est.with(|state| spoil(state));
        let error = try_claim(&est, &claim, dir.path()).await.unwrap_err();
        assert_eq!(error.code(), "WL-EDGE-006", "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!dir.path().join("services.json").exists());
    }
    est.with(|state| set(state, Signer::Issuing, 0, false));
    try_claim(&est, &claim, dir.path()).await.unwrap();
    assert_eq!(est.with(|state| state.issued.len()), 1);
}

fn set(state: &mut support::EstState, signer: Signer, age_s: u64, spoil: bool) {
    (state.signer, state.list_age, state.spoil_list) = (signer, Duration::from_secs(age_s), spoil);
}

#[tokio::test]
async fn a_makers_certificate_stands_in_for_a_claim() {
    let (est, dir) = (est().await, tempdir().unwrap());
    let factory = est.pki.device("factory");
    let mut options = options(&est, &est.claim(), &dir.path().join("by-ca"));
    options.proof = Proof::Factory { dir: factory.clone(), pin: None };
    assert_eq!(enrol(&options).await.unwrap().device.to_string(), "demo/m-1");
    // A maker that does not know the gateway yet: the pin says whom to trust.
    fs::remove_file(factory.join("ca.pem")).unwrap();
    options.certs_dir = dir.path().join("by-pin");
    options.proof = Proof::Factory { dir: factory, pin: Some(est.pin().parse().unwrap()) };
    assert_eq!(enrol(&options).await.unwrap().device.to_string(), "demo/m-1");
}

#[tokio::test]
async fn a_folder_is_of_one_device_and_one_authority() {
    let (est, other, dir) = (est().await, est().await, tempdir().unwrap());
    try_claim(&est, &est.claim(), dir.path()).await.unwrap();
    let mut options = options(&est, &est.claim(), dir.path());
    options.device = DeviceId::new("m-2").unwrap();
    let error = enrol(&options).await.unwrap_err();
    assert_eq!(error.code(), "WL-EDGE-007");
    assert!(error.to_string().contains("demo/m-1"), "{error}");
    let error = try_claim(&other, &other.claim(), dir.path()).await.unwrap_err();
    assert_eq!(error.code(), "WL-EDGE-007", "{error}");
}

#[tokio::test]
async fn an_expired_identity_is_enrolled_anew_with_another_claim() {
    let (est, dir) = (est().await, tempdir().unwrap());
    est.with(|state| state.life = Life { begun: Duration::from_secs(60), left: Duration::from_secs(1) });
    try_claim(&est, &est.claim(), dir.path()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    est.with(|state| state.life = Life::LONG);
    assert!(try_claim(&est, &est.claim(), dir.path()).await.unwrap().is_new);
    assert_eq!(est.with(|state| state.issued.len()), 2);
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_apart_from_what_is_refused() {
    let (est, dir) = (est().await, tempdir().unwrap());
    let mut options = options(&est, &est.claim(), dir.path());
    drop(est);
    let error = enrol(&options).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WL-EDGE-003", EdgeKind::Retry));
    let output =
        Enrolment::new(&options.url, &format!("wl1.{}.x", "A".repeat(32)), "m-1", dir.path()).output();
    let output = output.await;
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8(output.stderr).unwrap().contains("WL-EDGE-001"));
    for url in ["http://localhost:1", "https://localhost/path", "localhost:1"] {
        url.clone_into(&mut options.url);
        assert_eq!(enrol(&options).await.unwrap_err().code(), "WL-EDGE-005", "{url}");
    }
}

#[test]
fn a_serial_number_names_the_device_when_it_can() {
    assert_eq!(device_from_serial_number(" MX-0042 ").unwrap().as_str(), "mx-0042");
    assert_eq!(device_from_serial_number("To be filled").unwrap_err().code(), "WL-EDGE-010");
}
