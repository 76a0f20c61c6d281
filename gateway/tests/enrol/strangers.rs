//! Who is not whom it says it is, in MQTT and in TLS, on every port: refused, with a code, and audited.

use crate::rig::{Rig, key};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use std::net::SocketAddr;
use std::time::Duration;
use time::OffsetDateTime;
use wardline::operate;

/// A CONNECT of MQTT 5.
fn connect(client_id: &str) -> Vec<u8> {
    let mut packet = vec![0x10, 13 + client_id.len() as u8, 0, 4];
    packet.extend(b"MQTT\x05\x02\x00\x3c\x00\x00");
    packet.push(client_id.len() as u8);
    packet.extend(client_id.as_bytes());
    packet
}

/// A PUBLISH of MQTT 5 with QoS 1 and packet id 1.
fn publish(topic: &str) -> Vec<u8> {
    let payload = br#"{"readings":[]}"#;
    let mut packet = vec![0x32, (2 + topic.len() + 3 + payload.len()) as u8, 0, topic.len() as u8];
    packet.extend(topic.as_bytes());
    packet.extend([0, 1, 0]);
    packet.extend(payload);
    packet
}

async fn refused(rig: &Rig, code: &str, actor: &str, target: &str) {
    rig.audited(&format!("{code} {actor} {target}"), |event| {
        event.action == "refused"
            && event.outcome == code
            && event.actor.ends_with(actor)
            && event.target.contains(target)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_tenant_in_a_topic_and_a_forged_client_id_are_refused_and_audited() {
    let rig = Rig::new().await;
    rig.device("mon-1").await;
    let (mqtt, own) = (rig.node.addrs().mqtt, ("mon-1.pem", "mon-1.key"));
    let topic = "wl/1/other/mon-1/up/telemetry";
    let told = rig.say(mqtt, own, &[connect("mon-1"), publish(topic)].concat(), 2).await;
    assert_eq!((told[0][3], &told[1]), (0, &vec![0x40, 3, 0, 1, 0x87]), "{told:?}");
    refused(&rig, "WL-TOPIC-001", "/tenant/demo/device/mon-1", topic).await;
    for forged in ["mon-2", "other/mon-1"] {
        let told = rig.say(mqtt, own, &connect(forged), 1).await;
        assert_eq!(told[0][3], 0x85, "{forged}: {told:?}");
        refused(&rig, "WL-ID-005", "/tenant/demo/device/mon-1", "connect").await;
    }
}

/// Makes a certificate of the gateway's own authority for mon-1 that has expired.
fn expired(rig: &Rig) {
    let read = |name: &str| std::fs::read_to_string(rig.path("pki").join(name)).unwrap();
    let issuer = KeyPair::from_pem(&read("issuing.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("issuing.pem"), issuer).unwrap();
    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
    let uri = "spiffe://wardline.local/tenant/demo/device/mon-1";
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(7200);
    params.not_after = OffsetDateTime::now_utc() - Duration::from_secs(60);
    let leaf = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(rig.path("expired.pem"), leaf.pem() + &read("issuing.pem")).unwrap();
    std::fs::write(rig.path("expired.key"), key.serialize_pem()).unwrap();
}

/// Makes an authority of the same names, and its certificate for mon-1.
async fn foreign(rig: &Rig) {
    let elsewhere = tempfile::tempdir().unwrap();
    operate::init(elsewhere.path(), "wardline.local", &["localhost".to_owned()]).await.unwrap();
    let out = elsewhere.path().join("mon-1");
    operate::issue_device(elsewhere.path(), &key("mon-1"), &out).await.unwrap();
    std::fs::copy(out.join("cert.pem"), rig.path("foreign.pem")).unwrap();
    std::fs::copy(out.join("key.pem"), rig.path("foreign.key")).unwrap();
}

async fn is_shut_out(rig: &Rig, to: SocketAddr, name: &str) -> bool {
    let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
    rig.say(to, (&cert, &key), &connect(""), 1).await.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_tls_refuses_is_audited_on_every_port() {
    let rig = Rig::new().await;
    rig.device("mon-1").await;
    foreign(&rig).await;
    expired(&rig);
    let at = rig.node.addrs();
    for (to, port) in [(at.mqtt, "connect"), (at.grpc, "grpc handshake"), (at.est, "https handshake")] {
        for (name, code) in [("foreign", "WL-ID-001"), ("expired", "WL-ID-003")] {
            assert!(is_shut_out(&rig, to, name).await, "{name} at {port}");
            refused(&rig, code, "", port).await;
        }
        // Equal ones within a second are one event.
        tokio::time::sleep(Duration::from_millis(2100)).await;
    }
    let seen: Vec<_> = rig.audits().into_iter().filter(|event| event.action == "refused").collect();
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert!(seen.iter().all(|event| event.actor.is_empty()), "such a certificate proves nobody: {seen:?}");
    assert_eq!(rig.mqtt("mon-1.pem", "mon-1.key").await, Some(0), "the real one gets in");
}
