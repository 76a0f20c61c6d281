//! Partitions that are followed behind what somebody else commits: all of it, once, and no question takes long.

use crate::memory::{Fault, Memory};
use crate::pump::{FRONT, bus, number, partition};
use crate::supervision::brisk;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wardline_bus::flow::Checkpoint;
use wardline_bus::follow::{Bounds, Follower, Reading};
use wardline_bus::{Bus, Content, FrontId, Number, Outgoing, Position, Record, body};
use wardline_journal::{Class, Entry, KeyPurpose, Keyring, Offset, Sealer};

const OTHER: FrontId = FrontId::new(*b"another front!!!");
/// Nothing here takes so long when all is well.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

struct Rig {
    memory: Memory,
    bus: Bus,
    sealer: Arc<Sealer>,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&folder.path().join("keyring.json")).unwrap());
        let sealer = Arc::new(Sealer::new(keyring, KeyPurpose::Journal, None).unwrap());
        let memory = Memory::new(2);
        Self { bus: bus(Arc::new(memory.clone()), brisk()), memory, sealer }
    }

    async fn publish(&self, front: FrontId, p: u16, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            let payload = Bytes::from(format!("reading {n}"));
            let entry = Entry {
                offset: Offset::ZERO,
                time_us: 1,
                partition: partition(p),
                class: Class::Telemetry,
                payload,
            };
            let sealed = body::seal(&self.sealer, (front, partition(p), number(n)), &entry).unwrap();
            self.put(front, p, n, Content::Body(sealed)).await;
        }
    }

    async fn put(&self, front: FrontId, p: u16, n: u64, content: Content) {
        let record = Record { front, partition: partition(p), n: number(n), content };
        self.bus.submit(&Outgoing { record, resend: 0 }).await.unwrap().position().await.unwrap();
    }

    fn follow(&self, checkpoints: &[Checkpoint], bounds: Bounds) -> Follower {
        Follower::start(&self.bus, checkpoints, &self.sealer, bounds).unwrap()
    }

    fn begun(&self) -> Follower {
        self.follow(&[at(0, 0, []), at(1, 0, [])], Bounds::default())
    }
}

fn at<const N: usize>(p: u16, position: u64, fronts: [(FrontId, u64); N]) -> Checkpoint {
    let fronts: BTreeMap<FrontId, Number> =
        fronts.into_iter().map(|(front, next)| (front, number(next))).collect();
    Checkpoint { partition: partition(p), position: Position::new(position), fronts }
}

fn names(reading: &Reading) -> Vec<(u16, FrontId, u64)> {
    reading.records.iter().map(|record| (record.partition.get(), record.front, record.n.get())).collect()
}

fn of(p: u16, front: FrontId, numbers: impl IntoIterator<Item = u64>) -> Vec<(u16, FrontId, u64)> {
    numbers.into_iter().map(|n| (p, front, n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_the_bus_when_it_is_asked_for_is_read_and_what_is_passed_is_not() {
    let rig = Rig::new();
    let follower = rig.begun();
    assert!(follower.read(LONG).await.is_whole, "nothing is there");
    rig.publish(FRONT, 0, 1..=3).await;
    rig.publish(OTHER, 0, 1..=1).await;
    rig.publish(FRONT, 1, 1..=1).await;
    let found = follower.read(LONG).await;
    let all = [of(0, FRONT, 1..=3), of(0, OTHER, [1]), of(1, FRONT, [1])].concat();
    assert_eq!((names(&found), found.is_whole), (all, true));
    assert_eq!(found.records[2].entry.payload, &b"reading 3"[..]);
    // Told in another order than it was published, and again.
    rig.publish(FRONT, 0, [5, 4]).await;
    rig.put(FRONT, 0, 6, Content::Mark).await;
    assert!(follower.pass(&[at(0, 3, [(FRONT, 3)])]));
    let found = follower.read(LONG).await;
    let all = [of(0, FRONT, [3]), of(0, OTHER, [1]), of(0, FRONT, 4..=5), of(1, FRONT, [1])].concat();
    assert_eq!((names(&found), found.is_whole, follower.kept()), (all, true, 5));
    assert!(follower.pass(&[at(0, 7, [(FRONT, 6), (OTHER, 2)]), at(1, 0, [])]));
    assert_eq!(names(&follower.read(LONG).await), of(1, FRONT, [1]));
    assert!(!follower.pass(&[at(0, 3, [(FRONT, 3), (OTHER, 2)])]), "a database that went back");
    // Whoever begins now begins behind what is committed.
    let late = rig.follow(&[at(0, 2, [(FRONT, 4), (OTHER, 2)])], Bounds::default());
    assert_eq!(names(&late.read(LONG).await), of(0, FRONT, 4..=5));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_gap_nothing_is_given_and_it_says_so_until_somebody_has_worked_on_it() {
    let rig = Rig::new();
    let follower = rig.begun();
    rig.publish(FRONT, 0, [1, 3]).await;
    rig.publish(OTHER, 0, [1]).await;
    let begun = Instant::now();
    let found = follower.read(LONG).await;
    assert_eq!((names(&found), found.is_whole), ([of(0, FRONT, [1]), of(0, OTHER, [1])].concat(), false));
    assert!(begun.elapsed() < LONG / 2, "a retry is waited for, and not longer");
    // A worker had it from the front again; the bus has forgotten it since.
    assert!(follower.pass(&[at(0, 2, [(FRONT, 3)])]));
    let found = follower.read(LONG).await;
    assert_eq!((names(&found), found.is_whole), ([of(0, OTHER, [1]), of(0, FRONT, [3])].concat(), true));
    // A body that does not open is missing too.
    let sealed = body::seal(&rig.sealer, (OTHER, partition(0), number(9)), &found.records[0].entry).unwrap();
    rig.put(FRONT, 0, 4, Content::Body(sealed)).await;
    assert!(!follower.read(LONG).await.is_whole);
    rig.publish(FRONT, 1, 1..=2).await;
    rig.put(FRONT, 1, 4, Content::Mark).await;
    let found = follower.read(LONG).await;
    assert_eq!(names(&found)[2..], of(1, FRONT, 1..=2), "another partition goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_bounded_and_reading_goes_on_when_something_is_passed() {
    let rig = Rig::new();
    rig.publish(FRONT, 0, 1..=50).await;
    for bounds in
        [Bounds { records_max: 10, ..Bounds::default() }, Bounds { bytes_max: 2_000, ..Bounds::default() }]
    {
        let follower = rig.follow(&[at(0, 0, [])], bounds);
        let mut next = 1;
        while next <= 50 {
            let found = follower.read(LONG).await;
            let until = next + found.records.len() as u64;
            assert_eq!(names(&found), of(0, FRONT, next..until));
            assert!((1..=13).contains(&found.records.len()), "{}", found.records.len());
            assert_eq!(found.is_whole, until == 51, "{until}");
            assert!(follower.pass(&[at(0, 0, [(FRONT, until)])]));
            next = until;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_says_nothing_takes_no_longer_than_it_may() {
    let rig = Rig::new();
    rig.publish(FRONT, 0, 1..=2).await;
    rig.memory.fail(Fault::Unreachable);
    let away = Rig { bus: bus(Arc::new(rig.memory.clone()), brisk()), ..Rig::new() }.begun();
    let begun = Instant::now();
    let found = away.read(SHORT).await;
    assert!(begun.elapsed() < LONG / 4 && !found.is_whole && found.records.is_empty());
    rig.memory.fail(Fault::None);
    let follower = rig.begun();
    assert_eq!(names(&follower.read(LONG).await).len(), 2);
    rig.memory.fail(Fault::SilentStream);
    rig.publish(FRONT, 0, [3]).await;
    let found = follower.read(SHORT).await;
    assert_eq!((names(&found), found.is_whole), (of(0, FRONT, 1..=2), false), "what came before stays");
    rig.memory.fail(Fault::None);
    let found = follower.read(LONG).await;
    assert_eq!((names(&found), found.is_whole), (of(0, FRONT, 1..=3), true));
    assert!(!follower.has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_begins_anew_is_read_from_its_start() {
    let rig = Rig::new();
    rig.publish(FRONT, 0, 1..=9).await;
    let follower = rig.follow(&[at(0, 9, [(FRONT, 10)])], Bounds::default());
    assert!(follower.read(LONG).await.is_whole);
    rig.memory.wipe();
    rig.memory.fail(Fault::SilentStream);
    rig.memory.fail(Fault::None);
    assert!(follower.read(LONG).await.is_whole, "nothing is there any more");
    rig.publish(FRONT, 0, 10..=11).await;
    let found = follower.read(LONG).await;
    assert_eq!((names(&found), found.is_whole), (of(0, FRONT, 10..=11), true));
}
