//! A real JetStream of three nodes: the conformance suite, and what becomes of records when nodes die.

use crate::conformance::{self, Abilities, patient};
use crate::nats::Nats;
use crate::pump::{Pump, bus, outgoing, partition, read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wardline_bus::jetstream::{JetStream, JetStreamOptions};
use wardline_bus::{BusError, BusOptions, Engine, Position, Topic};

fn options(nats: &Nats, topic: &str) -> JetStreamOptions {
    let topic = Topic { name: topic.into(), partitions: 2, bytes_max: 64 * 1024 * 1024, ..Topic::default() };
    JetStreamOptions { servers: nats.servers(), tls: None, topic, timeout: Duration::from_secs(10) }
}

fn engine(nats: &Nats, topic: &str) -> Arc<dyn Engine> {
    Arc::new(JetStream::new(options(nats, topic)).unwrap())
}

/// Waits for a bus that shall get over a fault within seconds.
fn brisk() -> BusOptions {
    BusOptions {
        connect_timeout: Duration::from_secs(6),
        publish_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(2),
        idle_check: Duration::from_secs(1),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
    }
}

/// Waits until a topic takes records: a cluster that has just started elects first.
async fn ready(nats: &Nats, topic: &str) -> Arc<dyn Engine> {
    let timeout = Duration::from_millis(1500);
    let engine = JetStream::new(JetStreamOptions { timeout, ..options(nats, topic) }).unwrap();
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let bus = bus(engine.clone(), brisk());
    let published = async {
        while let Err(error) = bus.submit(&outgoing(1, 1)).await.unwrap().position().await {
            assert_eq!(error.kind(), wardline_bus::ErrorKind::Retry, "{error}");
            println!("  {topic}: {error}");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), published).await.expect("a topic within a minute");
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_conforms() {
    let nats = Nats::start();
    ready(&nats, "ready").await;
    let abilities = Abilities { drops_retries: true, trims: true, backlog: 5_000 };
    conformance::all(&|topic| engine(&nats, topic), abilities).await;
    let differs = Topic { partitions: 3, ..options(&nats, "differs").topic };
    let differs = JetStream::new(JetStreamOptions { topic: differs, ..options(&nats, "differs") }).unwrap();
    conformance::another_topic_is_refused(engine(&nats, "differs"), Arc::new(differs)).await;
    a_full_stream_refuses_and_keeps_what_it_has(&nats).await;
    a_topic_without_room_is_refused_by_its_code(&nats).await;
}

async fn a_full_stream_refuses_and_keeps_what_it_has(nats: &Nats) {
    let small = Topic { bytes_max: 1024 * 1024, ..options(nats, "full").topic };
    let engine = JetStream::new(JetStreamOptions { topic: small, ..options(nats, "full") }).unwrap();
    let bus = bus(Arc::new(engine), patient());
    let body = bytes::Bytes::from(vec![1; 100_000]);
    let (mut taken, mut refused) = (0, None);
    for n in 1..=20 {
        let mut large = outgoing(0, n);
        large.record.content = wardline_bus::Content::Body(body.clone());
        match bus.submit(&large).await.unwrap().position().await {
            Ok(_) => taken = n,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(BusError::Full(_))), "{refused:?}");
    let got = read(&mut bus.tail(partition(0), Position::EARLIEST).unwrap(), taken as usize).await;
    assert!(got.iter().map(|(_, record)| record.n.get()).eq(1..=taken), "the oldest is still there");
    println!("  a full stream refuses after {taken} records of 100 kB and keeps them");
}

async fn a_topic_without_room_is_refused_by_its_code(nats: &Nats) {
    // The servers have 2 GB each.
    let large = Topic { bytes_max: Topic::default().bytes_max, ..options(nats, "large").topic };
    let engine = JetStream::new(JetStreamOptions { topic: large, ..options(nats, "large") }).unwrap();
    let bus = bus(Arc::new(engine), brisk());
    assert!(bus.trouble().is_none());
    let asked = Instant::now();
    let refused = loop {
        let refused = bus.submit(&outgoing(0, 1)).await.unwrap().position().await.unwrap_err();
        // A server that looks for room may take longer than one wait.
        if refused.refusal().code() != "WL-BUS-001" || asked.elapsed() > Duration::from_secs(20) {
            break refused;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (code, told) = (refused.refusal().code(), refused.to_string());
    assert_eq!((code, refused.kind()), ("WL-BUS-006", wardline_bus::ErrorKind::Retry), "{told}");
    assert!(told.contains("large of 274877906944 bytes (cluster.topic_bytes_max) on 3 servers"), "{told}");
    let trouble = bus.trouble().expect("an operator has to see to it");
    assert_eq!(trouble.to_string(), told);
    println!("  {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_loses_its_leader_while_producing() {
    let mut nats = Nats::start();
    let engine = ready(&nats, "leader").await;
    let mut pump = Pump::start(engine, brisk(), 4_000, Duration::from_millis(1));
    pump.reach(500).await;
    let leader = nats.leader("leader").await;
    nats.kill(leader);
    pump.reach(1_500).await;
    // Back with an empty disk: the others give it what it missed.
    nats.wipe(leader);
    nats.start_node(leader);
    // A server without its disk has forgotten whom it voted for: the next one may fail when it has caught up.
    pump.replicas_follow().await;
    pump.reach(2_500).await;
    let leader = nats.leader("leader").await;
    nats.kill(leader);
    nats.start_node(leader);
    // How long the engine takes to elect is printed, and no promise of ours.
    let outcome = pump.finish().await;
    println!("{outcome:?}");
    assert!(outcome.bus.failed > 0, "no publish met the fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_dies_whole_and_comes_back() {
    let mut nats = Nats::start();
    let engine = ready(&nats, "whole").await;
    let mut pump = Pump::start(engine, brisk(), 2_000, Duration::from_millis(1));
    pump.reach(700).await;
    (0..3).for_each(|index| nats.kill(index));
    tokio::time::sleep(Duration::from_secs(1)).await;
    (0..3).for_each(|index| nats.start_node(index));
    let outcome = pump.finish().await;
    println!("{outcome:?}");
    assert_eq!(outcome.bus.resets, 0, "what was committed was synced, and is there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_loses_every_disk_and_the_log_fills_the_gap() {
    let mut nats = Nats::start();
    let engine = ready(&nats, "gone").await;
    let mut pump = Pump::start(engine.clone(), brisk(), 2_000, Duration::from_millis(1));
    pump.rest_at(300);
    pump.reach(300).await;
    pump.commit(700).await;
    (0..3).for_each(|index| nats.kill(index));
    (0..3).for_each(|index| nats.wipe(index));
    (0..3).for_each(|index| nats.start_node(index));
    pump.rest_at(u64::MAX);
    let outcome = pump.finish().await;
    println!("{outcome:?}");
    // Some 400 records were committed and not read: only the numbers tell, and the log has them.
    assert!(outcome.order.resends >= 1 && outcome.bus.resets >= 1);
    // The engine itself has a hole: what it had before, and was never asked for again, is gone from it.
    let bus = bus(engine, patient());
    let first = read(&mut bus.tail(partition(0), Position::EARLIEST).unwrap(), 1).await[0].1.n;
    assert!(first.get() > 1, "the disks were empty");
}
