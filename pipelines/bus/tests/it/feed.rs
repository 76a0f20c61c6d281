//! A feed between an engine and its belt: it looks for gaps many times a second, and that must cut no wait short.

use crate::memory::{Fault, Memory};
use crate::pump::{FRONT, bus, number, partition};
use crate::supervision::brisk;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use wardline_bus::flow::{Checkpoint, Resend};
use wardline_bus::{
    Belt, Bus, BusOptions, Content, Engine, Feed, FeedStats, Outgoing, Published, Record, body,
};
use wardline_journal::{Class, Entry, KeyPurpose, Keyring, Offset, Sealer, Source};

const LIMIT: Duration = Duration::from_secs(10);

/// A partition on its belt.
struct Line {
    memory: Memory,
    bus: Bus,
    belt: Belt,
    sealer: Arc<Sealer>,
    stats: Arc<FeedStats>,
    wished: mpsc::Receiver<Resend>,
    _stop: watch::Sender<bool>,
}

impl Line {
    fn start(memory: Memory, options: BusOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&folder.path().join("keyring.json")).unwrap());
        let sealer = Arc::new(Sealer::new(keyring, KeyPurpose::Journal, None).unwrap());
        let bus = bus(Arc::new(memory.clone()), options);
        let checkpoint = Checkpoint::new(partition(0));
        let belt = Belt::new(Offset::ZERO, &checkpoint);
        let (wishes, wished) = mpsc::channel(8);
        let feed = Feed::new(&bus, &checkpoint, belt.clone(), sealer.clone(), wishes).unwrap();
        let ((stop, stopped), stats) = (watch::channel(false), feed.stats());
        tokio::spawn(feed.run(stopped));
        Self { memory, bus, belt, sealer, stats, wished, _stop: stop }
    }

    /// Publishes bytes as they are.
    async fn put(&self, bytes: Bytes, name: &str) {
        let client = self.memory.connect().await.unwrap();
        let name = name.to_owned();
        client.publish(partition(0), &[Published { bytes, name }]).await.unwrap().remove(0).unwrap();
    }

    async fn publish(&self, n: u64) {
        let (offset, payload) = (Offset::new(n), Bytes::from_static(b"a reading"));
        let entry = Entry { offset, time_us: 1, partition: partition(0), class: Class::Telemetry, payload };
        let n = number(n);
        let sealed = body::seal(&self.sealer, (FRONT, partition(0), n), &entry).unwrap();
        let record = Record { front: FRONT, partition: partition(0), n, content: Content::Body(sealed) };
        self.bus.submit(&Outgoing { record, resend: 0 }).await.unwrap().position().await.unwrap();
    }

    /// Waits until so many records are on the belt, and returns how long that took.
    async fn delivered(&self, count: usize) -> Duration {
        let begun = Instant::now();
        while self.belt.waiting() < count {
            assert!(begun.elapsed() < LIMIT, "{} of {count} records came", self.belt.waiting());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_long_to_open_is_opened() {
    let memory = Memory::new(1);
    memory.fail(Fault::SlowOpen(Duration::from_millis(800)));
    let line = Line::start(memory, BusOptions { request_timeout: Duration::from_secs(3), ..brisk() });
    line.publish(1).await;
    line.delivered(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fell_silent_is_noticed_behind_many_looks() {
    // Longer than the time between two looks for gaps, as by default.
    let line = Line::start(Memory::new(1), BusOptions { idle_check: Duration::from_secs(1), ..brisk() });
    line.publish(1).await;
    line.delivered(1).await;
    line.memory.fail(Fault::SilentStream);
    tokio::time::sleep(Duration::from_millis(300)).await;
    line.publish(2).await;
    line.memory.fail(Fault::None);
    let pause = line.delivered(2).await;
    assert!(pause < Duration::from_secs(4), "{pause:?}");
    assert!(line.bus.stats().stalls >= 1, "it was the silence that was noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_not_read_is_not_settled() {
    let memory = Memory::new(1);
    memory.fail(Fault::SlowOpen(Duration::from_secs(2)));
    let line = Line::start(memory, BusOptions { request_timeout: Duration::from_secs(3), ..brisk() });
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(line.belt.promise_time(1), None, "nobody has looked yet");
    let begun = Instant::now();
    while line.belt.promise_time(1).is_none() {
        assert!(begun.elapsed() < LIMIT, "an empty partition settles once it is read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_is_away_holds_the_time_of_a_partition_for_a_while_only() {
    let line = Line::start(Memory::new(1), brisk());
    line.publish(1).await;
    line.delivered(1).await;
    // It numbered a second one, and then its machine went.
    let mark = Record { front: FRONT, partition: partition(0), n: number(3), content: Content::Mark };
    line.bus.submit(&Outgoing { record: mark, resend: 0 }).await.unwrap().position().await.unwrap();
    let begun = Instant::now();
    while line.belt.promise_time(1).is_some() {
        assert!(begun.elapsed() < LIMIT, "what is known to be missing is waited for");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while line.belt.promise_time(1).is_none() {
        assert!(begun.elapsed() < 4 * LIMIT, "time goes on without a front that is away");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() > LIMIT, "and not at once: {:?}", begun.elapsed());
    line.publish(2).await;
    line.delivered(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_later_version_wait_for_a_worker_that_reads_them() {
    let mut line = Line::start(Memory::new(1), brisk());
    line.publish(1).await;
    line.delivered(1).await;
    // Another header, and a known header over a body that is not known.
    line.put(Bytes::from_static(b"WLB2 and whatever comes with it"), "later header").await;
    let aad = [&b"bus"[..], FRONT.bytes(), &0u16.to_le_bytes(), &2u64.to_le_bytes()].concat();
    let later = line.sealer.seal(&aad, b"\x02 and whatever comes with it").unwrap();
    let record = |n| Record { front: FRONT, partition: partition(0), n: number(n), content: Content::Mark };
    let unread = Record { content: Content::Body(later.into()), ..record(2) };
    line.put(unread.encode().unwrap(), "later body").await;
    line.publish(3).await;
    let wish = line.wished.recv().await.unwrap();
    assert_eq!((wish.first, wish.last), (number(2), number(2)), "it is kept by the front, and asked for");
    assert_eq!(line.stats.counts()[3], 2, "unopened");
    assert_eq!(line.belt.waiting(), 1, "nothing was passed over: 3 waits for 2");
    // A worker that reads it begins where this one stands.
    line.publish(2).await;
    line.delivered(3).await;
}
