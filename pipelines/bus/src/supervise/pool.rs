//! Connections to the engine: made when needed, shared by partitions, thrown away when in doubt.

use super::stats::{Counters, add};
use super::within;
use crate::engine::{Client, Engine};
use crate::error::BusError;
use crate::options::{BusOptions, connections};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::Instant;
use wardline_proto::PartitionId;

/// A client, and which one of its slot it is.
#[derive(Clone)]
pub(super) struct Lease {
    pub(super) client: Arc<dyn Client>,
    generation: u64,
}

#[derive(Default)]
struct Slot {
    lease: Option<Lease>,
    generation: u64,
    failures: u32,
    not_before: Option<Instant>,
}

/// Whether there ever was a connection, and why not.
#[derive(Default)]
struct Standing(std::sync::Mutex<(bool, Option<BusError>)>);

pub(super) struct Pool {
    engine: Arc<dyn Engine>,
    pub(super) options: BusOptions,
    pub(super) counters: Counters,
    slots: Vec<Mutex<Slot>>,
    trouble: Standing,
}

impl Pool {
    pub(super) fn new(engine: Arc<dyn Engine>, options: BusOptions) -> Self {
        let slots = (0..connections(engine.connections())).map(|_| Mutex::default()).collect();
        Self { engine, options, counters: Counters::default(), slots, trouble: Standing::default() }
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Refuses a partition that the topic does not have.
    pub(super) fn check(&self, partition: PartitionId) -> Result<(), BusError> {
        let known = partition.get() < self.engine.partitions();
        if known { Ok(()) } else { Err(BusError::NoPartition(partition.get())) }
    }

    fn slot(&self, partition: PartitionId) -> &Mutex<Slot> {
        &self.slots[usize::from(partition.get()) % self.slots.len()]
    }

    /// Returns the partition's client, or connects. Within the pause after a failure it fails at once.
    pub(super) async fn lease(&self, partition: PartitionId) -> Result<Lease, BusError> {
        let mut slot = self.slot(partition).lock().await;
        if let Some(lease) = &slot.lease {
            return Ok(lease.clone());
        }
        if slot.not_before.is_some_and(|at| Instant::now() < at) {
            return Err(BusError::Unavailable("the last attempt failed, the next one waits".into()));
        }
        let connected = within(self.options.connect_timeout, "connect", self.engine.connect()).await;
        self.trouble.note(connected.as_ref().err());
        match connected {
            Ok(client) => {
                add(&self.counters.connects, 1);
                slot.generation += 1;
                let lease = Lease { client, generation: slot.generation };
                slot.lease = Some(lease.clone());
                Ok(lease)
            }
            Err(error) => {
                slot.back_off(&self.options);
                let (engine, code) = (self.engine.name(), error.refusal().code());
                tracing::warn!(engine, code, %error, failures = slot.failures, "bus: no connection");
                Err(error)
            }
        }
    }

    /// Returns what an operator has to mend before the first connection can be made.
    pub(super) fn trouble(&self) -> Option<BusError> {
        self.trouble.lock().1.clone()
    }

    /// Throws a client away when the error leaves it in doubt, unless somebody else did so before.
    pub(super) async fn judge(&self, partition: PartitionId, lease: &Lease, error: &BusError) {
        let mut slot = self.slot(partition).lock().await;
        let is_current = slot.lease.as_ref().is_some_and(|l| l.generation == lease.generation);
        if error.spoils_client() && is_current {
            slot.lease = None;
            slot.back_off(&self.options);
            add(&self.counters.rebuilds, 1);
            tracing::warn!(engine = self.engine.name(), %error, "bus: connection thrown away");
        }
    }

    /// Notes that a client does what it is for: the next pause is a short one again.
    pub(super) async fn vouch(&self, partition: PartitionId) {
        self.slot(partition).lock().await.failures = 0;
    }

    /// Waits for as long as the partition's connection may not be tried.
    pub(super) async fn pause(&self, partition: PartitionId) {
        let not_before = self.slot(partition).lock().await.not_before;
        let least = Instant::now() + self.options.backoff_min;
        tokio::time::sleep_until(not_before.map_or(least, |at| at.max(least))).await;
    }
}

impl Standing {
    /// Notes how an attempt ended. After the first connection nothing is in the way any more: what comes then passes,
    /// or shows as what waits.
    fn note(&self, failed: Option<&BusError>) {
        let mut standing = self.lock();
        let is_joined = standing.0 || failed.is_none();
        let error = failed.filter(|error| !is_joined && error.is_for_operator()).cloned();
        // A server that does not answer says nothing about what the one before has said.
        if is_joined || error.is_some() {
            *standing = (is_joined, error);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (bool, Option<BusError>)> {
        // What is behind the lock is never left half changed.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Slot {
    fn back_off(&mut self, options: &BusOptions) {
        let pause = options.backoff_min.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + pause.min(options.backoff_max));
    }
}
