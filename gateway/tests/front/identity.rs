//! Whom the front believes, and for how long.

use crate::support::{Stand, TOPIC, client_config, connect, key, numerics, publish};
use std::time::{Duration, Instant};
use wardline::operate;
use wardline::pki::{Authority, PkiDir};
use wardline_proto::{DeviceId, Identity, TenantId};

#[tokio::test]
async fn another_devices_topic_is_refused_and_audited() {
    let stand = Stand::new().await;
    let other = "wl/1/demo/mon-2/up/telemetry";
    let mut client = stand.session("mon-1", 5).await;
    client.send(&publish(5, 1, 1, other, &numerics(1))).await;
    assert_eq!(client.packet().await, Some(vec![0x40, 3, 0, 1, 0x87]));
    stand.audited("refused", "WL-TOPIC-001").await;
    let refused = stand.audits().into_iter().find(|event| event.action == "refused").unwrap();
    assert_eq!(refused.target, other, "what was tried is named");
    let odd = format!("wl/\u{1}\n{}", "x".repeat(140));
    client.send(&publish(5, 1, 2, &odd, &numerics(1))).await;
    client.packet().await.unwrap();
    let mut client = stand.session("mon-2", 4).await;
    client.send(&publish(4, 1, 1, TOPIC, &numerics(1))).await;
    assert_eq!(client.packet().await, None);
    assert_eq!(stand.publishes().len(), 0);
}

#[tokio::test]
async fn a_client_id_is_the_devices_own_or_empty() {
    let stand = Stand::new().await;
    for (id, code) in [("mon-1", 0), ("demo/mon-1", 0), ("", 0), ("mon-2", 0x85), ("demo/mon-2", 0x85)] {
        let mut client = stand.dial("mon-1").await;
        client.send(&connect(5, id, 60)).await;
        assert_eq!(client.packet().await.unwrap()[3], code, "{id}");
    }
}

#[tokio::test]
async fn a_service_is_no_device_and_a_foreign_certificate_is_nobody() {
    let stand = Stand::new().await;
    let out = stand.dir.path().join("ward");
    operate::issue_service(
        stand.dir.path(),
        &TenantId::new("demo").unwrap(),
        &DeviceId::new("ward").unwrap(),
        &out,
    )
    .await
    .unwrap();
    let mut client = stand.dial_with(client_config(&out)).await.unwrap();
    client.send(&connect(5, "", 60)).await;
    assert_eq!(client.packet().await.unwrap()[3], 0x87);
    let elsewhere = tempfile::tempdir().unwrap();
    operate::init(elsewhere.path(), "wardline.local", &["localhost".to_owned()]).await.unwrap();
    let foreign = elsewhere.path().join("mon-1");
    operate::issue_device(elsewhere.path(), &key("mon-1"), &foreign).await.unwrap();
    std::fs::copy(stand.certs("mon-1").join("ca.pem"), foreign.join("ca.pem")).unwrap();
    if let Ok(mut client) = stand.dial_with(client_config(&foreign)).await {
        client.send(&connect(5, "mon-1", 60)).await;
        assert_eq!(client.packet().await, None);
    }
}

#[tokio::test]
async fn revocation_cuts_the_session_and_a_resumed_one_does_not_get_in() {
    let stand = Stand::new().await;
    let config = client_config(&stand.certs("mon-1"));
    let mut client = stand.dial_with(config.clone()).await.unwrap();
    client.send(&connect(5, "mon-1", 60)).await;
    assert_eq!(client.packet().await.unwrap()[3], 0);
    let revoked_at = Instant::now();
    assert_eq!(operate::revoke(stand.dir.path(), &Identity::Device(key("mon-1"))).await.unwrap(), 1);
    assert_eq!(client.packet().await, Some(vec![0xe0, 2, 0x87, 0]));
    assert!(revoked_at.elapsed() < Duration::from_secs(2), "SEC-2: {:?}", revoked_at.elapsed());
    let mut again = stand.dial_with(config).await.unwrap();
    again.send(&connect(5, "mon-1", 60)).await;
    assert_eq!(again.packet().await.unwrap()[3], 0x87);
    let kind = again.tls.get_ref().1.handshake_kind();
    assert_eq!(
        kind,
        Some(rustls::HandshakeKind::Resumed),
        "the verifier was skipped, the identity step was not"
    );
    stand.session("mon-2", 5).await;
}

#[tokio::test]
async fn a_revocation_between_handshake_and_connect_is_not_missed() {
    let patience = Duration::from_secs(10);
    let stand = Stand::with(|options| options.front.deadlines.connect = patience).await;
    let mut client = stand.dial("mon-1").await;
    // The front has looked at the certificate when the other session, begun later, is open.
    stand.session("mon-2", 5).await;
    operate::revoke(stand.dir.path(), &Identity::Device(key("mon-1"))).await.unwrap();
    stand.refused_soon("mon-1").await;
    client.send(&connect(5, "mon-1", 60)).await;
    client.send(&publish(5, 1, 1, TOPIC, &numerics(1))).await;
    assert_eq!(client.packet().await.unwrap()[3], 0x87);
    assert_eq!(stand.publishes().len(), 0);
}

#[tokio::test]
async fn the_newest_session_wins() {
    let stand = Stand::new().await;
    let mut older = stand.session("mon-1", 5).await;
    let mut newer = stand.session("mon-1", 5).await;
    assert_eq!(older.packet().await, Some(vec![0xe0, 2, 0x8e, 0]));
    newer.send(&publish(5, 1, 1, TOPIC, &numerics(1))).await;
    assert_eq!(newer.packet().await, Some(vec![0x40, 2, 0, 1]));
    stand.audited("session_closed", "WL-MQTT-007").await;
}

#[tokio::test]
async fn certificates_are_swapped_live_and_bad_ones_are_not_taken() {
    let stand = Stand::new().await;
    let leaf =
        |client: &crate::support::Client| client.tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let first = leaf(&stand.dial("mon-1").await);
    let pki = PkiDir::of(stand.dir.path());
    let authority = Authority::load(&pki).unwrap();
    pki.renew_server(&authority, &["localhost".to_owned()]).unwrap();
    stand.node.reload_tls().unwrap();
    let second = leaf(&stand.dial("mon-1").await);
    assert_ne!(first, second);
    std::fs::write(pki.path("server.pem"), "nothing").unwrap();
    assert!(stand.node.reload_tls().is_err());
    assert_eq!(leaf(&stand.dial("mon-1").await), second);
}

#[tokio::test]
async fn a_device_for_test_is_marked_in_the_journal_from_the_change_on() {
    let stand = Stand::new().await;
    let mut client = stand.session("mon-1", 5).await;
    client.send(&publish(5, 1, 1, TOPIC, &numerics(1))).await;
    client.packet().await;
    let store = stand.node.store();
    store.set_for_test(&operate::local_change(), &key("mon-1"), true).await.unwrap();
    let before = Instant::now();
    for id in 2..200_u16 {
        client.send(&publish(5, 1, id, TOPIC, &numerics(u64::from(id)))).await;
        client.packet().await;
        if stand.publishes().last().is_some_and(|publish| publish.for_test) {
            break;
        }
        assert!(before.elapsed() < Duration::from_secs(10), "not marked");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let marks: Vec<bool> = stand.publishes().iter().map(|publish| publish.for_test).collect();
    assert!(!marks[0] && marks[marks.len() - 1], "{marks:?}");
}
