//! Counters of a device, readable while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use wardline_proto::codes::status;
use wardline_proto::v1::Body;

/// A counter that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

/// What a device did so far.
#[derive(Debug, Default)]
pub struct DeviceStats {
    /// Bodies that were measured and taken into the outbox.
    pub bodies: Counter,
    /// Readings within them.
    pub readings: Counter,
    /// Waveform samples within them.
    pub samples: Counter,
    /// Bodies that the agent acknowledged.
    pub acked: Counter,
    /// Messages that were sent again.
    pub resent: Counter,
    /// Bodies that a full live outbox gave up.
    pub dropped: Counter,
    /// Connections to the agent.
    pub connects: Counter,
    /// Damaged messages from the agent.
    pub damaged: Counter,
    latest: Mutex<BTreeMap<u32, f64>>,
}

/// What is counted of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodySize {
    readings: u64,
    samples: u64,
}

impl BodySize {
    pub(crate) fn of(body: &Body) -> Self {
        Self {
            readings: body.numerics.iter().map(|s| s.values.len() as u64).sum(),
            samples: body.waveforms.iter().map(|w| w.sample_deltas.len() as u64).sum(),
        }
    }
}

impl DeviceStats {
    /// Returns the newest valid reading of a metric, by MDC code; `None` when the newest is not valid.
    pub fn latest(&self, mdc_code: u32) -> Option<f64> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).get(&mdc_code).copied()
    }

    /// Counts a body that was taken into the outbox.
    pub(crate) fn taken(&self, size: BodySize) {
        self.bodies.add(1);
        self.readings.add(size.readings);
        self.samples.add(size.samples);
    }

    /// Notes the newest readings of a body.
    pub(crate) fn measured(&self, body: &Body) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        for series in &body.numerics {
            let valid = series.statuses.last().is_none_or(|s| s & status::NO_ALARM == 0);
            match series.values.last().filter(|_| valid) {
                Some(value) => latest.insert(series.mdc_code, *value),
                None => latest.remove(&series.mdc_code),
            };
        }
    }
}
