//! Reading: one partition, from a position of ours, over as many streams as it takes.

use super::pool::{Lease, Pool};
use super::stats::add;
use super::within;
use crate::engine::{Delivery, PartitionStream, Position};
use crate::error::{BusError, ErrorKind};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::time::{Instant, timeout_at};
use wardline_proto::PartitionId;

/// How often a stream is opened again because of one hole. Then the records are gone from the engine, and the
/// numbers in the records behind it will tell.
const SKIP_ATTEMPTS_MAX: u32 = 3;

/// A reader of one partition.
pub struct Tail {
    pool: Arc<Pool>,
    partition: PartitionId,
    /// Where to read on.
    position: Position,
    /// Whether anything was read since the position was given: before, a hole is where trimming has been.
    is_settled: bool,
    /// The hole that was met last, and how often.
    hole: Option<(Position, u32)>,
    open: Option<(Lease, Box<dyn PartitionStream>)>,
    /// When the stream was last known not to be stuck. It outlives a wait that is dropped.
    heard: Instant,
    /// Whether there was more at the last look already.
    is_behind: bool,
    place: Place,
}

/// Where a tail is, for others than the one that reads.
#[derive(Debug, Clone, Default)]
pub struct Place(Arc<(AtomicU64, AtomicBool)>);

impl Place {
    /// Returns where the tail reads on; nothing while it has no stream.
    pub fn reading(&self) -> Option<Position> {
        let (position, open) = &*self.0;
        open.load(Ordering::Acquire).then(|| Position::new(position.load(Ordering::Acquire)))
    }

    fn tell(&self, position: Position, open: bool) {
        self.0.0.store(position.get(), Ordering::Release);
        self.0.1.store(open, Ordering::Release);
    }
}

impl Tail {
    pub(super) fn new(pool: Arc<Pool>, partition: PartitionId, position: Position) -> Self {
        let (heard, place) = (Instant::now(), Place::default());
        Self {
            pool,
            partition,
            position,
            is_settled: false,
            hole: None,
            open: None,
            heard,
            is_behind: false,
            place,
        }
    }

    /// Returns where it reads on.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns a way to look at where it is while it waits.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Waits for the next record, as long as it takes: whatever passes by itself is tried again here, with pauses.
    /// What comes back as an error does not pass. A wait that is dropped loses no record, but a stream that was being
    /// opened: whoever drops each wait early may never see one open.
    pub async fn recv(&mut self) -> Result<Delivery, BusError> {
        loop {
            let attempt = self.attempt().await;
            self.place.tell(self.position, self.open.is_some());
            match attempt {
                Ok(Some(delivery)) => return Ok(delivery),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Retry => self.pool.pause(self.partition).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once; nothing when the stream was opened, closed or silent.
    async fn attempt(&mut self) -> Result<Option<Delivery>, BusError> {
        let Some((lease, stream)) = &mut self.open else {
            self.open().await?;
            return Ok(None);
        };
        match timeout_at(self.heard + self.pool.options.idle_check, stream.next()).await {
            Ok(Ok(delivery)) => {
                (self.heard, self.is_behind) = (Instant::now(), false);
                Ok(self.accept(delivery))
            }
            Ok(Err(error)) => {
                let lease = lease.clone();
                self.open = None;
                self.pool.judge(self.partition, &lease, &error).await;
                Err(error)
            }
            Err(_) => {
                let watermark =
                    self.pool.watermark(self.partition).await.inspect_err(|_| self.open = None)?;
                self.heard = Instant::now();
                let was_behind = std::mem::replace(&mut self.is_behind, watermark > self.position);
                // Once is no sign: what was just published may be on its way.
                if self.is_behind && was_behind {
                    add(&self.pool.counters.stalls, 1);
                    tracing::warn!(partition = self.partition.get(), "bus: stream is silent, opened again");
                    self.open = None;
                    self.is_behind = false;
                } else if watermark < self.position && watermark > Position::EARLIEST {
                    self.open = None;
                }
                Ok(None)
            }
        }
    }

    async fn open(&mut self) -> Result<(), BusError> {
        let (pool, partition) = (self.pool.clone(), self.partition);
        let watermark = pool.watermark(partition).await?;
        if watermark < self.position {
            // The engine was rebuilt, or a replica with less leads now: what is read twice is dropped by number.
            tracing::warn!(
                partition = partition.get(),
                "bus: engine has less than was read, read from the start"
            );
            add(&pool.counters.resets, 1);
            self.position = Position::EARLIEST;
            self.is_settled = false;
        }
        let lease = pool.lease(partition).await?;
        let open = lease.client.open(partition, self.position);
        match within(pool.options.request_timeout, "open a stream", open).await {
            Ok(stream) => {
                self.open = Some((lease, stream));
                self.heard = Instant::now();
            }
            Err(error) => {
                pool.judge(partition, &lease, &error).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a delivery, unless its position shows that the engine skipped something.
    fn accept(&mut self, delivery: Delivery) -> Option<Delivery> {
        if delivery.position < self.position {
            return None;
        }
        let skipped =
            delivery.position > self.position && self.is_settled && self.pool.engine().is_contiguous();
        if skipped {
            let met = self.hole.filter(|(at, _)| *at == self.position).map_or(0, |(_, met)| met);
            if met < SKIP_ATTEMPTS_MAX {
                self.hole = Some((self.position, met + 1));
                self.open = None;
                add(&self.pool.counters.skips, 1);
                tracing::warn!(partition = self.partition.get(), at = %self.position, "bus: records skipped, read again");
                return None;
            }
        }
        self.position = delivery.position.next();
        self.is_settled = true;
        add(&self.pool.counters.read, 1);
        Some(delivery)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({} from {})", self.partition.get(), self.position)
    }
}

impl Pool {
    pub(super) async fn watermark(&self, partition: PartitionId) -> Result<Position, BusError> {
        let lease = self.lease(partition).await?;
        let asked = lease.client.watermark(partition);
        let watermark = within(self.options.request_timeout, "watermark", asked).await;
        match &watermark {
            Ok(_) => self.vouch(partition).await,
            Err(error) => self.judge(partition, &lease, error).await,
        }
        watermark
    }
}
