//! The front's counters. Labels are closed sets: no device, no tenant, no topic (SEC-3).

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;
use wardline_proto::refusal::Refusal;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Code(Refusal);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.code().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: Code,
}

/// What the front counts.
#[derive(Debug, Default)]
pub struct FrontMetrics {
    /// Publishes taken into the journal.
    pub accepted: Counter,
    /// Publishes acknowledged.
    pub acked: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections that never got past TLS.
    pub handshakes_failed: Counter,
    /// Open sessions.
    pub sessions: Gauge,
    /// Routers of the way down that died.
    pub router_deaths: Counter,
    /// Whether no router runs because too many have died: 0 or 1.
    pub router_down: Gauge,
    /// Sessions that were linked to a new router.
    pub relinked: Counter,
    /// Publishes to a device that found no room.
    pub downlink_refused: Counter,
    refusals: Family<RefusalLabels, Counter>,
}

impl FrontMetrics {
    /// Counts a refusal.
    pub fn refused(&self, refusal: Refusal) {
        self.refusals.get_or_create(&RefusalLabels { code: Code(refusal) }).inc();
    }

    /// Registers everything under `wardline_front_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("wardline_front");
        registry.register("publishes_accepted", "Publishes taken into the journal", self.accepted.clone());
        registry.register("publishes_acked", "Publishes acknowledged", self.acked.clone());
        registry.register("connections", "Connections accepted", self.connections.clone());
        registry.register(
            "handshakes_failed",
            "Connections that never got past TLS",
            self.handshakes_failed.clone(),
        );
        registry.register("sessions", "Open sessions", self.sessions.clone());
        let deaths = self.router_deaths.clone();
        registry.register("router_deaths", "Routers of the way down that died", deaths);
        let down = self.router_down.clone();
        registry.register("router_down", "Whether no router runs because too many have died", down);
        registry.register("sessions_relinked", "Sessions linked to a new router", self.relinked.clone());
        let refused = self.downlink_refused.clone();
        registry.register("downlink_refused", "Publishes to a device that found no room", refused);
        registry.register("refusals", "Refusals by code", self.refusals.clone());
    }
}
