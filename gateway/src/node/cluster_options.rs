//! The section `[cluster]` of the settings: read by every build, run by those with the feature `cluster`.

use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use wardline_proto::TenantId;
use wardline_proto::limits::PARTITIONS;

/// Least time that a lease may last: a worker shows that it lives five times in it.
const LEASE_MS_MIN: u64 = 500;

/// A log between the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// NATS JetStream.
    Jetstream,
    /// Fluvio.
    Fluvio,
}

/// TLS to the engine's servers, by files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    /// The authority of the servers' certificates.
    pub authority: PathBuf,
    /// Our certificate, for servers that verify their clients.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// How this node works with others.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterOptions {
    /// The engine of the bus.
    pub engine: EngineKind,
    /// Its servers: of JetStream `nats://host:port`, of Fluvio the controller's `host:port`.
    pub servers: Vec<String>,
    /// TLS to them.
    pub tls: Option<ClusterTls>,
    /// The topic's name.
    #[serde(default = "topic")]
    pub topic: String,
    /// Partitions of the topic; fixed for good when the first node starts.
    #[serde(default = "partitions")]
    pub partitions: u16,
    /// Copies of each record.
    #[serde(default = "replicas")]
    pub replicas: u32,
    /// Most bytes that the engine keeps. Unless it is set, as many as the engine has room for when the topic is made.
    pub topic_bytes_max: Option<u64>,
    /// How long a worker may be silent before others take its partitions.
    #[serde(default = "lease_ms")]
    pub lease_ms: u64,
    /// A folder that every node sees, with `pki/`, `keyring.json` and `archive/` of one `wardline init`; without it
    /// they are this node's own.
    pub shared_dir: Option<PathBuf>,
    /// Tenants whose publishes are acknowledged only when the bus has committed them too. While it does not, the
    /// acknowledgement is withheld.
    #[serde(default)]
    pub replicated_tenants: Vec<String>,
}

fn topic() -> String {
    "wardline-records".to_owned()
}

fn partitions() -> u16 {
    16
}

fn replicas() -> u32 {
    3
}

fn lease_ms() -> u64 {
    5000
}

impl ClusterOptions {
    /// Returns how long a worker may be silent.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// Names everything that is wrong.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: &str| {
            if !holds {
                problems.push(format!("cluster.{problem}"));
            }
        };
        check(cfg!(feature = "cluster"), "engine: this program was built without the feature cluster");
        check(!self.servers.is_empty(), "servers: at least one");
        check((1..=PARTITIONS).contains(&self.partitions), "partitions: 1 to 64");
        check((1..=5).contains(&self.replicas), "replicas: 1 to 5");
        check(self.lease_ms >= LEASE_MS_MIN, "lease_ms: at least 500");
        check(
            self.replicated_tenants.iter().all(|tenant| TenantId::new(tenant).is_ok()),
            "replicated_tenants: names of tenants",
        );
        let both = self.tls.as_ref().is_none_or(|tls| tls.certificate.is_some() == tls.key.is_some());
        check(both, "tls: certificate and key together");
        check(self.engine != EngineKind::Fluvio || self.tls.is_none(), "tls: Fluvio is reached without");
        problems
    }
}
