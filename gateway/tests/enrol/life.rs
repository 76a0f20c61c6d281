//! The life of a certificate: enrolled, used, renewed, revoked; and what everybody may read.

use crate::rig::{Rig, SIMPLEREENROLL};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::time::Duration;

async fn crl_agrees(rig: &Rig, cert: &str) -> bool {
    let list = rig.curl("/crl", &[]).await;
    std::fs::write(rig.path("crl.der"), &list.body).unwrap();
    rig.openssl("crl -inform DER -in crl.der -out crl.pem").await;
    let args = format!("verify -crl_check -CAfile pki/ca.pem -CRLfile crl.pem {cert}");
    rig.openssl_output(&args).await.status.success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_and_curl_enrol_connect_renew_and_are_out_when_revoked() {
    let rig = Rig::new().await;
    rig.claim("geheim", None).await;
    let request = rig.request("mon", "").await;
    let answer = rig.enrol(&request, "mon-1", "wl1.geheim.pin").await;
    rig.save(&answer, "mon").await;
    let text = String::from_utf8(rig.openssl("x509 -in mon.pem -noout -text").await).unwrap();
    assert!(text.contains("URI:spiffe://wardline.local/tenant/demo/device/mon-1"), "{text}");
    assert!(!text.contains("anything"), "the subject of the request is not used: {text}");
    rig.audited("enrolled", |event| event.action == "enrolled" && event.actor.starts_with("claim:")).await;
    assert_eq!(rig.mqtt("mon.pem", "mon.key").await, Some(0));
    assert!(crl_agrees(&rig, "mon.pem").await);

    let next = rig.request("next", "").await;
    let answer = rig.post(SIMPLEREENROLL, &next, &["--cert", "mon.pem", "--key", "mon.key"]).await;
    rig.save(&answer, "next").await;
    rig.audited("renewed", |event| {
        event.action == "certificate_renewed" && event.actor.ends_with("/device/mon-1")
    })
    .await;
    for name in ["next", "mon"] {
        let code = rig.mqtt(&format!("{name}.pem"), &format!("{name}.key")).await;
        assert_eq!(code, Some(0), "old and new live side by side: {name}");
    }

    assert_eq!(rig.revoke("mon-1").await, 2);
    rig.until("the session is refused", async || rig.mqtt("next.pem", "next.key").await == Some(5)).await;
    rig.until("openssl refuses it by our list", async || !crl_agrees(&rig, "next.pem").await).await;
    // Equal refusals of one actor within a second are one event.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let answer = rig.post(SIMPLEREENROLL, &next, &["--cert", "next.pem", "--key", "next.key"]).await;
    assert_eq!((answer.status, &answer.text()[..9]), (403, "WL-ID-002"));
    rig.audited("refused", |event| event.outcome == "WL-ID-002" && event.target == "simplereenroll").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_given_again_and_costs_no_second_certificate() {
    let rig = Rig::new().await;
    rig.claim("geheim", None).await;
    let request = rig.request("mon", "").await;
    let first = rig.enrol(&request, "mon-1", "geheim").await;
    assert_eq!(first.status, 200, "{}", first.text());
    let again = rig.enrol(&request, "mon-1", "geheim").await;
    assert_eq!(first.body, again.body, "the same request");
    let anew = rig.request_of("mon", "").await;
    assert_ne!(anew, request, "ECDSA signs with a new nonce");
    assert_eq!(first.body, rig.enrol(&anew, "mon-1", "geheim").await.body, "the same key");
    let issued = async || {
        let listed = rig.node.store().list_certificates("spiffe://wardline.local/tenant/demo/", 9).await;
        listed.unwrap()
    };
    assert_eq!(issued().await.len(), 1);
    rig.audited("the repetition", |event| event.action == "enrolment_repeated").await;

    // The same of a renewal: the same new key after the same old certificate.
    rig.save(&first, "mon").await;
    let tls = ["--cert", "mon.pem", "--key", "mon.key"];
    let next = rig.request("next", "").await;
    let renewed = rig.post(SIMPLEREENROLL, &next, &tls).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    let anew = rig.request_of("next", "").await;
    assert_eq!(rig.post(SIMPLEREENROLL, &anew, &tls).await.body, renewed.body, "the same key");
    assert_eq!(issued().await.len(), 2);
    rig.audited("the repetition", |event| {
        event.action == "renewal_repeated" && event.actor.ends_with("/device/mon-1")
    })
    .await;
    let other = rig.request("other", "").await;
    assert_ne!(rig.post(SIMPLEREENROLL, &other, &tls).await.body, renewed.body, "another key");
    assert_eq!(issued().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_gives_no_revoked_certificate_out_again() {
    let rig = Rig::new().await;
    rig.claim("geheim", None).await;
    let request = rig.request("mon", "").await;
    assert_eq!(rig.enrol(&request, "mon-1", "geheim").await.status, 200);
    rig.revoke("mon-1").await;
    let answer = rig.enrol(&request, "mon-1", "geheim").await;
    assert!(answer.status == 403 && answer.text().starts_with("WL-ID-002"), "{answer:?}");
    rig.audited_refusal("WL-ID-002").await;
    assert!(rig.audits().iter().all(|event| event.action != "enrolment_repeated"), "not given out");
    // As the page says: what was revoked gets a new claim.
    rig.claim("fresh", Some("mon-1")).await;
    assert_eq!(rig.enrol(&rig.request("anew", "").await, "mon-1", "fresh").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_strong_key_type_enrols_and_weak_ones_do_not() {
    let rig = Rig::new().await;
    let kinds = [
        ("p384", "ecparam -name secp384r1 -genkey -noout", None),
        ("ed", "genpkey -algorithm ed25519", None),
        ("rsa", "genrsa 2048", None),
        ("rsa1024", "genrsa 1024", Some("WL-EST-007")),
        ("p521", "ecparam -name secp521r1 -genkey -noout", Some("WL-EST-007")),
    ];
    for (name, make, refused) in kinds {
        rig.claim(name, None).await;
        let (program, rest) = make.split_once(' ').unwrap();
        let args = if program == "genrsa" {
            format!("genrsa -out {name}.key {rest}")
        } else {
            format!("{make} -out {name}.key")
        };
        rig.openssl(&args).await;
        let answer = rig.enrol(&rig.request_of(name, "").await, name, name).await;
        match refused {
            None => {
                rig.save(&answer, name).await;
                assert_eq!(rig.mqtt(&format!("{name}.pem"), &format!("{name}.key")).await, Some(0), "{name}");
            }
            Some(code) => {
                assert!(answer.status == 400 && answer.text().starts_with(code), "{name}: {answer:?}")
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorities_and_bootstrap_are_for_everybody() {
    let rig = Rig::with(|options| options.enrol.fronts = vec!["one:8883".into(), "two:8883".into()]).await;
    let answer = rig.curl("/.well-known/est/cacerts", &[]).await;
    rig.save(&answer, "cas").await;
    let subjects = String::from_utf8(std::fs::read(rig.path("cas.pem")).unwrap()).unwrap();
    assert_eq!(subjects.matches("BEGIN CERTIFICATE").count(), 2, "root and issuing");
    let document = rig.curl("/bootstrap", &[]).await.text();
    let (signed, signature) = document.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let json = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let der = STANDARD.decode(json(header)["x5c"][0].as_str().unwrap()).unwrap();
    let (_, issuing) = x509_parser::parse_x509_certificate(&der).unwrap();
    let key = ring::signature::UnparsedPublicKey::new(
        &ring::signature::ECDSA_P256_SHA256_FIXED,
        issuing.public_key().subject_public_key.data.to_vec(),
    );
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    assert_eq!(json(payload)["fronts"], serde_json::json!(["one:8883", "two:8883"]));
    assert_eq!(json(payload)["est"], format!("https://localhost:{}", rig.node.addrs().est.port()));
}
