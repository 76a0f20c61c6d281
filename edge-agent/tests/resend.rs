//! Sending again what the gateway asks for: the same bytes, behind what is live, told to its end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use bytes::Bytes;
use prost::Message;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{Device, Gateway, Pki, Reaction, alarm, connected, numeric, options, start, until};
use tempfile::tempdir;
use wardline_proto::v1::{Command, DeviceEvent, Lane, Resend, ResendDone, SeqRange, command};

const FRAMES: u64 = 300;

fn ask(request: u64, epoch: u64, lane: Lane, ranges: &[(u64, u64)]) -> Bytes {
    let ranges = ranges.iter().map(|(first, last)| SeqRange { first: *first, last: *last }).collect();
    let resend = Resend { request, epoch, lane: lane.into(), ranges, asked_at_us: 5 };
    Command { kind: Some(command::Kind::Resend(resend)) }.encode_to_vec().into()
}

/// Returns every event that came, by position, each once.
fn events(gateway: &Gateway) -> Vec<DeviceEvent> {
    gateway.bodies(Lane::Events).into_iter().flat_map(|(_, body)| body.events).collect()
}

fn answers(gateway: &Gateway) -> Vec<ResendDone> {
    events(gateway).into_iter().filter_map(|event| event.resend_done).collect()
}

fn done(request: u64, sent: u64, not_held: u64, beyond: u64) -> ResendDone {
    ResendDone { request, sent, not_held, beyond }
}

/// How often each position of a lane came.
fn times(gateway: &Gateway, lane: Lane) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    for one in gateway.received().iter().filter(|one| one.lane == lane) {
        *times.entry(one.seq).or_default() += 1;
    }
    times
}

#[tokio::test]
async fn what_is_asked_for_comes_again_byte_for_byte_and_behind_what_is_live() {
    let (_kept, gateway, agent, mut device) = connected().await;
    for number in 0..FRAMES {
        device.send(numeric(number as f64)).await;
    }
    device.wait_acked().await;
    until("all is acknowledged", || gateway.acked(Lane::Numerics).len() as u64 == FRAMES).await;
    let epoch = gateway.received()[0].epoch;
    gateway.command(ask(1, epoch, Lane::Numerics, &[(11, 20), (31, FRAMES + 40)]));
    // While it sends again, an alarm is not held up.
    device.send(alarm("begin")).await;
    until("it begins", || times(&gateway, Lane::Numerics).values().any(|n| *n > 1)).await;
    let mut slowest = Duration::ZERO;
    for number in 0..10 {
        let began = Instant::now();
        device.send(alarm(&format!("c{number}"))).await;
        until("the alarm is there", || gateway.acked(Lane::Alarm).len() == number + 2).await;
        slowest = slowest.max(began.elapsed());
    }
    assert!(answers(&gateway).is_empty(), "it still sends again");
    until("it is done", || !answers(&gateway).is_empty()).await;
    assert_eq!(answers(&gateway), [done(1, 10 + FRAMES - 30, 0, 40)]);
    gateway.bodies(Lane::Numerics); // Fails when a position came with other bytes.
    for (seq, times) in times(&gateway, Lane::Numerics) {
        let is_asked = (11..=20).contains(&seq) || seq > 30;
        assert_eq!(times, 1 + usize::from(is_asked), "{seq}");
    }
    // The gateway has the answer before its agent hears so.
    until("nothing waits", || agent.stats().total().spooled == 0).await;
    assert_eq!(agent.stats().resent, FRAMES - 20);
    println!("{} frames sent again; slowest of 10 alarms meanwhile {slowest:?}", agent.stats().resent);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_and_what_makes_no_sense_changes_nothing() {
    let ((dir, _pki), gateway, agent, mut device) = connected().await;
    device.send(numeric(1.0)).await;
    until("it is acknowledged", || gateway.acked(Lane::Numerics) == [1]).await;
    let epoch = gateway.received()[0].epoch;
    let unknown = Bytes::from_static(&[0x7a, 3, 1, 2, 3]);
    for nonsense in [Bytes::from_static(b"\xff\xff\xff"), unknown, Bytes::new()] {
        gateway.command(nonsense);
    }
    for ranges in
        [&[(0, 5)][..], &[(5, 4)], &[(1, 5), (5, 9)], &[(1, u64::MAX)], &[(1, 2_000_000)], &[(1, 1); 300]]
    {
        gateway.command(ask(90, epoch, Lane::Numerics, ranges));
    }
    gateway.command(ask(91, epoch, Lane::Unspecified, &[(1, 1)]));
    gateway.command(ask(2, epoch, Lane::Waveforms, &[(5, 9)]));
    gateway.command(ask(3, epoch - 1, Lane::Numerics, &[(1, 3), (7, 8)]));
    gateway.command(ask(4, epoch, Lane::Numerics, &[]));
    gateway.command(ask(5, epoch, Lane::Numerics, &[(1, 1)]));
    gateway.command(ask(5, epoch, Lane::Numerics, &[(1, 1)]));
    device.send(numeric(2.0)).await;
    until("all is told", || answers(&gateway).len() == 4).await;
    assert_eq!(answers(&gateway), [done(2, 0, 0, 5), done(3, 0, 5, 0), done(4, 0, 0, 0), done(5, 1, 0, 0)]);
    assert_eq!(gateway.connects(), 1, "nothing of it ended the connection");
    gateway.command(ask(5, epoch, Lane::Numerics, &[(1, 1)]));
    device.send(numeric(3.0)).await;
    until("it goes on", || gateway.acked(Lane::Numerics) == [1, 2, 3]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        times(&gateway, Lane::Numerics),
        BTreeMap::from([(1, 2), (2, 1), (3, 1)]),
        "none is done twice"
    );
    let status = std::fs::read_to_string(dir.path().join("status.json")).unwrap_or_default();
    println!("{status}");
    agent.shutdown().await.unwrap();
    let status = std::fs::read_to_string(dir.path().join("status.json")).unwrap();
    assert!(status.contains("WL-RSD-001"), "{status}");
}

#[tokio::test]
async fn what_is_not_held_any_more_is_told_as_a_gap_and_a_restart_goes_on() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    let certs = pki.device("m-1");
    let mut keeping = options(&certs, dir.path(), gateway.addr.port());
    keeping.keep_acked = Duration::ZERO;
    let agent = start(keeping.clone()).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    // More than one segment, so that some of it goes.
    for number in 0..120 {
        device.send(support::waveform(number, 8_000)).await;
    }
    device.wait_acked().await;
    assert!(agent.wait_until_sent(support::PATIENCE).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    agent.shutdown().await.unwrap();

    let epoch = gateway.received()[0].epoch;
    let before = gateway.received().len();
    let mut hung_up = false;
    gateway.script(move |one, count| {
        let again = one.lane == Lane::Waveforms && count > before + 5;
        if again && !std::mem::replace(&mut hung_up, true) { Reaction::HangUp } else { Reaction::Ack }
    });
    gateway.command(ask(1, epoch, Lane::Waveforms, &[(1, 120)]));
    let agent = start(keeping).await;
    until("it is done", || !answers(&gateway).is_empty()).await;
    let told = answers(&gateway)[0];
    println!("{told:?} over {} connections", gateway.connects());
    assert!(told.sent > 0 && told.not_held > 0 && told.sent + told.not_held == 120 && told.beyond == 0);
    assert_eq!(gateway.connects(), 3, "the connection was lost midway");
    let gaps: Vec<_> = events(&gateway).into_iter().filter_map(|event| event.spool_gap).collect();
    assert_eq!((gaps.len(), gaps[0].first_seq, gaps[0].last_seq), (1, 1, told.not_held));
    let again: Vec<_> =
        times(&gateway, Lane::Waveforms).into_iter().filter(|(_, n)| *n > 1).map(|(seq, _)| seq).collect();
    assert_eq!(again, (told.not_held + 1..=120).collect::<Vec<_>>());
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_refused_when_it_comes_again_is_not_told_as_lost() {
    let (_kept, gateway, agent, mut device) = connected().await;
    for number in 0..3 {
        device.send(numeric(f64::from(number))).await;
    }
    until("all is acknowledged", || gateway.acked(Lane::Numerics).len() == 3).await;
    let epoch = gateway.received()[0].epoch;
    gateway.script(|one, _count| match (one.lane, one.seq) {
        (Lane::Numerics, 2) => Reaction::Refuse(PubAckReason::PayloadFormatInvalid),
        _ => Reaction::Ack,
    });
    gateway.command(ask(1, epoch, Lane::Numerics, &[(1, 3)]));
    device.send(alarm("begin")).await;
    until("it is done", || !answers(&gateway).is_empty()).await;
    assert_eq!(answers(&gateway), [done(1, 2, 0, 0)]);
    assert!(events(&gateway).iter().all(|event| event.spool_gap.is_none()), "nothing is lost");
    let stats = agent.stats();
    assert_eq!((stats.resent, stats.not_held, stats.resend_refused, stats.total().refused), (2, 0, 1, 0));
    // It is still there.
    gateway.script(|_one, _count| Reaction::Ack);
    gateway.command(ask(2, epoch, Lane::Numerics, &[(2, 2)]));
    device.send(alarm("again")).await;
    until("it is done", || answers(&gateway).len() == 2).await;
    assert_eq!(answers(&gateway)[1], done(2, 1, 0, 0));
    agent.shutdown().await.unwrap();
}
