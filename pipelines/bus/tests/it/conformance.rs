//! What every engine must do. Each check has a topic of its own.

use crate::pump::{bus, number, outgoing, partition, read};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wardline_bus::limits::BODY_BYTES_MAX;
use wardline_bus::{Bus, BusError, BusOptions, Content, Engine, ErrorKind, Outgoing, Position, Record};

/// Makes an engine with a topic of this name, with two partitions.
pub(crate) type Topics<'a> = &'a dyn Fn(&str) -> Arc<dyn Engine>;

/// Waits that a loaded machine of two cores meets.
pub(crate) fn patient() -> BusOptions {
    let wait = Duration::from_secs(20);
    BusOptions {
        connect_timeout: wait,
        publish_timeout: wait,
        request_timeout: wait,
        ..BusOptions::default()
    }
}

/// What an engine is known to be able to do beyond the suite's common part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    /// Drops a retry of the same name.
    pub(crate) drops_retries: bool,
    /// Forgets what it is told to.
    pub(crate) trims: bool,
    /// Records of the backlog check.
    pub(crate) backlog: u64,
}

/// Runs every check and prints what it did.
pub(crate) async fn all(topics: Topics<'_>, abilities: Abilities) {
    let done = |name: &str, since: Instant| println!("  {name}: {} ms", since.elapsed().as_millis());
    let since = Instant::now();
    order_positions_and_resumption(topics("order")).await;
    done("order, positions, resumption", since);
    let since = Instant::now();
    partitions_are_apart(topics("apart")).await;
    done("partitions are apart", since);
    let since = Instant::now();
    sizes(topics("sizes")).await;
    done("sizes, from nothing to the bound", since);
    let since = Instant::now();
    retries_and_resends(topics("again"), abilities).await;
    done("retries and resends", since);
    let since = Instant::now();
    a_backlog_is_whole(topics("backlog"), abilities.backlog).await;
    done(&format!("a backlog of {} records is whole", abilities.backlog), since);
    if abilities.trims {
        let since = Instant::now();
        trimming_keeps_the_watermark(topics("trim")).await;
        done("trimming keeps the watermark", since);
    }
    let since = Instant::now();
    health(topics("health")).await;
    done("health", since);
}

async fn publish(bus: &Bus, records: impl IntoIterator<Item = Outgoing>) -> Vec<Position> {
    let mut waits = Vec::new();
    for record in records {
        waits.push(bus.submit(&record).await.unwrap());
    }
    let mut positions = Vec::new();
    for wait in waits {
        positions.push(wait.position().await.unwrap());
    }
    positions
}

async fn order_positions_and_resumption(engine: Arc<dyn Engine>) {
    let bus = bus(engine, patient());
    assert_eq!(bus.watermark(partition(0)).await.unwrap(), Position::EARLIEST, "nothing was published");
    let mut follower = bus.tail(partition(0), Position::EARLIEST).unwrap();
    let following = tokio::spawn(async move { read(&mut follower, 300).await });
    let positions = publish(&bus, (1..=300).map(|n| outgoing(0, n))).await;
    assert!(positions.is_sorted_by(|a, b| a < b), "later records have later positions");
    assert_eq!(bus.watermark(partition(0)).await.unwrap(), positions[299].next());
    let got = following.await.unwrap();
    let numbers: Vec<_> = got.iter().map(|(_, record)| record.n.get()).collect();
    assert_eq!(numbers, (1..=300).collect::<Vec<_>>(), "a stream that follows gets all, in order");
    assert!(
        got.iter().zip(&positions).all(|((at, _), position)| at == position),
        "at the positions promised"
    );
    assert_eq!(got[7].1, outgoing(0, 8).record);
    // From a position of ours, exactly the rest.
    let mut again = bus.tail(partition(0), positions[200]).unwrap();
    assert_eq!(read(&mut again, 100).await, got[200..]);
    assert_eq!(again.position(), positions[299].next());
    assert_eq!(bus.stats().resets, 0);
}

async fn partitions_are_apart(engine: Arc<dyn Engine>) {
    let bus = bus(engine, patient());
    let mixed = (1..=50).flat_map(|n| [outgoing(0, n), outgoing(1, n)]);
    publish(&bus, mixed).await;
    for p in [0, 1] {
        let got = read(&mut bus.tail(partition(p), Position::EARLIEST).unwrap(), 50).await;
        assert!(got.iter().all(|(_, record)| record.partition == partition(p)));
        assert!(got.iter().map(|(_, record)| record.n.get()).eq(1..=50));
    }
    let wrong = bus.submit(&outgoing(2, 1)).await.unwrap_err();
    assert_eq!((wrong.kind(), wrong.to_string()), (ErrorKind::Reject, "no partition 2".into()));
    assert!(matches!(bus.tail(partition(2), Position::EARLIEST), Err(BusError::NoPartition(2))));
}

async fn sizes(engine: Arc<dyn Engine>) {
    let bus = bus(engine, patient());
    let sizes = [0, 1, 17, 4096, 100_000, BODY_BYTES_MAX, BODY_BYTES_MAX, 3];
    let sized = |(n, bytes): (u64, usize)| {
        // Every byte value, and nothing that is text: a body is opaque.
        let body: Bytes = (0..bytes).map(|i| (i % 251) as u8 ^ 0xff).collect();
        let record = Record { content: Content::Body(body), ..outgoing(0, n).record };
        Outgoing { record, resend: 0 }
    };
    let records: Vec<_> = (1..).zip(sizes).map(sized).collect();
    publish(&bus, records.clone()).await;
    let got = read(&mut bus.tail(partition(0), Position::EARLIEST).unwrap(), sizes.len()).await;
    assert!(got.iter().map(|(_, record)| record).eq(records.iter().map(|o| &o.record)));
    let long = bus.submit(&sized((9, BODY_BYTES_MAX + 1))).await.unwrap_err();
    assert_eq!(long.kind(), ErrorKind::Reject);
    let mark = Record { content: Content::Mark, ..outgoing(0, 9).record };
    let at = publish(&bus, [Outgoing { record: mark.clone(), resend: 0 }]).await[0];
    assert_eq!(read(&mut bus.tail(partition(0), at).unwrap(), 1).await, [(at, mark)]);
}

async fn retries_and_resends(engine: Arc<dyn Engine>, abilities: Abilities) {
    let bus = bus(engine, patient());
    let mut retried = publish(&bus, [outgoing(0, 1), outgoing(0, 2)]).await;
    retried.extend(publish(&bus, [outgoing(0, 1)]).await);
    let got = retried[2].max(retried[1]);
    if abilities.drops_retries {
        assert_eq!(retried[2], retried[0], "a retry has the place of the first try");
    }
    // A mark of a number does not take the name of the record that gets the number.
    let mark = Record { content: Content::Mark, ..outgoing(1, 1).record };
    let marked = publish(&bus, [Outgoing { record: mark, resend: 0 }, outgoing(1, 1)]).await;
    assert!(marked[1] > marked[0]);
    // What is asked for again is stored again, behind the reader that missed it.
    let resent = publish(&bus, [Outgoing { resend: 1, ..outgoing(0, 1) }]).await[0];
    assert!(resent > got);
    let mut tail = bus.tail(partition(0), got.next()).unwrap();
    assert_eq!(read(&mut tail, 1).await, [(resent, outgoing(0, 1).record)]);
}

async fn a_backlog_is_whole(engine: Arc<dyn Engine>, backlog: u64) {
    let bus = bus(engine, patient());
    let body = Bytes::from(vec![0xa5; 500]);
    let record = |n| {
        let record = Record { content: Content::Body(body.clone()), n: number(n), ..outgoing(0, n).record };
        Outgoing { record, resend: 0 }
    };
    let mut n = 1;
    while n <= backlog {
        let end = (n + 200).min(backlog + 1);
        publish(&bus, (n..end).map(record)).await;
        n = end;
    }
    let mut tail = bus.tail(partition(0), Position::EARLIEST).unwrap();
    let got = read(&mut tail, backlog as usize).await;
    let holes = got.iter().zip(1..).filter(|((_, record), n)| record.n.get() != *n).count();
    assert_eq!(holes, 0, "numbers out of place");
    let stats = bus.stats();
    println!(
        "    {} read, {} skips met, {} stalls, {} resets",
        stats.read, stats.skips, stats.stalls, stats.resets
    );
}

async fn trimming_keeps_the_watermark(engine: Arc<dyn Engine>) {
    let bus = bus(engine, patient());
    let positions = publish(&bus, (1..=20).map(|n| outgoing(0, n))).await;
    bus.trim(partition(0), positions[9].next()).await.unwrap();
    let got = read(&mut bus.tail(partition(0), Position::EARLIEST).unwrap(), 11).await;
    assert_eq!(got[0].0, positions[9], "the newest of what may go stays");
    assert_eq!(got[10].0, positions[19]);
    let end = positions[19].next();
    bus.trim(partition(0), end).await.unwrap();
    assert_eq!(bus.watermark(partition(0)).await.unwrap(), end, "the place is known although all may go");
    let mut tail = bus.tail(partition(0), end).unwrap();
    let next = publish(&bus, [outgoing(0, 21)]).await[0];
    assert_eq!(read(&mut tail, 1).await[0].0, next);
    assert_eq!(bus.stats().resets, 0);
}

async fn health(engine: Arc<dyn Engine>) {
    let bus = bus(engine, patient());
    let end = publish(&bus, [outgoing(0, 1)]).await[0].next();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let health = bus.health().await.unwrap();
        let look = health.iter().find(|look| look.partition == partition(0)).unwrap();
        // Engines tell of their replicas some seconds late.
        if look.led && look.committed == end && look.end == end && look.replicas_current == look.replicas {
            assert!(wardline_bus::wedged(&health, &health).is_empty());
            return;
        }
        assert!(Instant::now() < deadline, "{look:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A topic that is there and differs is not touched and not used.
#[cfg(any(feature = "jetstream", feature = "fluvio"))]
pub(crate) async fn another_topic_is_refused(engine: Arc<dyn Engine>, differs: Arc<dyn Engine>) {
    publish(&bus(engine, patient()), [outgoing(0, 1)]).await;
    let other = bus(differs, patient());
    let error = other.watermark(partition(0)).await.unwrap_err();
    assert!(matches!(error, BusError::TopicDiffers(_)), "{error}");
    assert_eq!(error.kind(), ErrorKind::Fatal);
    let refused = other.tail(partition(0), Position::EARLIEST).unwrap().recv().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fatal, "a reader does not try for ever");
}
