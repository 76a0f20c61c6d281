//! The supervision, on the engine in memory and its faults.

use crate::conformance::{self, Abilities};
use crate::memory::{Fault, Memory};
use crate::pump::{Pump, bus, outgoing, partition, read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wardline_bus::{BusError, BusOptions, Position};

/// Waits short enough for a test, long enough for a loaded machine to answer from memory.
pub(crate) fn brisk() -> BusOptions {
    let wait = Duration::from_millis(400);
    BusOptions {
        connect_timeout: wait,
        publish_timeout: wait,
        request_timeout: wait,
        idle_check: Duration::from_millis(200),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_in_memory_conforms() {
    let abilities = Abilities { drops_retries: true, trims: true, backlog: 2_000 };
    conformance::all(&|_| Arc::new(Memory::new(2)), abilities).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_holds_nobody_and_is_not_hammered() {
    let memory = Memory::new(1);
    memory.fail(Fault::Unreachable);
    let bus = bus(Arc::new(memory.clone()), brisk());
    let begun = Instant::now();
    let mut failed = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let error = bus.submit(&outgoing(0, 1)).await.unwrap().position().await.unwrap_err();
        assert!(matches!(error, BusError::Timeout("connect") | BusError::Unavailable(_)), "{error}");
        failed += 1;
    }
    assert!(failed >= 2, "a failure is told in time");
    assert!(memory.connects() <= 8, "{} attempts in 2 s", memory.connects());
    memory.fail(Fault::None);
    let published = async { while bus.submit(&outgoing(0, 1)).await.unwrap().position().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), published).await.unwrap();
    assert_eq!(read(&mut bus.tail(partition(0), Position::EARLIEST).unwrap(), 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_without_an_answer_ends_in_time_and_is_stored_once() {
    let memory = Memory::new(1);
    memory.fail(Fault::SilentPublish);
    let bus = bus(Arc::new(memory.clone()), brisk());
    let answer = bus.submit(&outgoing(0, 1)).await.unwrap().position();
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap();
    assert!(matches!(answer, Err(BusError::Timeout("publish"))));
    assert_eq!(bus.stats().rebuilds, 1, "the client is thrown away");
    memory.fail(Fault::None);
    while bus.submit(&outgoing(0, 1)).await.unwrap().position().await.is_err() {}
    bus.submit(&outgoing(0, 2)).await.unwrap().position().await.unwrap();
    let got = read(&mut bus.tail(partition(0), Position::EARLIEST).unwrap(), 2).await;
    assert_eq!(got[1].1, outgoing(0, 2).record);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fell_silent_is_opened_again() {
    let memory = Memory::new(1);
    let bus = bus(Arc::new(memory.clone()), brisk());
    let mut tail = bus.tail(partition(0), Position::EARLIEST).unwrap();
    bus.submit(&outgoing(0, 1)).await.unwrap().position().await.unwrap();
    read(&mut tail, 1).await;
    memory.fail(Fault::SilentStream);
    bus.submit(&outgoing(0, 2)).await.unwrap().position().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), tail.recv()).await.is_err());
    memory.fail(Fault::None);
    assert_eq!(read(&mut tail, 1).await[0].1, outgoing(0, 2).record);
    assert!(bus.stats().stalls >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_records_are_read_again() {
    let memory = Memory::new(1);
    let bus = bus(Arc::new(memory.clone()), brisk());
    for n in 1..=100 {
        bus.submit(&outgoing(0, n)).await.unwrap().position().await.unwrap();
    }
    memory.fail(Fault::SkipsOnBacklog);
    let mut tail = bus.tail(partition(0), Position::EARLIEST).unwrap();
    let got = read(&mut tail, 100).await;
    assert!(got.iter().map(|(_, record)| record.n.get()).eq(1..=100));
    // The last one is not followed by another: it is found because the stream falls silent.
    assert_eq!((bus.stats().skips, bus.stats().stalls), (9, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_forgot_everything_gets_it_again_from_the_log() {
    let memory = Memory::new(1);
    let mut pump = Pump::start(Arc::new(memory.clone()), brisk(), 3_000, Duration::from_millis(1));
    pump.rest_at(300);
    pump.reach(300).await;
    pump.commit(1_000).await;
    memory.wipe();
    pump.rest_at(u64::MAX);
    let outcome = pump.finish().await;
    println!("{outcome:?}");
    assert!(outcome.bus.resets >= 1 && outcome.order.resends >= 1, "it was noticed by both halves");
    assert!(outcome.longest_pause < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_service_fails_its_handles() {
    let (bus, service) = wardline_bus::Bus::new(Arc::new(Memory::new(1)), brisk()).unwrap();
    drop(service);
    assert!(matches!(bus.submit(&outgoing(0, 1)).await, Err(BusError::Closed)));
    let zero = BusOptions { idle_check: Duration::ZERO, ..brisk() };
    assert!(wardline_bus::Bus::new(Arc::new(Memory::new(1)), zero).is_err());
}
