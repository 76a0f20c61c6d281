//! The router of the way down dies, and nobody notices: until it dies again and again.

use crate::support::{Client, PATIENCE, Stand, TOPIC, key, numerics, publish, subscribe};
use std::time::Duration;
use wardline::front::limits::{
    DOWN_INFLIGHT_MAX, DOWN_WAITING_BYTES_MAX, DOWN_WAITING_MAX, ROUTER_RESTARTS_MAX,
};
use wardline_proto::limits::RECEIVE_MAXIMUM;

/// All of them are in flight at once.
const SENT: u16 = RECEIVE_MAXIMUM - 4;
const DOWN: &str = "wl/1/demo/mon-1/down/#";

/// Reads until a publish comes down; acknowledgements on the way are added to `acks`. Returns packet id and payload.
async fn come_down(client: &mut Client, acks: &mut Vec<u8>) -> (u16, String) {
    loop {
        let packet = client.packet().await.expect("the session goes on");
        if packet[0] & 0xf0 == 0x30 {
            assert_eq!(packet[0], 0x32, "QoS 1, for the first time");
            let topic_end = 4 + usize::from(packet[3]);
            let id = u16::from_be_bytes([packet[topic_end], packet[topic_end + 1]]);
            return (
                id,
                String::from_utf8_lossy(&packet[topic_end + 2..]).trim_start_matches('\0').to_owned(),
            );
        }
        acks.push(puback(&packet));
    }
}

fn puback(packet: &[u8]) -> u8 {
    assert_eq!(packet[..3], [0x40, 2, 0], "accepted");
    packet[3]
}

async fn acknowledge(client: &mut Client, id: u16) {
    let [high, low] = id.to_be_bytes();
    client.send(&[0x40, 2, high, low]).await;
}

async fn until_metric(stand: &Stand, name: &str, value: u64) {
    let wait = async {
        while stand.metric(name).await != value {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, wait).await;
    assert!(came.is_ok(), "{name} comes to {value}");
}

#[tokio::test]
async fn sessions_go_on_with_their_subscriptions_when_the_router_dies() {
    let stand = Stand::new().await;
    let downlink = stand.node.downlink().unwrap();
    let mut other = stand.session("mon-2", 4).await;
    other.subscribe(4, "wl/1/demo/mon-2/down/notice", 1).await;
    let mut client = stand.session("mon-1", 5).await;
    client.subscribe(5, DOWN, 1).await;
    downlink.notify(&key("mon-1"), "before".into()).unwrap();
    let mut acks = Vec::new();
    let (before, text) = come_down(&mut client, &mut acks).await;
    assert_eq!(text, "before");
    for id in 1..=SENT {
        client.send(&publish(5, 1, id, TOPIC, &numerics(u64::from(id)))).await;
        if id == SENT / 2 {
            downlink.crash_router().unwrap();
            // Of these the old router has some, and none of them is in the new one.
            for n in 0..3 {
                downlink.notify(&key("mon-1"), format!("while {n}").into()).unwrap();
            }
        }
    }
    let mut last = before;
    for n in 0..3 {
        let (id, text) = come_down(&mut client, &mut acks).await;
        assert_eq!(text, format!("while {n}"));
        assert!(id > last, "{id}: the device has not acknowledged {last}");
        last = id;
    }
    while acks.len() < usize::from(SENT) {
        acks.push(puback(&client.packet().await.unwrap()));
    }
    assert_eq!(acks, (1..=SENT as u8).collect::<Vec<u8>>());
    for id in std::iter::once(before).chain(last - 2..=last) {
        acknowledge(&mut client, id).await;
    }
    for (device, session) in [("mon-1", &mut client), ("mon-2", &mut other)] {
        downlink.notify(&key(device), "after".into()).unwrap();
        let (id, text) = come_down(session, &mut Vec::new()).await;
        assert_eq!(text, "after");
        acknowledge(session, id).await;
        session.send(&[0xc0, 0]).await;
        assert_eq!(session.packet().await, Some(vec![0xd0, 0]), "and nothing twice");
    }
    assert_eq!(stand.publishes().len(), usize::from(SENT));
    assert_eq!(stand.metric("wardline_front_router_deaths_total").await, 1);
    assert_eq!(stand.metric("wardline_front_sessions_relinked_total").await, 2);
    assert!(stand.audits().iter().all(|event| event.action != "session_closed"));
}

#[tokio::test]
async fn a_subscription_that_the_router_died_over_is_answered_by_the_next() {
    let stand = Stand::new().await;
    let mut client = stand.session("mon-1", 5).await;
    client.subscribe(5, "wl/1/demo/mon-1/down/command", 1).await;
    for round in 1..=ROUTER_RESTARTS_MAX as u64 {
        stand.node.downlink().unwrap().crash_router().unwrap();
        client.send(&subscribe(5, 9, "wl/1/demo/mon-1/down/notice", 1)).await;
        assert_eq!(client.packet().await, Some(vec![0x90, 4, 0, 9, 0, 1]));
        until_metric(&stand, "wardline_front_sessions_relinked_total", round).await;
        stand.node.downlink().unwrap().notify(&key("mon-1"), format!("{round}").into()).unwrap();
        assert_eq!(come_down(&mut client, &mut Vec::new()).await.1, format!("{round}"));
    }
}

#[tokio::test]
async fn when_routers_die_again_and_again_sessions_that_use_them_are_ended_and_telemetry_is_not() {
    let stand = Stand::new().await;
    let mut telemetry = stand.session("mon-2", 5).await;
    let mut client = stand.session("mon-1", 5).await;
    client.subscribe(5, DOWN, 1).await;
    for death in 1..=ROUTER_RESTARTS_MAX as u64 {
        stand.node.downlink().unwrap().crash_router().unwrap();
        until_metric(&stand, "wardline_front_sessions_relinked_total", death).await;
    }
    assert_eq!(stand.metric("wardline_front_router_down").await, 0);
    stand.node.downlink().unwrap().crash_router().unwrap();
    assert_eq!(client.packet().await, Some(vec![0xe0, 2, 0x8b, 0]));
    assert_eq!(client.packet().await, None);
    assert_eq!(stand.metric("wardline_front_router_down").await, 1);
    let mut again = stand.session("mon-1", 5).await;
    again.send(&subscribe(5, 3, DOWN, 1)).await;
    assert_eq!(again.packet().await, Some(vec![0xe0, 2, 0x8b, 0]));
    telemetry.send(&publish(5, 1, 7, "wl/1/demo/mon-2/up/telemetry", &numerics(1))).await;
    assert_eq!(telemetry.packet().await, Some(vec![0x40, 2, 0, 7]));
}

#[tokio::test]
async fn a_device_that_acknowledges_nothing_has_a_window_and_a_bounded_mailbox() {
    let stand = Stand::new().await;
    let downlink = stand.node.downlink().unwrap();
    let mut client = stand.session("mon-1", 5).await;
    client.subscribe(5, DOWN, 1).await;
    let total = DOWN_INFLIGHT_MAX + DOWN_WAITING_MAX + 5;
    let mut ids = Vec::new();
    for n in 0..total {
        downlink.notify(&key("mon-1"), format!("{n}").into()).unwrap();
        if n < DOWN_INFLIGHT_MAX {
            ids.push(come_down(&mut client, &mut Vec::new()).await.0);
        }
    }
    until_metric(&stand, "wardline_front_downlink_refused_total", 5).await;
    downlink.crash_router().unwrap();
    client.send(&[0xc0, 0]).await;
    assert_eq!(client.packet().await, Some(vec![0xd0, 0]), "the window is full");
    for n in DOWN_INFLIGHT_MAX..total - 5 {
        acknowledge(&mut client, ids.remove(0)).await;
        let (id, text) = come_down(&mut client, &mut Vec::new()).await;
        assert_eq!(text, format!("{n}"));
        assert!(!ids.contains(&id), "{id} is in use");
        ids.push(id);
    }
}

#[tokio::test]
async fn what_waits_for_a_device_is_bounded_in_bytes_and_none_of_it_is_lost() {
    let stand = Stand::new().await;
    let downlink = stand.node.downlink().unwrap();
    let mut client = stand.session("mon-1", 5).await;
    client.subscribe(5, DOWN, 1).await;
    // Packets of the client are short; the large ones are those that wait and are refused.
    for n in 0..DOWN_INFLIGHT_MAX {
        downlink.notify(&key("mon-1"), format!("{n}").into()).unwrap();
    }
    let mut ids = Vec::new();
    for _ in 0..DOWN_INFLIGHT_MAX {
        ids.push(come_down(&mut client, &mut Vec::new()).await.0);
    }
    downlink.notify(&key("mon-1"), vec![b'x'; DOWN_WAITING_BYTES_MAX].into()).unwrap();
    downlink.notify(&key("mon-1"), "small".into()).unwrap();
    until_metric(&stand, "wardline_front_downlink_refused_total", 1).await;
    acknowledge(&mut client, ids.remove(0)).await;
    assert_eq!(come_down(&mut client, &mut Vec::new()).await.1, "small");
}

#[tokio::test]
async fn a_refused_subscription_is_counted_and_audited_as_what_it_is() {
    let stand = Stand::new().await;
    let mut client = stand.session("mon-1", 5).await;
    client.send(&subscribe(5, 9, "wl/1/demo/mon-2/down/#", 1)).await;
    assert_eq!(client.packet().await, Some(vec![0x90, 4, 0, 9, 0, 0x87]));
    stand.audited("refused", "WL-TOPIC-001").await;
    let told = stand.audits().into_iter().find(|event| event.action == "refused").unwrap();
    assert_eq!(told.target, "subscribe wl/1/demo/mon-2/down/#");
    assert_eq!(stand.node.front_stats()[&key("mon-1")].refused.len(), 1);
}
