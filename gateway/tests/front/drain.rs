//! A front that is told to stop: readiness goes first, then devices are sent on, and nothing acknowledged is lost.

use crate::support::{Client, PATIENCE, Stand, TOPIC, connect, numerics, publish};
use firmware_sim::{DeviceOptions, run_device};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;
use wardline::front::DrainOptions;
use wardline::node::NodeOptions;
use wardline_edge::{Agent, AgentOptions, FrontAddr, LinkAddr};
use wardline_proto::v1::Frame;

const ELSEWHERE: &str = "front-2.example:8883 front-3.example:8883";
/// Publishes that are under way when the front is told to stop.
const SENT: u16 = 60;

fn to() -> Vec<String> {
    ELSEWHERE.split(' ').map(ToOwned::to_owned).collect()
}

fn drains(drain: DrainOptions) -> impl FnOnce(&mut NodeOptions) {
    move |options| options.front.drain = drain
}

/// DISCONNECT or CONNACK, with the reason 0x9c and where to go.
fn assert_sent_on(packet: &[u8], kind: u8) {
    let reason = if kind == 0x20 { 3 } else { 2 };
    assert_eq!((packet[0], packet[reason]), (kind, 0x9c), "{packet:?}");
    let properties = &packet[reason + 1..];
    assert_eq!(properties[0] as usize, properties.len() - 1, "all of them are there");
    assert_eq!((properties[1], properties[2], properties[3] as usize), (0x1c, 0, ELSEWHERE.len()));
    assert_eq!(&properties[4..], ELSEWHERE.as_bytes());
}

/// Reads acknowledgements until something else comes, or the end.
async fn acknowledged(client: &mut Client) -> (BTreeSet<u16>, Option<Vec<u8>>) {
    let mut ids = BTreeSet::new();
    loop {
        match client.packet().await {
            Some(packet) if packet[0] == 0x40 => {
                assert!(packet.len() == 4 || packet[4] == 0, "accepted: {packet:?}");
                assert!(ids.insert(u16::from_be_bytes([packet[2], packet[3]])), "acknowledged twice");
            }
            last => return (ids, last),
        }
    }
}

#[tokio::test]
async fn what_was_taken_is_acknowledged_before_a_device_is_sent_on() {
    let drain = DrainOptions { to: to(), ..DrainOptions::default() };
    let stand = Stand::with(drains(drain)).await;
    let (mut new, mut old) = (stand.session("mon-1", 5).await, stand.session("mon-2", 4).await);
    for id in 1..=SENT {
        new.send(&publish(5, 1, id, TOPIC, &numerics(u64::from(id)))).await;
        let topic = TOPIC.replace("mon-1", "mon-2");
        old.send(&publish(4, 1, id, &topic, &numerics(u64::from(id)))).await;
    }
    let Stand { dir, node } = stand;
    let (stopped, (new_acks, last), (old_acks, end)) =
        tokio::join!(node.shutdown(), acknowledged(&mut new), acknowledged(&mut old));
    stopped.unwrap();
    assert_sent_on(&last.expect("a DISCONNECT"), 0xe0);
    assert_eq!(new.packet().await, None, "then the end");
    assert_eq!(end, None, "3.1.1 has no DISCONNECT of a server");
    let again = Stand::again(dir).await;
    let mut journaled = [BTreeSet::new(), BTreeSet::new()];
    for publish in again.publishes() {
        let seq = Frame::decode(publish.payload).unwrap().seq as u16;
        assert!(journaled[usize::from(publish.device == "mon-2")].insert(seq), "journaled once");
    }
    assert_eq!([new_acks, old_acks], journaled, "what the journal has is what was acknowledged");
}

#[tokio::test]
async fn readiness_goes_before_any_session_does() {
    let drain = DrainOptions { to: to(), notice_ms: 1_500, ..DrainOptions::default() };
    let stand = Stand::with(drains(drain)).await;
    let mut client = stand.session("mon-1", 5).await;
    let dialer = stand.dialer();
    assert!(dialer.page("/readyz").await.starts_with("HTTP/1.0 200"));
    let Stand { dir: _dir, node } = stand;
    let told = Instant::now();
    let stopping = tokio::spawn(node.shutdown());
    let not_ready = async {
        loop {
            let text = dialer.page("/readyz").await;
            if text.starts_with("HTTP/1.0 503") {
                return text;
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(1), not_ready).await.expect("soon");
    assert!(text.ends_with("draining\n"), "{text}");
    // Whoever is still sent here is served as before.
    client.send(&publish(5, 1, 7, TOPIC, &numerics(7))).await;
    assert_eq!(client.packet().await.unwrap()[..3], [0x40, 2, 0]);
    let mut late = dialer.session("mon-2", 5).await;
    assert!(told.elapsed() < Duration::from_millis(1_500), "all of this within the notice");
    assert_sent_on(&client.packet().await.unwrap(), 0xe0);
    assert_sent_on(&late.packet().await.unwrap(), 0xe0);
    assert!(told.elapsed() >= Duration::from_millis(1_500), "not before");
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn sessions_go_at_a_pace_and_who_connects_meanwhile_is_sent_on_at_once() {
    let drain =
        DrainOptions { to: to(), sessions_per_second: 1, within_ms: 3_000, ..DrainOptions::default() };
    let stand = Stand::with(drains(drain)).await;
    let mut clients = [stand.session("mon-1", 5).await, stand.session("mon-2", 5).await];
    let dialer = stand.dialer();
    let Stand { dir: _dir, node } = stand;
    let stopping = tokio::spawn(node.shutdown());
    let [first, second] = &mut clients;
    // The first goes at once, the other a second later: meanwhile it is served.
    let (gone, stays, came) = tokio::select! {
        packet = first.packet() => (packet.unwrap(), second, "mon-1"),
        packet = second.packet() => (packet.unwrap(), first, "mon-2"),
    };
    assert_sent_on(&gone, 0xe0);
    let mut again = dialer.dial(came).await;
    again.send(&connect(5, came, 60)).await;
    assert_sent_on(&again.packet().await.unwrap(), 0x20);
    let mut old = dialer.dial(came).await;
    old.send(&connect(4, came, 60)).await;
    assert_eq!(old.packet().await.unwrap(), [0x20, 2, 0, 3], "unavailable, for 3.1.1");
    let other = if came == "mon-1" { "mon-2" } else { "mon-1" };
    stays.send(&publish(5, 1, 9, &TOPIC.replace("mon-1", other), &numerics(9))).await;
    assert_eq!(stays.packet().await.unwrap()[..3], [0x40, 2, 0]);
    assert_sent_on(&stays.packet().await.unwrap(), 0xe0);
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_agent_goes_on_at_the_other_front_and_nothing_is_lost() {
    let [first, second] = Stand::pair().await;
    let server = FrontAddr { host: "localhost".to_owned(), port: first.node.addrs().mqtt.port() };
    let spool = tempfile::tempdir().unwrap();
    let mut options = AgentOptions::new(Some(server), first.certs("mon-1"), spool.path().join("spool"));
    options.link = LinkAddr::Tcp(([127, 0, 0, 1], 0).into());
    let agent = Agent::start(options).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let link = agent.link_addr().to_string().parse().unwrap();
    let device = tokio::spawn(run_device(DeviceOptions::new(link, "mon-1"), stopped));
    until(|| first.publishes().len() >= 6).await;
    let Stand { dir, node } = first;
    node.shutdown().await.unwrap();
    let told = Instant::now();
    until(|| second.publishes().len() >= 6).await;
    println!("6 publishes at the other front {:.2?} after the first was gone", told.elapsed());
    stop.send_replace(true);
    device.await.unwrap().unwrap();
    assert!(agent.wait_until_sent(PATIENCE).await, "{:?}", agent.stats());
    agent.shutdown().await.unwrap();
    let first = Stand::again(dir).await;
    let mut lanes: BTreeMap<i32, BTreeSet<u64>> = BTreeMap::new();
    let mut sent_again = 0;
    for publish in [&first, &second].into_iter().flat_map(Stand::publishes) {
        let frame = Frame::decode(publish.payload).unwrap();
        sent_again += usize::from(!lanes.entry(frame.lane).or_default().insert(frame.seq));
    }
    assert_eq!(sent_again, 0, "the first front had acknowledged everything that it journaled");
    for (lane, seqs) in lanes {
        let (low, high) = (seqs.first().unwrap(), seqs.last().unwrap());
        assert_eq!(high - low + 1, seqs.len() as u64, "lane {lane} is whole");
    }
}

async fn until(done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time");
}
