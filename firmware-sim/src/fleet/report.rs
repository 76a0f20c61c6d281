//! What a fleet counted, while it runs and at its end.

use crate::stats::Counter;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest latency that is told apart, microseconds: two minutes.
const LATENCY_US_MAX: u64 = 120_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Counters of a running fleet.
#[derive(Debug)]
pub struct FleetStats {
    /// Frames that were published, each once however often it was sent.
    pub sent: Counter,
    /// Frames that were acknowledged.
    pub acked: Counter,
    /// Frames that were sent again on a new connection.
    pub resent: Counter,
    /// Sessions that were accepted.
    pub connects: Counter,
    /// Sessions that were accepted after the device's first.
    pub reconnects: Counter,
    /// How often a front sent a device on to another one.
    pub sent_on: Counter,
    /// Devices that have a session now.
    pub connected: std::sync::atomic::AtomicI64,
    refused: Mutex<BTreeMap<String, u64>>,
    latencies: Mutex<Latencies>,
}

#[derive(Debug)]
struct Latencies {
    ack: Histogram<u64>,
    due: Histogram<u64>,
    connect: Histogram<u64>,
}

/// Which latency is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Latency {
    /// Written to acknowledged.
    Ack,
    /// Due to acknowledged: waiting for a connection or a free slot counts.
    Due,
    /// TCP, TLS and CONNECT to CONNACK.
    Connect,
}

impl Default for FleetStats {
    fn default() -> Self {
        Self {
            sent: Counter::default(),
            acked: Counter::default(),
            resent: Counter::default(),
            connects: Counter::default(),
            reconnects: Counter::default(),
            sent_on: Counter::default(),
            connected: Default::default(),
            refused: Mutex::default(),
            latencies: Mutex::new(Latencies { ack: histogram(), due: histogram(), connect: histogram() }),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS).expect("constant bounds are in order")
}

impl FleetStats {
    /// Returns refusals so far by reason: a TLS or transport error, a CONNACK code, or a cut session.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn refuse(&self, reason: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused.get_mut(reason) {
            Some(count) => *count += 1,
            None => _ = refused.insert(reason.to_owned(), 1),
        }
    }

    pub(super) fn record(&self, latency: Latency, took: Duration) {
        let mut latencies = self.latencies();
        let histogram = match latency {
            Latency::Ack => &mut latencies.ack,
            Latency::Due => &mut latencies.due,
            Latency::Connect => &mut latencies.connect,
        };
        histogram.saturating_record((took.as_micros() as u64).max(1));
    }

    fn latencies(&self) -> MutexGuard<'_, Latencies> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what was counted in `took`.
    pub fn report(&self, shape: &str, devices: usize, took: Duration) -> FleetReport {
        let latencies = self.latencies();
        let (sent, acked) = (self.sent.get(), self.acked.get());
        FleetReport {
            shape: shape.to_owned(),
            devices,
            seconds: took.as_secs_f64(),
            sent,
            acked,
            unacked: sent - acked,
            resent: self.resent.get(),
            acked_per_second: acked as f64 / took.as_secs_f64().max(1e-9),
            connects: self.connects.get(),
            reconnects: self.reconnects.get(),
            sent_on: self.sent_on.get(),
            refused: self.refused(),
            ack_us: Percentiles::of(&latencies.ack),
            due_to_ack_us: Percentiles::of(&latencies.due),
            connect_us: Percentiles::of(&latencies.connect),
        }
    }
}

/// What a fleet did, at its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetReport {
    /// Name of the traffic shape.
    pub shape: String,
    /// Devices that took part.
    pub devices: usize,
    /// How long it ran, the wait for the last acknowledgements included.
    pub seconds: f64,
    /// Frames that were published, each counted once.
    pub sent: u64,
    /// Frames that were acknowledged.
    pub acked: u64,
    /// Frames without an acknowledgement at the end.
    pub unacked: u64,
    /// Frames that were sent again.
    pub resent: u64,
    /// Acknowledged frames per second.
    pub acked_per_second: f64,
    /// Sessions that were accepted.
    pub connects: u64,
    /// Sessions after a device's first.
    pub reconnects: u64,
    /// How often a front sent a device on to another one.
    pub sent_on: u64,
    /// Refusals by reason.
    pub refused: BTreeMap<String, u64>,
    /// Written to acknowledged, microseconds.
    pub ack_us: Percentiles,
    /// Due to acknowledged, microseconds: what a device that cannot wait would see.
    pub due_to_ack_us: Percentiles,
    /// TCP, TLS and MQTT connect, microseconds.
    pub connect_us: Percentiles,
}

/// A distribution in few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 of 100 are at most this.
    pub p90: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// 999 of 1000 are at most this.
    pub p999: u64,
    /// Greatest.
    pub max: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |q| histogram.value_at_quantile(q);
        let (count, mean, max) = (histogram.len(), histogram.mean(), histogram.max());
        Self { count, mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max }
    }
}

impl fmt::Display for FleetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shape {}, {} devices, {:.1} s", self.shape, self.devices, self.seconds)?;
        writeln!(
            f,
            "  sent {}  acked {}  unacked {}  sent again {}  {:.0} acked/s",
            self.sent, self.acked, self.unacked, self.resent, self.acked_per_second
        )?;
        let (connects, reconnects, sent_on) = (self.connects, self.reconnects, self.sent_on);
        writeln!(f, "  connects {connects}  of them reconnects {reconnects}  sent on {sent_on}")?;
        for (reason, count) in &self.refused {
            writeln!(f, "  refused {count}: {reason}")?;
        }
        for (name, p) in
            [("ack", self.ack_us), ("due to ack", self.due_to_ack_us), ("connect", self.connect_us)]
        {
            let ms = |us: u64| us as f64 / 1000.0;
            let (p50, p99, p999, max) = (ms(p.p50), ms(p.p99), ms(p.p999), ms(p.max));
            writeln!(
                f,
                "  {name:<10}  p50 {p50:.2} ms  p99 {p99:.2} ms  p99.9 {p999:.2} ms  max {max:.2} ms"
            )?;
        }
        Ok(())
    }
}
