//! Who is let in when too many come.

use crate::support::{Client, Stand, TOPIC, client_config, connect, key, numerics, publish};
use std::time::Duration;
use wardline::front::Rate;
use wardline::operate;
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Connects and says CONNECT; what the front answers, `None` when it closes before it says anything.
async fn knock(stand: &Stand, device: &str, version: u8) -> Option<(Client, Vec<u8>)> {
    let mut client = stand.dial_with(client_config(&stand.certs(device))).await.ok()?;
    client.send(&connect(version, "", 60)).await;
    let connack = client.packet().await?;
    Some((client, connack))
}

#[tokio::test]
async fn connects_past_the_rate_are_closed_before_tls_and_known_devices_come_back() {
    let stand = Stand::with(|options| {
        options.front.admission.peer_connects = Rate { per_second: 2.0, burst: 4.0 };
    })
    .await;
    let mut refused = 0;
    for _ in 0..12 {
        refused += u32::from(knock(&stand, "mon-1", 5).await.is_none());
    }
    assert!((1..=8).contains(&refused), "{refused}");
    stand.audited("refused", "WL-QUOTA-003").await;
    let mut back = None;
    for _ in 0..40 {
        back = knock(&stand, "mon-1", 5).await;
        if back.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (mut client, connack) = back.expect("it comes back");
    assert_eq!(connack[3], 0);
    client.send(&publish(5, 1, 1, TOPIC, &numerics(1))).await;
    assert_eq!(client.packet().await, Some(vec![0x40, 2, 0, 1]));
}

#[tokio::test]
async fn silent_handshakes_of_one_address_are_bounded() {
    let stand = Stand::with(|options| options.front.admission.peer_handshakes_max = 3).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(tokio::net::TcpStream::connect(stand.node.addrs().mqtt).await.unwrap());
    }
    assert!(knock(&stand, "mon-1", 5).await.is_none());
    drop(silent);
    let mut answered = false;
    for _ in 0..50 {
        answered = knock(&stand, "mon-1", 5).await.is_some();
        if answered {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answered, "places are given back");
}

#[tokio::test]
async fn a_tenant_past_its_share_is_told_and_others_get_in() {
    let stand = Stand::with(|options| {
        options.front.connections_max = 8;
        options.front.admission.fair_from = 0.5;
    })
    .await;
    let other = DeviceKey { tenant: TenantId::new("other").unwrap(), device: DeviceId::new("o-1").unwrap() };
    operate::issue_device(stand.dir.path(), &other, &stand.certs("o-1")).await.unwrap();
    let mut open = Vec::new();
    for n in 3..=6 {
        let device = format!("mon-{n}");
        operate::issue_device(stand.dir.path(), &key(&device), &stand.certs(&device)).await.unwrap();
        open.push(stand.session(&device, 5).await);
    }
    let (client, connack) = knock(&stand, "o-1", 5).await.unwrap();
    assert_eq!(connack[3], 0, "another tenant");
    open.push(client);
    for (version, code) in [(5, 0x97), (4, 3)] {
        let (_, connack) = knock(&stand, "mon-1", version).await.unwrap();
        assert_eq!(connack[3], code, "its tenant has 4 of 8, and there are two tenants");
    }
    stand.audited("refused", "WL-QUOTA-004").await;
    let again = stand.session("mon-3", 5).await;
    assert_eq!(open[0].packet().await, Some(vec![0xe0, 2, 0x8e, 0]), "a takeover takes no place");
    drop(again);
    let old = &mut open[1];
    old.send(&publish(5, 1, 1, "wl/1/demo/mon-4/up/telemetry", &numerics(1))).await;
    assert_eq!(old.packet().await, Some(vec![0x40, 2, 0, 1]), "who is there is served");
}
