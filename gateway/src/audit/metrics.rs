//! What an operator must see of auditing.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The gauges; the relay brings them up to date at each of its turns.
#[derive(Debug, Default)]
pub struct AuditMetrics {
    pub(super) broken: Gauge,
    pub(super) last_n: Gauge,
    pub(super) outbox_waiting: Gauge,
}

impl AuditMetrics {
    /// Registers the gauges.
    pub fn register(&self, registry: &mut Registry) {
        let audit = registry.sub_registry_with_prefix("wardline_audit");
        audit.register("broken", "1 when audit events cannot be journaled", self.broken.clone());
        audit.register("last_n", "Number of the audit chain's last event", self.last_n.clone());
        let help = "Rows of the outbox that wait to be journaled, as far as one turn looks";
        audit.register("outbox_waiting", help, self.outbox_waiting.clone());
    }
}
