//! The alarm engine's counters. No label carries a device, a patient or a value (SEC-3).

use crate::engine::EngineCounts;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From 1 ms to 16 s, doubling.
const LATENCY_SECONDS: [f64; 15] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];

/// What was not decided on, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Skipped {
    /// The record does not decode.
    Poison,
    /// A frame that was seen before.
    Duplicate,
    /// Older than what was decided on.
    OutOfOrder,
    /// Outside the live window.
    NotLive,
    /// Status or value forbids a decision.
    Unusable,
    /// Another unit than the metric's.
    UnitMismatch,
    /// No room for a device.
    DeviceRefused,
    /// No room for a device alarm, or it breaks a limit.
    ConditionRefused,
}

/// Label of [`AlertMetrics::skipped`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SkippedLabel {
    /// Why.
    pub reason: Skipped,
}

/// Label of [`AlertMetrics::webhook`]: a sink is named by an operator, and there are few.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabel {
    /// Which.
    pub sink: String,
    /// What became of a request.
    pub answer: &'static str,
}

/// The counters.
#[derive(Debug)]
pub struct AlertMetrics {
    /// Journal records read.
    pub records: Counter,
    /// What was not decided on: records, frames or readings.
    pub skipped: Family<SkippedLabel, Counter>,
    /// Alert events made durable.
    pub events: Counter,
    /// Checkpoints committed.
    pub commits: Counter,
    /// Commits that failed and were tried again.
    pub commit_failures: Counter,
    /// From the front accepting a record to its alert event being durable, seconds.
    pub event_latency: Histogram,
    /// How far the engine is behind the journal, milliseconds.
    pub lag_ms: Gauge,
    /// Devices that are watched.
    pub devices: Gauge,
    /// Streams of subscribers that are open.
    pub subscribers: Gauge,
    /// Subscribers cut because they did not keep up.
    pub subscribers_cut: Counter,
    /// Listeners with a lease.
    pub listeners: Gauge,
    /// Those whose lease ran out.
    pub listeners_lost: Gauge,
    /// Those that leave events unconfirmed.
    pub listeners_behind: Gauge,
    /// Wards with devices that nobody listens for.
    pub wards_unheard: Gauge,
    /// Requests to webhooks.
    pub webhook_posts: Family<SinkLabel, Counter>,
    /// Webhooks that did not take what was sent to them last.
    pub webhooks_silent: Gauge,
}

impl Default for AlertMetrics {
    fn default() -> Self {
        Self {
            records: Counter::default(),
            skipped: Family::default(),
            events: Counter::default(),
            commits: Counter::default(),
            commit_failures: Counter::default(),
            event_latency: Histogram::new(LATENCY_SECONDS),
            lag_ms: Gauge::default(),
            devices: Gauge::default(),
            subscribers: Gauge::default(),
            subscribers_cut: Counter::default(),
            listeners: Gauge::default(),
            listeners_lost: Gauge::default(),
            listeners_behind: Gauge::default(),
            wards_unheard: Gauge::default(),
            webhook_posts: Family::default(),
            webhooks_silent: Gauge::default(),
        }
    }
}

impl AlertMetrics {
    /// Makes the counters known as `wardline_alert_*`.
    pub fn register(&self, registry: &mut Registry) {
        let alert = registry.sub_registry_with_prefix("wardline_alert");
        alert.register("records", "Journal records read by the alarm engine", self.records.clone());
        alert.register("skipped", "What the alarm engine did not decide on", self.skipped.clone());
        alert.register("events", "Alert events made durable", self.events.clone());
        alert.register("commits", "Alarm engine checkpoints committed", self.commits.clone());
        alert.register("commit_failures", "Alarm engine commits tried again", self.commit_failures.clone());
        alert.register("event_latency_seconds", "Accepted to alert durable", self.event_latency.clone());
        alert.register("lag_ms", "Alarm engine behind the journal, milliseconds", self.lag_ms.clone());
        alert.register("devices", "Devices that are watched", self.devices.clone());
        alert.register("subscribers", "Alert subscriptions that are open", self.subscribers.clone());
        alert.register("subscribers_cut", "Alert subscribers that fell behind", self.subscribers_cut.clone());
        alert.register("listeners", "Listeners with a lease", self.listeners.clone());
        alert.register("listeners_lost", "Listeners whose lease ran out", self.listeners_lost.clone());
        alert.register(
            "listeners_behind",
            "Listeners that leave events unconfirmed",
            self.listeners_behind.clone(),
        );
        alert.register("wards_unheard", "Wards with devices and no listener", self.wards_unheard.clone());
        alert.register("webhook_posts", "Requests to webhooks, by answer", self.webhook_posts.clone());
        alert.register("webhooks_silent", "Webhooks that take nothing", self.webhooks_silent.clone());
    }

    /// Counts one thing that was not decided on.
    pub fn skip(&self, reason: Skipped, count: u64) {
        if count > 0 {
            self.skipped.get_or_create(&SkippedLabel { reason }).inc_by(count);
        }
    }

    /// Counts a request to a sink.
    pub fn webhook(&self, sink: &str, answer: &'static str) {
        self.webhook_posts.get_or_create(&SinkLabel { sink: sink.to_owned(), answer }).inc();
    }

    /// Adds what the engine did between two readings of its counts.
    pub(crate) fn add(&self, before: EngineCounts, after: EngineCounts) {
        self.skip(Skipped::Duplicate, after.duplicates - before.duplicates);
        self.skip(Skipped::OutOfOrder, after.out_of_order - before.out_of_order);
        self.skip(Skipped::NotLive, after.not_live - before.not_live);
        self.skip(Skipped::Unusable, after.unusable - before.unusable);
        self.skip(Skipped::UnitMismatch, after.unit_mismatch - before.unit_mismatch);
        self.skip(Skipped::DeviceRefused, after.devices_refused - before.devices_refused);
        self.skip(Skipped::ConditionRefused, after.conditions_refused - before.conditions_refused);
    }
}
