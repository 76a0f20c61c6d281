//! Packets that no client may send: each ends its own connection with its own code, and nothing else.

use crate::support::{Client, Stand, TOPIC, connect, numerics, packet, publish};
use std::time::Duration;
use wardline_proto::limits::PAYLOAD_BYTES_MAX;

async fn neighbour_is_served(neighbour: &mut Client, id: u16) {
    neighbour.send(&publish(5, 1, id, "wl/1/demo/mon-2/up/telemetry", &numerics(u64::from(id)))).await;
    assert_eq!(neighbour.packet().await.unwrap()[0], 0x40);
}

#[tokio::test]
async fn a_first_packet_that_is_no_connect_ends_the_connection() {
    let stand = Stand::new().await;
    let mut neighbour = stand.session("mon-2", 5).await;
    let table: [(&str, Vec<u8>); 8] = [
        ("CONNACK", vec![0x20, 2, 0, 0]),
        ("UNSUBACK", vec![0xb0, 2, 0, 1]),
        ("PUBLISH", publish(4, 1, 1, TOPIC, &numerics(1))),
        ("CONNECT with reserved bits", {
            let mut c = connect(4, "mon-1", 60);
            c[0] |= 1;
            c
        }),
        ("CONNECT with a reserved flag", {
            let mut c = connect(4, "mon-1", 60);
            c[9] |= 1;
            c
        }),
        ("remaining length 268,435,455", vec![0x10, 0xff, 0xff, 0xff, 0x7f]),
        ("remaining length of five bytes", vec![0x10, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("kind 0", vec![0, 0]),
    ];
    for (id, (what, bytes)) in (1..).zip(table) {
        let mut client = stand.dial("mon-1").await;
        client.send(&bytes).await;
        assert_eq!(client.packet().await, None, "{what}");
        neighbour_is_served(&mut neighbour, id).await;
    }
    stand.audited("refused", "WL-MQTT-001").await;
    stand.audited("refused", "WL-MQTT-002").await;
}

#[tokio::test]
async fn a_bad_packet_in_a_session_is_told_and_ends_it() {
    let stand = Stand::new().await;
    let mut neighbour = stand.session("mon-2", 5).await;
    let long_topic = {
        let mut p = vec![0xff, 0xff];
        p.extend([b'a'; 65_535]);
        p.extend([0, 1, 0]);
        packet(0x32, &p)
    };
    let user_properties = {
        let mut p = vec![0, 1, b'a', 0, 1];
        let properties = [0x26, 0, 0, 0, 0].repeat(20_000);
        p.extend([(properties.len() & 0x7f) as u8 | 0x80, (properties.len() >> 7 & 0x7f) as u8 | 0x80]);
        p.push((properties.len() >> 14) as u8);
        p.extend(properties);
        packet(0x32, &p)
    };
    let oversize = publish(5, 1, 1, TOPIC, &vec![8; PAYLOAD_BYTES_MAX + 1]);
    let table: [(&str, Vec<u8>, u8); 12] = [
        ("CONNACK", vec![0x20, 2, 0, 0], 0x81),
        ("SUBACK", vec![0x90, 3, 0, 1, 0], 0x81),
        ("UNSUBACK", vec![0xb0, 2, 0, 1], 0x81),
        ("PINGRESP", vec![0xd0, 0], 0x81),
        ("AUTH", vec![0xf0, 0], 0x81),
        ("a second CONNECT", connect(5, "mon-1", 60), 0x81),
        ("QoS 3", vec![0x36, 3, 0, 1, b'a'], 0x81),
        ("SUBSCRIBE with reserved bits", vec![0x80, 2, 0, 1], 0x81),
        ("remaining length 268,435,455", vec![0x30, 0xff, 0xff, 0xff, 0x7f], 0x95),
        ("a topic of 65,535 bytes", long_topic, 0x87),
        ("20,000 user properties", user_properties, 0x95),
        ("a payload past its limit", oversize, 0x95),
    ];
    for (id, (what, bytes, reason)) in (1..).zip(table) {
        let mut client = stand.session("mon-1", 5).await;
        client.send(&bytes).await;
        assert_eq!(client.packet().await, Some(vec![0xe0, 2, reason, 0]), "{what}");
        assert_eq!(client.packet().await, None, "{what}");
        neighbour_is_served(&mut neighbour, id).await;
    }
}

#[tokio::test]
async fn keep_alive_0_is_capped_in_v5_and_tolerated_in_v4() {
    let stand = Stand::new().await;
    let mut client = stand.dial("mon-1").await;
    client.send(&connect(5, "mon-1", 0)).await;
    let connack = client.packet().await.unwrap();
    assert!(connack.windows(3).any(|w| w == [0x13, 0x04, 0xb0]), "server keep-alive 1200: {connack:?}");
    let mut client = stand.dial("mon-2").await;
    client.send(&connect(4, "mon-2", 0)).await;
    assert_eq!(client.packet().await, Some(vec![0x20, 2, 0, 0]));
}

#[tokio::test]
async fn a_silent_session_ends_after_one_and_a_half_keep_alives() {
    let stand = Stand::new().await;
    let mut client = stand.dial("mon-1").await;
    client.send(&connect(5, "mon-1", 1)).await;
    assert_eq!(client.packet().await.unwrap()[3], 0);
    let started = std::time::Instant::now();
    assert_eq!(client.packet().await, Some(vec![0xe0, 2, 0x8d, 0]));
    assert!(started.elapsed() >= Duration::from_millis(1_400));
}

#[tokio::test]
async fn a_slow_peer_is_cut_before_and_within_a_session() {
    let stand = Stand::new().await;
    let mut silent = stand.dial("mon-1").await;
    assert_eq!(silent.packet().await, None);
    let mut slow = stand.session("mon-1", 5).await;
    let bytes = publish(5, 1, 1, TOPIC, &numerics(1));
    for byte in &bytes[..10] {
        slow.send(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(slow.packet().await, Some(vec![0xe0, 2, 0x82, 0]));
    stand.audited("refused", "WL-MQTT-003").await;
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_in_few_audit_events() {
    let stand = Stand::new().await;
    let mut client = stand.session("mon-1", 5).await;
    for id in 1..=500 {
        client.send(&publish(5, 1, id, "wl/1/demo/mon-2/up/telemetry", b"x")).await;
        assert_eq!(client.packet().await.unwrap().last(), Some(&0x87));
    }
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let refused: Vec<_> = stand.audits().into_iter().filter(|event| event.action == "refused").collect();
    let counted = |target: &str| target.rsplit_once(' ').and_then(|(_, n)| n.parse().ok()).unwrap_or(1_u64);
    assert_eq!(refused.iter().map(|event| counted(&event.target)).sum::<u64>(), 500);
    assert!(refused.len() < 20, "{}", refused.len());
}
