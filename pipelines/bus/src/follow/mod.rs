//! Partitions read behind what their workers have committed, by somebody who commits nothing: each record once, in order.
//!
//! ```text
//! Tail ─► open ─► Order ─► kept ◄─ read: as far as the bus reached when it was asked for
//!                   ▲       │
//!                   └─ pass: what is committed by now is dropped
//! ```
//! **Invariant:** it takes no lease, publishes nothing, trims nothing and asks no front for anything: what is missing is
//! missed by the workers too, and comes when they have asked for it.
//! **Invariant:** of each front it keeps all numbers from the last passage on that it has reached, without a hole. What
//! stands behind a hole is not given, and the reading says that it is not whole.
//!
//! Bounds: [`FOLLOWED_RECORDS_MAX`], [`FOLLOWED_BYTES_MAX`]. At the bound reading stops, until something is passed.

mod budget;
mod line;

use crate::error::BusError;
use crate::flow::Checkpoint;
use crate::limits::{FOLLOWED_BYTES_MAX, FOLLOWED_RECORDS_MAX};
use crate::record::{FrontId, Number};
use crate::supervise::Bus;
use budget::Budget;
use line::Line;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use wardline_journal::{Entry, Sealer};
use wardline_proto::PartitionId;

/// A record, opened, and its name.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The partition of the bus.
    pub partition: PartitionId,
    /// The log that it is from.
    pub front: FrontId,
    /// Its number there.
    pub n: Number,
    /// What the log held; its offset says nothing.
    pub entry: Entry,
}

/// What stands behind what was passed.
#[derive(Debug, Default)]
pub struct Reading {
    /// By partition, in the order in which a worker gets them.
    pub records: Vec<Followed>,
    /// Whether it is all that the bus had when it was asked for.
    pub is_whole: bool,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Records.
    pub records_max: usize,
    /// Bytes of them.
    pub bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { records_max: FOLLOWED_RECORDS_MAX, bytes_max: FOLLOWED_BYTES_MAX }
    }
}

/// Follows partitions until it is dropped.
pub struct Follower {
    bus: Bus,
    lines: Vec<Arc<Line>>,
    /// Ends with the follower.
    reading: JoinSet<()>,
}

impl Follower {
    /// Begins behind checkpoints, one for each partition that is followed.
    pub fn start(
        bus: &Bus,
        checkpoints: &[Checkpoint],
        sealer: &Arc<Sealer>,
        bounds: Bounds,
    ) -> Result<Self, BusError> {
        let (budget, mut reading) = (Arc::new(Budget::new(bounds)), JoinSet::new());
        let mut lines = Vec::new();
        for checkpoint in checkpoints {
            let tail = bus.tail(checkpoint.partition, checkpoint.position)?;
            let line = Arc::new(Line::new(checkpoint, tail.place(), budget.clone()));
            reading.spawn(line.clone().follow(tail, sealer.clone()));
            lines.push(line);
        }
        Ok(Self { bus: bus.clone(), lines, reading })
    }

    /// Reads what there is behind what was passed, as far as the bus reaches now. It waits for that and no longer than
    /// `within`: then it is what has come.
    pub async fn read(&self, within: Duration) -> Reading {
        let until = Instant::now() + within;
        let mut reaching = JoinSet::new();
        for line in &self.lines {
            let (line, bus) = (line.clone(), self.bus.clone());
            reaching.spawn(async move { line.reach(&bus).await });
        }
        let mut reached = 0;
        while let Ok(Some(line)) = timeout_at(until, reaching.join_next()).await {
            reached += usize::from(line.is_ok_and(|is_reached| is_reached));
        }
        let mut reading = Reading { records: Vec::new(), is_whole: reached == self.lines.len() };
        for line in &self.lines {
            reading.is_whole &= line.add_to(&mut reading.records);
        }
        reading
    }

    /// Drops what is committed by now, up to a checkpoint of each partition. `false`: one of them is behind an earlier
    /// one; what was dropped is needed again, and whoever follows has to begin anew.
    pub fn pass(&self, checkpoints: &[Checkpoint]) -> bool {
        let of = |line: &Line| checkpoints.iter().find(|checkpoint| checkpoint.partition == line.partition());
        self.lines.iter().all(|line| of(line).is_none_or(|checkpoint| line.pass(checkpoint)))
    }

    /// Says whether a partition is not read any more, for a reason that does not pass by itself.
    pub fn has_ended(&self) -> bool {
        self.lines.iter().any(|line| line.has_ended())
    }

    /// Returns how many records are kept.
    pub fn kept(&self) -> usize {
        self.lines.iter().map(|line| line.kept()).sum()
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follower({} of {} partitions)", self.reading.len(), self.lines.len())
    }
}
