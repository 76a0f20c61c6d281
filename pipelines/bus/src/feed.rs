//! Puts a partition of the bus on its belt: opened, in order, each record once; what is missing is wished for.

use crate::belt::{Belt, Origin, now_us};
use crate::body;
use crate::engine::{Delivery, Position};
use crate::error::BusError;
use crate::flow::{Arrival, Checkpoint, Order, OrderStats, Resend};
use crate::record::Record;
use crate::supervise::{Bus, Place, Tail};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use wardline_journal::{Offset, Sealer};
use wardline_proto::PartitionId;

/// How old a gap is before it is asked for: an engine may deliver a retry late.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often gaps are looked for.
const LOOK: Duration = Duration::from_millis(250);

/// How often what was left is told of.
const TELL: Duration = Duration::from_secs(10);

/// For how long a record may be on its way from a front's log to the bus, microseconds. One that takes longer counts as
/// of when it came.
const IN_FLIGHT_US: i64 = 2_000_000;
/// How long a partition's time waits for records that are known to be missing. A front that is away may be so for
/// hours, and silence of its devices, and of those at other fronts, has to be noticed meanwhile (ALR-2). What comes
/// later is worked on all the same.
const GAP_WAIT_MAX: Duration = Duration::from_secs(20);

/// What a feed has seen so far, for whoever shows it.
#[derive(Debug, Default)]
pub struct FeedStats {
    delivered: AtomicU64,
    duplicates: AtomicU64,
    resends: AtomicU64,
    unopened: AtomicU64,
    left: AtomicU64,
}

impl FeedStats {
    /// Returns records delivered, records that came again, resends asked for, records that did not open, and records of
    /// one front too many or of another partition.
    pub fn counts(&self) -> [u64; 5] {
        [&self.delivered, &self.duplicates, &self.resends, &self.unopened, &self.left]
            .map(|count| count.load(Ordering::Relaxed))
    }

    fn note(&self, order: OrderStats) {
        self.delivered.store(order.delivered, Ordering::Relaxed);
        self.duplicates.store(order.duplicates, Ordering::Relaxed);
        self.resends.store(order.resends, Ordering::Relaxed);
        self.left.store(order.left, Ordering::Relaxed);
    }
}

/// Feeds one belt.
pub struct Feed {
    tail: Tail,
    intake: Intake,
}

/// What becomes of deliveries.
struct Intake {
    place: Place,
    order: Order,
    belt: Belt,
    sealer: Arc<Sealer>,
    wishes: mpsc::Sender<Resend>,
    stats: Arc<FeedStats>,
    begun: Instant,
    bus: Bus,
    partition: PartitionId,
    looked: Option<Position>,
    /// What was left when it was last told, and when that may be again.
    told: (u64, Instant),
}

impl Feed {
    /// Makes the feed of a belt that begins at a checkpoint. Wishes that find no room are made again later.
    pub fn new(
        bus: &Bus,
        checkpoint: &Checkpoint,
        belt: Belt,
        sealer: Arc<Sealer>,
        wishes: mpsc::Sender<Resend>,
    ) -> Result<Self, BusError> {
        let tail = bus.tail(checkpoint.partition, checkpoint.position)?;
        let order = Order::resume(checkpoint, PATIENCE);
        let (stats, begun) = (Arc::new(FeedStats::default()), Instant::now());
        let (bus, partition, looked, place) = (bus.clone(), checkpoint.partition, None, tail.place());
        let told = (0, begun);
        let intake =
            Intake { place, order, belt, sealer, wishes, stats, begun, bus, partition, looked, told };
        Ok(Self { tail, intake })
    }

    /// Returns its counts.
    pub fn stats(&self) -> Arc<FeedStats> {
        self.intake.stats.clone()
    }

    /// Feeds until it is told to stop. What comes back as an error does not pass by itself.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), BusError> {
        let Self { tail, mut intake } = self;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // One wait lasts until it has a delivery, whatever is looked at meanwhile: dropped at each look, a stream that
        // takes longer to open would never be open.
        let mut reading = Box::pin(next(tail, intake.belt.clone()));
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                (tail, delivery) = &mut reading => {
                    intake.take(&delivery?);
                    reading.set(next(tail, intake.belt.clone()));
                }
                _at = look.tick() => {
                    intake.wish();
                    intake.settle().await;
                }
            }
        }
    }
}

/// Waits for room, and for a delivery.
async fn next(mut tail: Tail, belt: Belt) -> (Tail, Result<Delivery, BusError>) {
    belt.room().await;
    let delivery = tail.recv().await;
    (tail, delivery)
}

impl Intake {
    fn take(&mut self, delivery: &Delivery) {
        let before = self.order.read_on().get();
        let Some(record) = self.opened(delivery) else { return };
        let front = record.front;
        let arrival = self.order.arrive(record, delivery.position, self.begun.elapsed());
        self.stats.note(self.order.stats());
        let Arrival::InOrder { first, bodies } = arrival else { return };
        let after = self.order.read_on().get();
        let last = bodies.len() - 1;
        for (index, plain) in bodies.iter().enumerate() {
            // Between two of one arrival nothing newer is known than what was before it.
            let position = if index == last { after } else { before };
            let n = first.plus(index as u64);
            // It was read once, when it was opened.
            if let Some(entry) = body::entry(plain, Offset::ZERO) {
                self.belt.push(entry, Origin { front, n, position });
            }
        }
    }

    /// Decodes and opens. What does neither is as good as lost: its number is missing, and asked for.
    fn opened(&self, delivery: &Delivery) -> Option<Record> {
        let unread = |error: &body::Unread| {
            self.stats.unopened.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(position = %delivery.position, %error, "a record of the bus is not one of ours");
        };
        body::delivered(&self.sealer, &delivery.bytes).inspect_err(unread).ok()
    }

    /// Compares with what the bus has, when nothing came since the last look.
    async fn settle(&mut self) {
        let read = self.place.reading();
        let same = std::mem::replace(&mut self.looked, read) == read;
        let waits = self.order.waits(self.begun.elapsed(), GAP_WAIT_MAX);
        let Some(read) = read.filter(|_| same && !waits) else { return };
        let asked_us = now_us();
        match tokio::time::timeout(PATIENCE, self.bus.watermark(self.partition)).await {
            Ok(Ok(watermark)) if watermark <= read => self.belt.settle(asked_us - IN_FLIGHT_US),
            // There is more, or the bus does not say: the tail sees to both.
            Ok(_) | Err(_) => {}
        }
    }

    fn wish(&mut self) {
        for wish in self.order.resends(self.begun.elapsed()) {
            tracing::info!(?wish, "records are missing and asked for");
            let _asked_again_later = self.wishes.try_send(wish);
        }
        self.stats.note(self.order.stats());
        self.tell();
    }

    /// Says that records were left, and that the operator has to see to it.
    fn tell(&mut self) {
        let (left, now) = (self.order.stats().left, Instant::now());
        if left > self.told.0 && now >= self.told.1 {
            let partition = self.partition.get();
            tracing::warn!(
                partition,
                left,
                "WL-BUS-007: records of too many fronts, or of another partition"
            );
            self.told = (left, now + TELL);
        }
    }
}

/// Waits until it is told to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _sender_is_gone = stop.wait_for(|stop| *stop).await.is_err();
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed({:?}, {:?})", self.tail, self.intake.belt)
    }
}
