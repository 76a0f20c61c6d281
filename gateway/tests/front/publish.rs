//! Publishes that are taken, in every quality and both versions, and never acknowledged before they are durable.

use crate::support::{Stand, TOPIC, key, numerics, publish};
use wardline_journal::fault::{Fault, FaultStorage};
use wardline_proto::limits::RECEIVE_MAXIMUM;

#[tokio::test]
async fn every_quality_of_service_in_both_versions_is_journaled_before_it_is_acknowledged() {
    let stand = Stand::new().await;
    let mut seq = 0;
    for version in [4, 5] {
        let mut client = stand.session("mon-1", version).await;
        for qos in [1, 2, 0] {
            seq += 1;
            client.send(&publish(version, qos, 7, TOPIC, &numerics(seq))).await;
            match qos {
                1 => assert_eq!(client.packet().await, Some(vec![0x40, 2, 0, 7])),
                2 => {
                    assert_eq!(client.packet().await, Some(vec![0x50, 2, 0, 7]));
                    client.send(&[0x62, 2, 0, 7]).await;
                    assert_eq!(client.packet().await, Some(vec![0x70, 2, 0, 7]));
                }
                _ => {
                    client.send(&[0xc0, 0]).await;
                    assert_eq!(client.packet().await, Some(vec![0xd0, 0]));
                    continue;
                }
            }
            let last = stand.publishes().pop().unwrap();
            assert_eq!((last.device.as_str(), last.payload.to_vec()), ("mon-1", numerics(seq)));
        }
        client.send(&[0xe0, 0]).await;
        stand.audited("session_closed", "ok").await;
    }
    let stats = stand.node.front_stats();
    assert_eq!((stats[&key("mon-1")].accepted, stats[&key("mon-1")].acked), (6, 4));
}

#[tokio::test]
async fn acknowledgements_keep_the_order_of_publishes_and_a_refusal_does_not_overtake() {
    let stand = Stand::new().await;
    let mut client = stand.session("mon-1", 5).await;
    let mut bytes = Vec::new();
    for id in 1..=20 {
        let topic = if id == 10 { "wl/1/demo/mon-2/up/telemetry" } else { TOPIC };
        bytes.extend(publish(5, 1, id, topic, &numerics(u64::from(id))));
    }
    client.send(&bytes).await;
    for id in 1..=20 {
        let ack = client.packet().await.unwrap();
        assert_eq!(ack[3], id);
        assert_eq!(ack.get(4).copied(), (id == 10).then_some(0x87));
    }
    assert_eq!(stand.publishes().len(), 19);
}

#[tokio::test]
async fn a_repeated_qos_2_publish_is_journaled_once() {
    let stand = Stand::new().await;
    let mut client = stand.session("mon-1", 4).await;
    client.send(&publish(4, 2, 9, TOPIC, &numerics(1))).await;
    assert_eq!(client.packet().await, Some(vec![0x50, 2, 0, 9]));
    let mut again = publish(4, 2, 9, TOPIC, &numerics(1));
    again[0] |= 0b1000;
    client.send(&again).await;
    assert_eq!(client.packet().await, Some(vec![0x50, 2, 0, 9]));
    assert_eq!(stand.publishes().len(), 1);
}

#[tokio::test]
async fn no_acknowledgement_leaves_when_the_disk_cannot_sync() {
    let disk = FaultStorage::new(7, 1 << 30);
    let stand = Stand::on(Some(disk.process()), |options| {
        options.journal.reserve_bytes = 0;
        options.journal.segment_bytes = 1 << 20;
    })
    .await;
    let mut client = stand.session("mon-1", 5).await;
    client.send(&publish(5, 1, 1, TOPIC, &numerics(1))).await;
    assert_eq!(client.packet().await, Some(vec![0x40, 2, 0, 1]));
    disk.inject(Fault::Sync, 0);
    client.send(&publish(5, 1, 2, TOPIC, &numerics(2))).await;
    let answer = client.packet().await;
    assert!(answer.is_none() || answer.as_ref().is_some_and(|a| a[0] == 0xe0), "{answer:?}");
    let mut late = stand.dial("mon-2").await;
    late.send(&crate::support::connect(5, "mon-2", 60)).await;
    assert!(
        late.packet().await.is_none_or(|connack| connack[3] != 0),
        "a front that cannot audit serves nobody"
    );
}

/// More publishes of [`wide`] than a log of 64 KiB segments takes without a spare.
const FILLING: u16 = 40;

fn wide() -> Vec<u8> {
    format!("{{\"readings\":[],\"pad\":\"{}\"}}", "x".repeat(8 * 1024)).into_bytes()
}

#[tokio::test]
async fn a_full_journal_refuses_v5_at_once_and_makes_v4_wait_for_room() {
    let disk = FaultStorage::new(7, 1 << 20);
    let stand = Stand::on(Some(disk.process()), |options| {
        options.journal.reserve_bytes = 0;
        options.journal.segment_bytes = 64 << 10;
    })
    .await;
    let mut client = stand.session("mon-1", 5).await;
    disk.set_free_bytes(0);
    let mut acked = 0;
    for id in 1..FILLING {
        client.send(&publish(5, 1, id, TOPIC, &wide())).await;
        let answer = client.packet().await.expect("a full journal ends no v5 session");
        if answer.last() == Some(&0x97) {
            break;
        }
        acked += 1;
    }
    stand.audited("refused", "WL-JRN-001").await;
    assert!(acked > 0 && acked < FILLING - 1, "{acked}");

    let mut gives_up = stand.session("mon-1", 4).await;
    let started = std::time::Instant::now();
    gives_up.send(&publish(4, 1, 1, TOPIC, &wide())).await;
    assert_eq!(gives_up.packet().await, None, "no room, no acknowledgement");
    assert!(started.elapsed().as_millis() >= 1900, "it is made to wait first");

    let mut waits = stand.session("mon-1", 4).await;
    waits.send(&publish(4, 1, 1, TOPIC, &wide())).await;
    disk.set_free_bytes(1 << 20);
    assert_eq!(waits.packet().await, Some(vec![0x40, 2, 0, 1]), "room came in time");
    assert_eq!(stand.publishes().len(), usize::from(acked) + 1);
}

#[tokio::test]
async fn json_is_taken_on_telemetry_alone() {
    let stand = Stand::new().await;
    let mut client = stand.session("mon-1", 5).await;
    client.send(&publish(5, 1, 1, TOPIC, b"{\"readings\":[]}")).await;
    assert_eq!(client.packet().await, Some(vec![0x40, 2, 0, 1]));
    client.send(&publish(5, 1, 2, "wl/1/demo/mon-1/up/alarm", b"{\"readings\":[]}")).await;
    assert_eq!(client.packet().await, Some(vec![0x40, 3, 0, 2, 0x99]));
}

#[tokio::test]
async fn a_notice_reaches_the_device_that_subscribed() {
    let stand = Stand::new().await;
    for version in [4, 5] {
        let mut client = stand.session("mon-1", version).await;
        client.subscribe(version, "wl/1/demo/mon-1/down/#", 1).await;
        let downlink = stand.node.downlink().unwrap();
        downlink.notify(&key("mon-1"), "look".into()).unwrap();
        let notice = client.packet().await.unwrap();
        assert_eq!(notice[0] & 0xf0, 0x30);
        assert!(notice.ends_with(b"look"));
    }
}

#[tokio::test]
async fn a_whole_window_of_qos_2_is_taken_at_once_and_one_more_is_not() {
    let stand = Stand::new().await;
    let mut client = stand.session("mon-1", 5).await;
    let window = RECEIVE_MAXIMUM;
    let all: Vec<u8> =
        (1..=window).flat_map(|id| publish(5, 2, id, TOPIC, &numerics(u64::from(id)))).collect();
    client.send(&all).await;
    for id in 1..=window {
        assert_eq!(client.packet().await, Some(vec![0x50, 2, 0, id as u8]));
    }
    client.send(&publish(5, 2, window + 1, TOPIC, &numerics(u64::from(window) + 1))).await;
    assert_eq!(client.packet().await.map(|packet| (packet[0], packet[2])), Some((0xe0, 0x93)));
}
