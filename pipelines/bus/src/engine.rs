//! What an engine has to do. Thin on purpose: deadlines, rebuilding, continuity and order are not its business.

use crate::error::BusError;
use crate::record::Record;
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use wardline_proto::PartitionId;

/// A wait for an engine. It may be dropped at any point; what was asked may happen all the same.
pub type Wait<'a, T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send + 'a>>;

/// A place in a partition of an engine, as the engine counts: larger is later, and no more is promised.
///
/// A checkpoint of ours keeps it to read on from, and never to decide what is complete: after a rebuild of the
/// engine the same number can mean another record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(u64);

impl Position {
    /// Before whatever an engine still has.
    pub const EARLIEST: Self = Self(0);

    /// Makes a position from a stored number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The record.
    pub record: Record,
    /// Which time it was asked for: 0 at first. An engine that drops duplicates by name drops retries of one time
    /// only: what a tail asks for again has to be stored again, behind the place where the tail missed it. A mark
    /// counts its repetitions here.
    pub resend: u32,
}

/// A record as an engine takes it: encoded, and named for engines that drop duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The encoded record.
    pub bytes: Bytes,
    /// Its name: `front/partition/n/resend`, of a mark `front/partition/n/mresend`.
    pub name: String,
}

/// What a stream hands out: bytes that nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its place.
    pub position: Position,
    /// Its bytes.
    pub bytes: Bytes,
}

/// How a partition's replicas stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionHealth {
    /// The partition.
    pub partition: PartitionId,
    /// Whether a leader takes records.
    pub led: bool,
    /// Replicas that follow the leader closely, it included.
    pub replicas_current: u32,
    /// Replicas that it should have.
    pub replicas: u32,
    /// What all replicas have.
    pub committed: Position,
    /// What the leader has.
    pub end: Position,
}

/// An engine with all that is needed to reach it.
pub trait Engine: Send + Sync + fmt::Debug + 'static {
    /// Names it in logs.
    fn name(&self) -> &'static str;

    /// Tells how many partitions its topic has.
    fn partitions(&self) -> u16;

    /// Tells whether a partition's positions have no holes. Then a hole is a skipped record and the stream is
    /// opened again.
    fn is_contiguous(&self) -> bool;

    /// Tells how many connections serve the partitions: more than one where a connection serves its requests one
    /// after the other.
    fn connections(&self) -> usize;

    /// Connects, and makes the topic when it is not there. A topic that differs from the options is an error.
    fn connect(&self) -> Wait<'_, Arc<dyn Client>>;
}

/// A connection. It is thrown away after an error that leaves it in doubt, never mended.
pub trait Client: Send + Sync + 'static {
    /// Publishes records of one partition in their order and waits until every replica that counts has each.
    /// One result per record; an error of one says nothing about the others.
    fn publish<'a>(
        &'a self,
        partition: PartitionId,
        batch: &'a [Published],
    ) -> Wait<'a, Vec<Result<Position, BusError>>>;

    /// Opens a stream of one partition, from the first record at or after a position.
    fn open(&self, partition: PartitionId, from: Position) -> Wait<'_, Box<dyn PartitionStream>>;

    /// Returns the position after the newest committed record of a partition; the earliest when it has none.
    fn watermark(&self, partition: PartitionId) -> Wait<'_, Position>;

    /// Lets the engine forget the records of a partition below a position, but for the newest of them: without it
    /// the watermark would be forgotten too. An engine that forgets by age alone does nothing.
    fn trim(&self, partition: PartitionId, below: Position) -> Wait<'_, ()>;

    /// Tells how the replicas of every partition stand.
    fn health(&self) -> Wait<'_, Vec<PartitionHealth>>;
}

/// A stream of one partition.
pub trait PartitionStream: Send {
    /// Waits for the next record. A wait that is dropped loses nothing.
    fn next(&mut self) -> Wait<'_, Delivery>;
}
