//! Counters of enrolment. Labels are closed sets (SEC-3).

use crate::tls_listener::TlsListenerMetrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use wardline_proto::refusal::Refusal;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Code(Refusal);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.0.code().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: Code,
}

/// What is counted.
#[derive(Debug, Clone, Default)]
pub struct EnrolMetrics {
    /// Certificates issued to devices that had none.
    pub enrolled: Counter,
    /// Certificates issued to devices that had one.
    pub renewed: Counter,
    /// Certificates given out again to whom they were issued.
    pub repeated: Counter,
    /// Connections.
    pub tls: TlsListenerMetrics,
    refusals: Family<RefusalLabels, Counter>,
}

impl EnrolMetrics {
    /// Counts a refusal.
    pub(super) fn refused(&self, refusal: Refusal) {
        self.refusals.get_or_create(&RefusalLabels { code: Code(refusal) }).inc();
    }

    /// Registers everything under `wardline_enrol_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("wardline_enrol");
        registry.register("enrolled", "Certificates issued to devices that had none", self.enrolled.clone());
        registry.register("renewed", "Certificates issued to devices that had one", self.renewed.clone());
        registry.register("repeated", "Certificates given out again", self.repeated.clone());
        // From zero on: a rate is nothing without the value before the first refusal.
        for refusal in Refusal::ALL.iter().filter(|refusal| refusal.code().starts_with("WL-EST-")) {
            let _at_zero = self.refusals.get_or_create(&RefusalLabels { code: Code(*refusal) });
        }
        registry.register("refusals", "Refusals by code", self.refusals.clone());
        self.tls.register(registry);
    }
}
