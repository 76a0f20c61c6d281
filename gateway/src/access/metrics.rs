//! How old is what a node knows: told at each scrape, so that it rises also when whoever should read hangs.

use super::Directory;
use crate::enrol::Revocations;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Ages of the directory and of our revocation list.
pub struct Ages {
    directory: Arc<Directory>,
    revocations: Option<Arc<Revocations>>,
}

impl Ages {
    /// Registers `wardline_registry_age_seconds`, and `wardline_crl_age_seconds` where the list is made.
    pub fn register(
        directory: Arc<Directory>,
        revocations: Option<Arc<Revocations>>,
        registry: &mut Registry,
    ) {
        registry.register_collector(Box::new(Self { directory, revocations }));
    }
}

impl Collector for Ages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, age: Duration| {
            let gauge = ConstGauge::new(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let help = "Seconds since what is known of the registry was compared with the database";
        gauge("wardline_registry_age_seconds", help, self.directory.age())?;
        let Some(revocations) = &self.revocations else { return Ok(()) };
        let help = "Seconds since our revocation list was compared with the database";
        gauge("wardline_crl_age_seconds", help, revocations.age())
    }
}

impl fmt::Debug for Ages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ages").finish_non_exhaustive()
    }
}
