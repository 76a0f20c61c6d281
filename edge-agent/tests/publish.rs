//! From the spool to the gateway: nothing lost, nothing twice, alarms first, whatever the gateway does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, PubAckReason};
use std::time::Duration;
use support::{
    Device, Gateway, PATIENCE, Pki, Reaction, alarm, connected, numeric, options, start, until, waveform,
};
use tempfile::tempdir;
use wardline_edge::LaneIndex;
use wardline_proto::v1::Lane;

const READINGS: u64 = 60;

#[tokio::test]
async fn frames_arrive_numbered_on_their_topics_and_leave_the_spool() {
    let (_kept, gateway, agent, mut device) = connected().await;
    for value in 1..=3 {
        device.send(numeric(f64::from(value))).await;
    }
    device.send(alarm("low-spo2")).await;
    device.send(waveform(1, 250)).await;
    device.wait_acked().await;
    assert!(agent.wait_until_sent(PATIENCE).await);

    let numerics = gateway.bodies(Lane::Numerics);
    assert_eq!(numerics, (1..=3).map(|n| (n, numeric(n as f64))).collect::<Vec<_>>());
    assert_eq!(gateway.bodies(Lane::Alarm), [(1, alarm("low-spo2"))]);
    assert_eq!(gateway.bodies(Lane::Waveforms), [(1, waveform(1, 250))]);
    let received = gateway.received();
    assert!(received.iter().all(|one| one.epoch == received[0].epoch));
    let topic = |lane| received.iter().find(|one| one.lane == lane).unwrap().topic.clone();
    assert_eq!(topic(Lane::Alarm), "wl/1/demo/m-1/up/alarm");
    assert_eq!(topic(Lane::Waveforms), "wl/1/demo/m-1/up/telemetry");
    let stats = agent.shutdown().await.unwrap();
    assert_eq!((stats.total().framed, stats.total().acked, stats.total().spooled), (5, 5, 0));
    assert_eq!(stats.link_acked_seq, 5);
}

/// Sends readings to a gateway that follows `script` and checks that each is acknowledged, once and unchanged.
async fn nothing_is_lost(
    script: impl FnMut(&support::Received, usize) -> Reaction + Send + 'static,
) -> Gateway {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    gateway.script(script);
    let agent = start(options(&pki.device("m-1"), dir.path(), gateway.addr.port())).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    for value in 1..=READINGS {
        device.send(numeric(value as f64)).await;
    }
    device.wait_acked().await;
    assert!(agent.wait_until_sent(PATIENCE).await, "{:?}", agent.stats());
    assert_eq!(gateway.acked(Lane::Numerics), (1..=READINGS).collect::<Vec<_>>());
    let expected: Vec<_> = (1..=READINGS).map(|seq| (seq, numeric(seq as f64))).collect();
    assert_eq!(gateway.bodies(Lane::Numerics), expected);
    let stats = agent.shutdown().await.unwrap();
    assert_eq!(stats.lane(LaneIndex::NUMERICS).acked, READINGS);
    gateway
}

#[tokio::test]
async fn swallowed_acknowledgements_are_sent_again_on_a_new_connection() {
    let gateway =
        nothing_is_lost(|_, count| if count % 25 == 5 { Reaction::Swallow } else { Reaction::Ack }).await;
    assert!(gateway.connects() > 1);
}

#[tokio::test]
async fn a_gateway_that_hangs_up_or_disconnects_gets_the_rest_later() {
    let script = |_: &support::Received, count| match count % 20 {
        7 => Reaction::HangUp,
        15 => Reaction::Disconnect(DisconnectReasonCode::ServerBusy),
        _ => Reaction::Ack,
    };
    assert!(nothing_is_lost(script).await.connects() > 2);
}

#[tokio::test]
async fn a_quota_refusal_makes_the_frame_wait_and_not_the_connection() {
    let script = |_: &support::Received, count| {
        if count % 10 == 3 { Reaction::Refuse(PubAckReason::QuotaExceeded) } else { Reaction::Ack }
    };
    assert_eq!(nothing_is_lost(script).await.connects(), 1);
}

#[tokio::test]
async fn a_frame_refused_for_good_is_kept_reported_and_blocks_nothing() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    gateway.script(|frame, _| match (frame.lane, frame.seq) {
        (Lane::Numerics, 2) => Reaction::Refuse(PubAckReason::PayloadFormatInvalid),
        _ => Reaction::Ack,
    });
    let agent = start(options(&pki.device("m-1"), dir.path(), gateway.addr.port())).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    for value in 1..=4 {
        device.send(numeric(f64::from(value))).await;
    }
    device.wait_acked().await;
    assert!(agent.wait_until_sent(PATIENCE).await, "{:?}", agent.stats());
    until("the refusal is reported", || !gateway.acked(Lane::Events).is_empty()).await;
    assert_eq!(gateway.acked(Lane::Numerics), [1, 3, 4]);
    let event = gateway.bodies(Lane::Events)[0].1.events[0].clone();
    assert_eq!(
        (event.name.as_str(), event.detail.as_str()),
        ("frame_refused", "lane=numerics seq=2 reason=0x99")
    );
    assert!(dir.path().join("refused").exists());
    let stats = agent.shutdown().await.unwrap();
    assert_eq!(stats.lane(LaneIndex::NUMERICS).refused, 1);
}

#[tokio::test]
async fn a_refused_frame_that_cannot_be_kept_ends_no_agent() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    gateway.script(|frame, _| match (frame.lane, frame.seq) {
        (Lane::Numerics, 1) => Reaction::Refuse(PubAckReason::PayloadFormatInvalid),
        _ => Reaction::Ack,
    });
    let agent = start(options(&pki.device("m-1"), dir.path(), gateway.addr.port())).await;
    // No folder can be made of it.
    std::fs::write(dir.path().join("refused"), b"").unwrap();
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    device.send(numeric(1.0)).await;
    device.send(numeric(2.0)).await;
    device.wait_acked().await;
    until("the refusal is reported", || !gateway.acked(Lane::Events).is_empty()).await;
    until("the lane goes on", || gateway.acked(Lane::Numerics) == [2]).await;
    let event = gateway.bodies(Lane::Events)[0].1.events[0].clone();
    assert_eq!(event.detail, "lane=numerics seq=1 reason=0x99 kept=no");
    assert_eq!(agent.shutdown().await.unwrap().refused_lost, 1);
}

#[tokio::test]
async fn alarms_overtake_a_backlog() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    // Nobody listens at first: the backlog builds up.
    let gateway = Gateway::start(&pki).await;
    let addr = gateway.addr;
    drop(gateway);
    let agent = start(options(&pki.device("m-1"), dir.path(), addr.port())).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    for seed in 0..40 {
        device.send(waveform(seed, 250)).await;
        device.send(numeric(f64::from(seed))).await;
    }
    device.send(alarm("asystole")).await;
    device.wait_acked().await;
    let gateway = Gateway::start_on(&pki, addr).await;
    assert!(agent.wait_until_sent(PATIENCE).await, "{:?}", agent.stats());
    let lanes: Vec<_> = gateway.received().iter().map(|one| one.lane).collect();
    assert_eq!(lanes[0], Lane::Alarm);
    let last_numeric = lanes.iter().rposition(|lane| *lane == Lane::Numerics).unwrap();
    let first_waveform = lanes.iter().position(|lane| *lane == Lane::Waveforms).unwrap();
    assert!(last_numeric < first_waveform);
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_alarm_gets_through_a_window_full_of_unanswered_waveforms() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    gateway.script(|frame, _| if frame.lane == Lane::Waveforms { Reaction::Swallow } else { Reaction::Ack });
    let mut options = options(&pki.device("m-1"), dir.path(), gateway.addr.port());
    (options.in_flight_max, options.ack_timeout) = (2, Duration::from_secs(60));
    let agent = start(options).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    for seed in 0..6 {
        device.send(waveform(seed, 50)).await;
    }
    until("the window is full", || gateway.received().len() == 2).await;
    device.send(alarm("asystole")).await;
    until("the alarm is acknowledged", || gateway.acked(Lane::Alarm) == [1]).await;
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_unsent_at_a_stop_is_sent_by_the_next_start_under_the_same_numbers() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    gateway.script(|_, count| if count > 10 { Reaction::Swallow } else { Reaction::Ack });
    let certs = pki.device("m-1");
    let mut device = Device::new(7);
    for round in 0..3_u64 {
        let agent = start(options(&certs, dir.path(), gateway.addr.port())).await;
        device.connect(agent.link_addr()).await;
        for reading in 1..=20 {
            device.send(numeric((round * 20 + reading) as f64)).await;
        }
        device.wait_acked().await;
        if round == 2 {
            gateway.script(|_, _| Reaction::Ack);
            assert!(agent.wait_until_sent(PATIENCE).await);
        }
        agent.shutdown().await.unwrap();
    }
    let expected: Vec<_> = (1..=60).map(|seq| (seq, numeric(seq as f64))).collect();
    assert_eq!(gateway.bodies(Lane::Numerics), expected);
    let epochs = gateway.received();
    assert!(epochs.iter().all(|one| one.epoch == epochs[0].epoch));
}

#[tokio::test]
async fn a_spool_is_never_sent_under_another_certificate() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    let agent = start(options(&pki.device("m-1"), dir.path(), gateway.addr.port())).await;
    agent.shutdown().await.unwrap();
    let other =
        wardline_edge::Agent::start(options(&pki.device("m-2"), dir.path(), gateway.addr.port())).await;
    let error = other.err().expect("started").to_string();
    assert!(error.contains("demo/m-1") && error.contains("demo/m-2"), "{error}");
}
