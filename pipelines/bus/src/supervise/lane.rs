//! Publishing: a lane per partition, one batch of it in flight, as large as what has queued.

use super::pool::Pool;
use super::stats::{BusStats, add};
use super::tail::Tail;
use super::within;
use crate::engine::{Engine, Outgoing, PartitionHealth, Position, Published};
use crate::error::BusError;
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, BODY_BYTES_MAX, LANE_RECORDS_MAX};
use crate::options::BusOptions;
use crate::record::Content;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use wardline_proto::PartitionId;

struct Job {
    published: Published,
    answer: oneshot::Sender<Result<Position, BusError>>,
}

/// The handle of the bus. Clones are cheap and speak to the same service.
#[derive(Clone)]
pub struct Bus {
    pool: Arc<Pool>,
    lanes: Arc<[mpsc::Sender<Job>]>,
}

/// The service of a bus: it publishes while [`BusService::run`] runs, and all its handles fail afterwards.
pub struct BusService {
    pool: Arc<Pool>,
    lanes: Vec<(PartitionId, mpsc::Receiver<Job>)>,
}

/// The answer to a submitted record: a wait that may be dropped, which takes nothing back.
#[derive(Debug)]
pub struct Committed(oneshot::Receiver<Result<Position, BusError>>);

impl Bus {
    /// Makes a handle and its service for an engine. Nothing is connected yet.
    pub fn new(engine: Arc<dyn Engine>, options: BusOptions) -> Result<(Self, BusService), BusError> {
        options.check()?;
        let pool = Arc::new(Pool::new(engine, options));
        let partitions = (0..pool.engine().partitions()).map_while(PartitionId::new);
        let lanes = partitions.map(|partition| (partition, mpsc::channel(LANE_RECORDS_MAX)));
        let (senders, receivers): (Vec<_>, _) = lanes.map(|(p, (tx, rx))| (tx, (p, rx))).unzip();
        Ok((Self { pool: pool.clone(), lanes: senders.into() }, BusService { pool, lanes: receivers }))
    }

    /// Queues a record in its partition's lane, waiting for room. Records of a partition are published in the order
    /// in which they were queued, but an engine may keep a later one and lose an earlier one.
    pub async fn submit(&self, outgoing: &Outgoing) -> Result<Committed, BusError> {
        let record = &outgoing.record;
        self.pool.check(record.partition)?;
        let bytes = record.encode().map_err(|bytes| BusError::TooLarge { bytes, max: BODY_BYTES_MAX })?;
        let (front, partition, n) = (record.front, record.partition.get(), record.n);
        // A mark names a number that a record will have: it must not take the record's name.
        let kind = if record.content == Content::Mark { "m" } else { "" };
        let name = format!("{front}/{partition}/{n}/{kind}{}", outgoing.resend);
        let (answer, committed) = oneshot::channel();
        let lane = self.lanes.get(usize::from(partition)).ok_or(BusError::NoPartition(partition))?;
        let job = Job { published: Published { bytes, name }, answer };
        lane.send(job).await.map_err(|_| BusError::Closed)?;
        Ok(Committed(committed))
    }

    /// Makes a reader of one partition, from a position of ours on. It connects when it is first asked.
    pub fn tail(&self, partition: PartitionId, from: Position) -> Result<Tail, BusError> {
        self.pool.check(partition)?;
        Ok(Tail::new(self.pool.clone(), partition, from))
    }

    /// Returns the position after the newest committed record of a partition.
    pub async fn watermark(&self, partition: PartitionId) -> Result<Position, BusError> {
        self.pool.check(partition)?;
        self.pool.watermark(partition).await
    }

    /// Lets the engine forget what every worker's checkpoint has passed.
    pub async fn trim(&self, partition: PartitionId, below: Position) -> Result<(), BusError> {
        self.pool.check(partition)?;
        let lease = self.pool.lease(partition).await?;
        let done =
            within(self.pool.options.request_timeout, "trim", lease.client.trim(partition, below)).await;
        if let Err(error) = &done {
            self.pool.judge(partition, &lease, error).await;
        }
        done
    }

    /// Tells how the replicas of every partition stand; [`super::wedged`] compares two answers.
    pub async fn health(&self) -> Result<Vec<PartitionHealth>, BusError> {
        let lease = self.pool.lease(PartitionId::default()).await?;
        let health = within(self.pool.options.request_timeout, "health", lease.client.health()).await;
        if let Err(error) = &health {
            self.pool.judge(PartitionId::default(), &lease, error).await;
        }
        health
    }

    /// Returns what an operator has to mend before the engine is reached for the first time; nothing once it was.
    pub fn trouble(&self) -> Option<BusError> {
        self.pool.trouble()
    }

    /// Returns the counts.
    pub fn stats(&self) -> BusStats {
        self.pool.counters.snapshot()
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bus({:?})", self.pool.engine())
    }
}

impl fmt::Debug for BusService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusService({:?})", self.pool.engine())
    }
}

impl Committed {
    /// Waits until the engine has committed the record. An error of kind retry says that nobody knows.
    pub async fn position(self) -> Result<Position, BusError> {
        self.0.await.unwrap_or(Err(BusError::Closed))
    }
}

impl BusService {
    /// Publishes until every handle is gone; what has queued by then is published first. Dropping it stops at once.
    pub async fn run(self) {
        let mut lanes = JoinSet::new();
        for (partition, queue) in self.lanes {
            lanes.spawn(lane(self.pool.clone(), partition, queue));
        }
        while lanes.join_next().await.is_some() {}
    }
}

async fn lane(pool: Arc<Pool>, partition: PartitionId, mut queue: mpsc::Receiver<Job>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(job) => job,
            None => match queue.recv().await {
                Some(job) => job,
                None => return,
            },
        };
        let (batch, answers) = gather(first, &mut queue, &mut next);
        let results = publish(&pool, partition, &batch).await;
        let failed = results.iter().filter(|result| result.is_err()).count();
        add(&pool.counters.failed, failed as u64);
        add(&pool.counters.published, (results.len() - failed) as u64);
        for (answer, result) in answers.into_iter().zip(results) {
            // Whoever does not wait any more asks the order, not us.
            let _ = answer.send(result);
        }
        // Whoever publishes again at once would otherwise spin.
        if failed > 0 {
            pool.pause(partition).await;
        }
    }
}

type Batch = (Vec<Published>, Vec<oneshot::Sender<Result<Position, BusError>>>);

/// Takes what has queued, up to the bounds of a batch; a job that does not fit is `next`.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>, next: &mut Option<Job>) -> Batch {
    let mut bytes = first.published.bytes.len();
    let (mut batch, mut answers) = (vec![first.published], vec![first.answer]);
    while batch.len() < BATCH_RECORDS_MAX {
        let Ok(job) = queue.try_recv() else { break };
        bytes += job.published.bytes.len();
        if bytes > BATCH_BYTES_MAX {
            *next = Some(job);
            break;
        }
        batch.push(job.published);
        answers.push(job.answer);
    }
    (batch, answers)
}

/// Publishes a batch; one result per record, whatever happens.
async fn publish(
    pool: &Pool,
    partition: PartitionId,
    batch: &[Published],
) -> Vec<Result<Position, BusError>> {
    let all = |error: BusError| batch.iter().map(|_| Err(error.clone())).collect();
    let lease = match pool.lease(partition).await {
        Ok(lease) => lease,
        Err(error) => return all(error),
    };
    let publish = lease.client.publish(partition, batch);
    let results = within(pool.options.publish_timeout, "publish", publish).await;
    let results = match results {
        Ok(results) if results.len() == batch.len() => results,
        Ok(_) => all(BusError::Unavailable("the client lost an answer".into())),
        Err(error) => all(error),
    };
    let worst = results.iter().filter_map(|r| r.as_ref().err()).find(|e| e.spoils_client());
    match worst {
        Some(error) => pool.judge(partition, &lease, error).await,
        None => pool.vouch(partition).await,
    }
    results
}
