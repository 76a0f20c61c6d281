//! A front and a worker around a bus: the relay publishes a log, the order takes what arrives, requests go back.

use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wardline_bus::flow::{Arrival, Checkpoint, Order, OrderStats, Relay, RelayCheckpoint, Resend};
use wardline_bus::{
    Bus, BusOptions, BusStats, Content, Engine, ErrorKind, FrontId, Number, Outgoing, Position, Record, Tail,
};
use wardline_journal::Offset;
use wardline_proto::PartitionId;

pub(crate) const FRONT: FrontId = FrontId::new(*b"front of a test!");
/// How old a gap is before it is asked for.
const PATIENCE: Duration = Duration::from_millis(500);
const MARK_EVERY: Duration = Duration::from_millis(300);

pub(crate) fn partition(number: u16) -> PartitionId {
    PartitionId::new(number).unwrap()
}

pub(crate) fn number(n: u64) -> Number {
    Number::new(n).unwrap()
}

pub(crate) fn body(n: u64) -> Bytes {
    Bytes::from(format!("sealed {n}"))
}

pub(crate) fn outgoing(p: u16, n: u64) -> Outgoing {
    let (partition, n, content) = (partition(p), number(n), Content::Body(body(n)));
    Outgoing { record: Record { front: FRONT, partition, n, content }, resend: 0 }
}

/// Starts a bus whose service ends with the test.
pub(crate) fn bus(engine: Arc<dyn Engine>, options: BusOptions) -> Bus {
    let (bus, service) = Bus::new(engine, options).unwrap();
    tokio::spawn(service.run());
    bus
}

/// Reads so many records, within a time that fails the test when it has passed.
pub(crate) async fn read(tail: &mut Tail, count: usize) -> Vec<(Position, Record)> {
    let mut got = Vec::new();
    let reading = async {
        while got.len() < count {
            let delivery = tail.recv().await.unwrap();
            got.push((delivery.position, Record::decode(&delivery.bytes).unwrap()));
        }
    };
    let limit = Duration::from_secs(60);
    assert!(tokio::time::timeout(limit, reading).await.is_ok(), "only {} of {count} records came", got.len());
    got
}

/// What a run of the pump showed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) order: OrderStats,
    pub(crate) bus: BusStats,
    /// The longest time without a delivery.
    pub(crate) longest_pause: Duration,
}

/// A log of `total` records of one partition, on its way; `delivered` follows how far it is.
pub(crate) struct Pump {
    pub(crate) delivered: watch::Receiver<u64>,
    /// Up to which number the worker reads.
    limit: watch::Sender<u64>,
    front: tokio::task::JoinHandle<()>,
    worker: tokio::task::JoinHandle<(Order, Duration)>,
    bus: Bus,
    total: u64,
}

impl Pump {
    /// Begins; one record becomes ready every `pace`.
    pub(crate) fn start(engine: Arc<dyn Engine>, options: BusOptions, total: u64, pace: Duration) -> Self {
        let bus = bus(engine, options);
        let (requests, asked) = mpsc::unbounded_channel();
        let (tell, delivered) = watch::channel(0);
        let tail = bus.tail(partition(0), Position::EARLIEST).unwrap();
        let front = tokio::spawn(front(bus.clone(), total, pace, asked));
        let (limit, limited) = watch::channel(total);
        let worker = tokio::spawn(worker(tail, total, requests, tell, limited));
        Self { delivered, limit, front, worker, bus, total }
    }

    /// Waits until so many were delivered.
    pub(crate) async fn reach(&mut self, count: u64) {
        let reached = self.delivered.wait_for(|delivered| *delivered >= count);
        tokio::time::timeout(Duration::from_secs(180), reached).await.expect("in time").unwrap();
    }

    /// Lets the worker rest when it has delivered so many.
    pub(crate) fn rest_at(&self, count: u64) {
        self.limit.send_replace(count);
    }

    /// Waits until the engine has committed so many.
    pub(crate) async fn commit(&self, count: u64) {
        while self.bus.stats().published < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[cfg(feature = "jetstream")]
    /// Waits until every replica of the partition follows its leader.
    pub(crate) async fn replicas_follow(&self) {
        let follows = async {
            while !self.bus.health().await.is_ok_and(|h| h[0].led && h[0].replicas_current == h[0].replicas) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), follows).await.expect("the replicas within a minute");
    }

    /// Waits for the end: every number was delivered once, in order, with its own body.
    pub(crate) async fn finish(mut self) -> Outcome {
        self.reach(self.total).await;
        let (order, longest_pause) = self.worker.await.unwrap();
        self.front.abort();
        let next = order.checkpoint().fronts[&FRONT];
        assert_eq!(next, number(self.total + 1));
        Outcome { order: order.stats(), bus: self.bus.stats(), longest_pause }
    }
}

async fn front(bus: Bus, total: u64, pace: Duration, mut asked: mpsc::UnboundedReceiver<Resend>) {
    let mut relay = Relay::resume(FRONT, &RelayCheckpoint::default());
    let mut answers = JoinSet::new();
    let mut ready = tokio::time::interval(pace);
    let mut mark = tokio::time::interval(MARK_EVERY);
    let mut marks = 0;
    loop {
        tokio::select! {
            _ = ready.tick(), if relay.read().get() < total => {
                relay.take(relay.read(), partition(0)).unwrap();
            }
            Some(request) = asked.recv() => {
                relay.resend(&request).unwrap();
            }
            Some(answer) = answers.join_next() => {
                let (n, result): (Number, Result<Position, wardline_bus::BusError>) = answer.unwrap();
                match result {
                    Ok(_) => relay.committed(partition(0), n),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                        relay.failed(partition(0), n);
                    }
                }
            }
            _ = mark.tick() => {
                for (p, n) in relay.marks().collect::<Vec<_>>() {
                    let record = Record { front: FRONT, partition: p, n, content: Content::Mark };
                    marks += 1;
                    bus.submit(&Outgoing { record, resend: marks }).await.unwrap();
                }
            }
        }
        while let Some(send) = relay.send() {
            assert_eq!(send.offset, Offset::new(send.n.get() - 1));
            let outgoing = Outgoing { resend: send.resend, ..outgoing(0, send.n.get()) };
            let committed = bus.submit(&outgoing).await.unwrap();
            answers.spawn(async move { (send.n, committed.position().await) });
        }
    }
}

async fn worker(
    mut tail: Tail,
    total: u64,
    requests: mpsc::UnboundedSender<Resend>,
    tell: watch::Sender<u64>,
    mut limit: watch::Receiver<u64>,
) -> (Order, Duration) {
    let begun = Instant::now();
    let mut order = Order::resume(&Checkpoint::new(partition(0)), PATIENCE);
    let (mut next, mut last, mut longest) = (1, Instant::now(), Duration::ZERO);
    let mut look = tokio::time::interval(PATIENCE / 2);
    while next <= total {
        limit.wait_for(|limit| next <= *limit).await.unwrap();
        tokio::select! {
            delivery = tail.recv() => {
                let delivery = delivery.unwrap();
                let record = Record::decode(&delivery.bytes).unwrap();
                let arrival = order.arrive(record, delivery.position, begun.elapsed());
                if let Arrival::InOrder { first, bodies } = arrival {
                    assert_eq!(first, number(next), "in order, once");
                    assert!(bodies.iter().zip(next..).all(|(got, n)| *got == body(n)));
                    next += bodies.len() as u64;
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    tell.send_replace(next - 1);
                }
            }
            _ = look.tick() => {
                order.resends(begun.elapsed()).into_iter().for_each(|request| requests.send(request).unwrap());
            }
        }
    }
    (order, longest)
}
