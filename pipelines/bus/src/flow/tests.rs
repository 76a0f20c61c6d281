//! Property tests of both halves, over an engine that loses, doubles and reorders as a seed says.

use super::*;
use crate::engine::Position;
use crate::limits::{FRONTS_KNOWN_MAX, FRONTS_MAX, HELD_RECORDS_MAX, IN_FLIGHT_RECORDS_MAX};
use crate::record::{Content, Record};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use wardline_journal::Offset;

const PATIENCE: Duration = Duration::from_millis(10);

fn front(name: u8) -> FrontId {
    FrontId::new([name; 16])
}

fn partition(number: u16) -> PartitionId {
    PartitionId::new(number).unwrap()
}

fn number(n: u64) -> Number {
    Number::new(n).unwrap()
}

fn body(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

fn record(name: u8, n: u64) -> Record {
    Record { front: front(name), partition: partition(0), n: number(n), content: Content::Body(body(n)) }
}

fn order() -> Order {
    Order::resume(&Checkpoint::new(partition(0)), PATIENCE)
}

fn in_order(first: u64, last: u64) -> Arrival {
    Arrival::InOrder { first: number(first), bodies: (first..=last).map(body).collect() }
}

#[test]
fn a_late_record_releases_what_waited_for_it() {
    let mut order = order();
    let now = Duration::ZERO;
    assert_eq!(order.arrive(record(1, 1), Position::new(1), now), in_order(1, 1));
    assert_eq!(order.arrive(record(1, 3), Position::new(2), now), Arrival::Held);
    assert_eq!(order.arrive(record(1, 4), Position::new(3), now), Arrival::Held);
    assert_eq!(order.arrive(record(1, 3), Position::new(4), now), Arrival::Duplicate);
    assert_eq!(order.checkpoint().position, Position::new(2), "what is held is read again");
    assert_eq!(order.arrive(record(1, 2), Position::new(5), now), in_order(2, 4));
    assert_eq!(order.arrive(record(1, 2), Position::new(6), now), Arrival::Duplicate);
    assert_eq!(order.checkpoint().position, Position::new(7));
    assert!(order.resends(Duration::MAX / 2).is_empty());
}

#[test]
fn a_gap_is_asked_for_when_it_is_old_and_again_with_growing_waits() {
    let mut order = order();
    order.arrive(record(1, 5), Position::new(1), Duration::ZERO);
    assert!(order.resends(PATIENCE / 2).is_empty());
    let wanted = Resend { front: front(1), partition: partition(0), first: number(1), last: number(4) };
    assert_eq!(order.resends(PATIENCE), [wanted]);
    assert!(order.resends(PATIENCE + PATIENCE / 2).is_empty());
    assert_eq!(order.resends(PATIENCE * 2), [wanted]);
    assert!(order.resends(PATIENCE * 3).is_empty());
    assert_eq!(order.resends(PATIENCE * 4), [wanted]);
    assert_eq!(order.stats().resends, 3);
}

#[test]
fn a_mark_shows_that_the_newest_records_are_missing() {
    let mut order = order();
    order.arrive(record(1, 1), Position::new(1), Duration::ZERO);
    let mark = Record { content: Content::Mark, ..record(1, 4) };
    assert_eq!(order.arrive(mark, Position::new(2), Duration::ZERO), Arrival::Noted);
    let wanted = Resend { front: front(1), partition: partition(0), first: number(2), last: number(3) };
    assert_eq!(order.resends(PATIENCE), [wanted]);
}

fn of(name: u32, n: u64) -> Record {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&name.to_be_bytes());
    Record { front: FrontId::new(id), ..record(0, n) }
}

#[test]
fn fronts_that_come_and_go_are_laid_aside_and_none_is_forgotten() {
    let (mut order, mut at) = (order(), 0);
    let mut arrive = |order: &mut Order, record| {
        at += 1;
        order.arrive(record, Position::new(at), Duration::ZERO)
    };
    let many = FRONTS_MAX as u32 * 3;
    for name in 0..many {
        assert_eq!(arrive(&mut order, of(name, 1)), in_order(1, 1), "{name}");
    }
    for name in (0..many).rev() {
        assert_eq!(arrive(&mut order, of(name, 1)), Arrival::Duplicate, "{name}: old, not new");
        assert_eq!(arrive(&mut order, of(name, 2)), in_order(2, 2), "{name}");
    }
    let kept = order.checkpoint();
    assert_eq!(kept.fronts.len(), many as usize);
    assert!(kept.fronts.values().all(|next| *next == number(3)));
    assert!(!order.waits(Duration::ZERO, Duration::MAX) && order.stats().left == 0);
    let mut again = Order::resume(&kept, PATIENCE);
    assert_eq!(arrive(&mut again, of(7, 2)), Arrival::Duplicate);
    assert_eq!(again.checkpoint().fronts, kept.fronts);
}

#[test]
fn a_front_too_many_is_counted_and_missed_when_there_is_a_place() {
    let mut order = order();
    let mut arrive = |record, at| order.arrive(record, Position::new(at), Duration::ZERO);
    // Something is awaited of each.
    for name in 0..FRONTS_MAX as u32 {
        assert_eq!(arrive(of(name, 2), 2), Arrival::Held);
    }
    assert_eq!(arrive(of(9_999, 1), 3), Arrival::Crowded);
    assert_eq!(arrive(of(5, 1), 4), in_order(1, 2), "now nothing is awaited of it");
    let mark = Record { content: Content::Mark, ..of(9_999, 2) };
    assert_eq!(arrive(mark, 5), Arrival::Noted, "its place is another's");
    let wanted = |resend: &Resend| resend.front == of(9_999, 1).front && resend.last == number(1);
    assert!(order.resends(PATIENCE).iter().any(wanted), "what was left is asked for");
    assert_eq!(order.stats().left, 1);
}

#[test]
fn names_are_bounded() {
    let mut known = Checkpoint::new(partition(0));
    known.fronts = (1..FRONTS_KNOWN_MAX as u32).map(|name| (of(name, 1).front, number(2))).collect();
    let mut order = Order::resume(&known, PATIENCE);
    let mut arrive = |record| order.arrive(record, Position::new(1), Duration::ZERO);
    assert_eq!(arrive(of(0, 1)), in_order(1, 1), "the last one");
    assert_eq!(arrive(of(FRONTS_KNOWN_MAX as u32, 1)), Arrival::Crowded);
    assert_eq!(arrive(of(3, 2)), in_order(2, 2), "known ones go on");
}

#[test]
fn beyond_the_bound_nothing_is_held_and_a_request_stays_small() {
    let mut order = order();
    let far = HELD_RECORDS_MAX as u64 + 2;
    assert_eq!(order.arrive(record(1, far), Position::new(1), Duration::ZERO), Arrival::Dropped);
    assert_eq!(order.arrive(record(1, far - 1), Position::new(2), Duration::ZERO), Arrival::Held);
    assert_eq!(order.resends(PATIENCE)[0].last, number(crate::limits::RESEND_RECORDS_MAX));
    let foreign = Record { partition: partition(1), ..record(1, 1) };
    assert_eq!(order.arrive(foreign, Position::new(3), Duration::ZERO), Arrival::Foreign);
}

#[test]
fn the_log_is_kept_until_the_oldest_record_is_confirmed() {
    let mut relay = Relay::resume(front(1), &RelayCheckpoint::default());
    for (offset, p) in [0, 1, 0, 1, 0].into_iter().enumerate() {
        relay.take(Offset::new(offset as u64), partition(p)).unwrap();
    }
    relay.confirmed(partition(1), number(3)).unwrap();
    assert_eq!(relay.trim().below, Offset::new(0), "partition 0 has confirmed nothing");
    relay.confirmed(partition(0), number(2)).unwrap();
    let trim = relay.trim();
    assert_eq!(trim.below, Offset::new(2));
    let numbers = BTreeMap::from([(partition(0), number(2)), (partition(1), number(2))]);
    assert_eq!(trim.checkpoint, RelayCheckpoint { from: Offset::new(2), numbers });
    // Read again from there, the same records get the same numbers.
    let mut again = Relay::resume(front(1), &trim.checkpoint);
    assert_eq!(again.take(Offset::new(2), partition(0)), Ok(Some(number(2))));
    assert_eq!(again.take(Offset::new(3), partition(1)), Ok(Some(number(2))));
    assert_eq!(again.take(Offset::new(3), partition(1)), Ok(None));
    relay.confirmed(partition(0), number(4)).unwrap();
    assert_eq!(relay.trim().below, Offset::new(5), "everything");
    assert_eq!(relay.waiting(), 0);
}

#[test]
fn numbers_that_were_never_given_are_refused() {
    let mut relay = Relay::resume(front(1), &RelayCheckpoint::default());
    relay.take(Offset::new(0), partition(0)).unwrap();
    assert_eq!(relay.confirmed(partition(0), number(3)), Err(WrongNumber(number(3))));
    let wanted = |first, last| Resend {
        front: front(1),
        partition: partition(0),
        first: number(first),
        last: number(last),
    };
    assert_eq!(relay.resend(&wanted(1, 2)), Err(WrongNumber(number(2))));
    assert_eq!(relay.resend(&Resend { front: front(2), ..wanted(1, 2) }).unwrap().queued, 0);
    relay.confirmed(partition(0), number(2)).unwrap();
    assert_eq!(relay.resend(&wanted(1, 1)), Ok(Resumed { queued: 0, confirmed: 1 }));
    assert!(relay.send().is_none(), "what is confirmed is not published");
}

#[test]
fn in_flight_is_bounded_and_lost_records_go_before_new_ones() {
    let mut relay = Relay::resume(front(1), &RelayCheckpoint::default());
    for offset in 0..IN_FLIGHT_RECORDS_MAX as u64 + 5 {
        relay.take(Offset::new(offset), partition(0)).unwrap();
    }
    let sent: Vec<_> = std::iter::from_fn(|| relay.send()).collect();
    assert_eq!(sent.len(), IN_FLIGHT_RECORDS_MAX);
    relay.failed(partition(0), number(7));
    let again = relay.send().unwrap();
    assert_eq!((again.n, again.resend, again.offset), (number(7), 0, Offset::new(6)));
    let wanted = Resend { front: front(1), partition: partition(0), first: number(3), last: number(3) };
    assert_eq!(relay.resend(&wanted).unwrap().queued, 1);
    assert_eq!(relay.send().map(|s| (s.n, s.resend)), Some((number(3), 1)));
    relay.committed(partition(0), number(1));
    assert_eq!(relay.send().unwrap().n, number(IN_FLIGHT_RECORDS_MAX as u64 + 1));
}

/// What the engine does with one publish.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Stored,
    Lost,
    Doubled,
    /// Stored, but the answer is lost.
    Unanswered,
    /// Stored in front of the record before it.
    Swapped,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Stored),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Doubled),
        1 => Just(Fate::Unanswered),
        1 => Just(Fate::Swapped),
    ]
}

/// One front, one partition, and a shelf of records that is the engine.
struct World {
    relay: Relay,
    order: Order,
    shelf: Vec<Record>,
    read: usize,
    got: Vec<u64>,
    now: Duration,
    log: u64,
    fates: Vec<Fate>,
    turn: usize,
}

impl World {
    fn new(log: u64, fates: Vec<Fate>) -> Self {
        let relay = Relay::resume(front(1), &RelayCheckpoint::default());
        Self {
            relay,
            order: order(),
            shelf: vec![],
            read: 0,
            got: vec![],
            now: PATIENCE,
            log,
            fates,
            turn: 0,
        }
    }

    /// Reads the log into the relay. Partition 1 stands for all that is of no interest here.
    fn fill(&mut self) {
        while self.relay.read().get() < self.log {
            let offset = self.relay.read();
            let p = partition(u16::from(offset.get() % 3 == 2));
            self.relay.take(offset, p).unwrap();
        }
    }

    fn publish(&mut self) {
        while let Some(send) = self.relay.send() {
            if send.partition == partition(1) {
                self.relay.committed(send.partition, send.n);
                continue;
            }
            // The faults end at some point, or nothing could ever arrive.
            let fate = self.fates.get(self.turn).copied().unwrap_or(Fate::Stored);
            self.turn += 1;
            let record = record(1, send.n.get());
            match fate {
                Fate::Lost => {}
                Fate::Stored | Fate::Unanswered => self.shelf.push(record),
                Fate::Doubled => self.shelf.extend([record.clone(), record]),
                Fate::Swapped => self.shelf.insert(self.shelf.len().saturating_sub(1).max(self.read), record),
            }
            match fate {
                // An engine that loses what it has committed is the one to be afraid of.
                Fate::Unanswered => self.relay.failed(send.partition, send.n),
                _ => self.relay.committed(send.partition, send.n),
            }
        }
        let head = self.relay.marks().find(|(p, _)| p.get() == 0);
        if let Some((_, head)) = head {
            self.shelf.push(Record { content: Content::Mark, ..record(1, head.get()) });
        }
    }

    fn consume(&mut self) {
        while let Some(record) = self.shelf.get(self.read) {
            let position = Position::new(self.read as u64);
            self.read += 1;
            if let Arrival::InOrder { first, bodies } = self.order.arrive(record.clone(), position, self.now)
            {
                self.got.extend((first.get()..).take(bodies.len()));
            }
        }
        self.now += PATIENCE * 100;
        for request in self.order.resends(self.now) {
            self.relay.resend(&request).unwrap();
        }
    }

    fn restart_worker(&mut self) {
        let kept = Checkpoint::decode(&self.order.checkpoint().encode()).unwrap();
        self.read = usize::try_from(kept.position.get()).unwrap().min(self.shelf.len());
        self.order = Order::resume(&kept, PATIENCE);
    }

    fn confirm_and_restart_front(&mut self) {
        let next = self.order.checkpoint().fronts.get(&front(1)).copied().unwrap_or(Number::FIRST);
        self.relay.confirmed(partition(0), next).unwrap();
        let trim = self.relay.trim();
        self.relay = Relay::resume(front(1), &trim.checkpoint);
        self.fill();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever is lost, doubled or swapped, whoever restarts, whatever the engine forgets: every number arrives,
    /// in order, once.
    #[test]
    fn every_number_is_delivered_once_and_in_order(
        log in 1u64..400,
        fates in prop::collection::vec(fate(), 0..600),
        worker_dies in prop::collection::vec(any::<bool>(), 12),
        front_dies in prop::collection::vec(any::<bool>(), 12),
        wiped_at in prop::option::of(0usize..12),
    ) {
        let mut world = World::new(log, fates);
        world.fill();
        for round in 0..400 {
            world.publish();
            if wiped_at == Some(round) {
                world.shelf.clear();
                world.read = 0;
            }
            world.consume();
            if worker_dies.get(round).is_some_and(|dies| *dies) {
                world.restart_worker();
            }
            if front_dies.get(round).is_some_and(|dies| *dies) {
                world.confirm_and_restart_front();
            }
        }
        let wanted = (0..log).filter(|offset| offset % 3 != 2).count() as u64;
        prop_assert_eq!(&world.got, &(1..=wanted).collect::<Vec<_>>());
        // Then, and only then, the log may go.
        world.relay.confirmed(partition(0), number(wanted + 1)).unwrap();
        let others = log - wanted;
        world.relay.confirmed(partition(1), number(others + 1)).unwrap();
        prop_assert_eq!(world.relay.trim().below, Offset::new(log));
    }

    #[test]
    fn nothing_unconfirmed_is_ever_trimmed(
        partitions in prop::collection::vec(0u16..4, 1..200),
        confirmed in prop::collection::vec((0u16..4, 1u64..60), 0..40),
    ) {
        let mut relay = Relay::resume(front(1), &RelayCheckpoint::default());
        let mut numbers = Vec::new();
        for (offset, p) in partitions.iter().enumerate() {
            let n = relay.take(Offset::new(offset as u64), partition(*p)).unwrap().unwrap();
            numbers.push((*p, n));
        }
        let mut below = BTreeMap::new();
        for (p, n) in confirmed {
            if relay.confirmed(partition(p), number(n)).is_ok() {
                let known = below.entry(p).or_insert(number(n));
                *known = (*known).max(number(n));
            }
            let trim = relay.trim().below.get() as usize;
            let gone = numbers[..trim].iter();
            prop_assert!(gone.clone().all(|(p, n)| below.get(p).is_some_and(|below| n < below)));
            let first = numbers.get(trim);
            prop_assert!(first.is_none_or(|(p, n)| below.get(p).is_none_or(|below| n >= below)), "trims what it can");
        }
    }
}
