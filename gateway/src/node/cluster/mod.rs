//! One node among several: its journal goes onto the bus, its roles work on partitions of it.
//!
//! ```text
//! journal ─► outlet ─► bus ─► feed ─► belt ─► archive or alarm engine of one partition, under a lease
//!               ▲                                   │ one transaction: results, where it stands, epoch checked
//!               └── courier: wishes, confirmed ◄── PostgreSQL
//! ```
//!
//! Every node has a journal and an outlet, also one without a front: what it audits is journaled.

mod balance;
mod begun;
mod courier;
mod gates;
mod leases;
mod metrics;
mod pulse;
mod roles;
mod trim;

use super::cluster_options::{ClusterOptions, EngineKind};
use super::http::Trouble;
use super::{NodeError, Parts, TaskKind};
use begun::Beginning;
use metrics::{ClusterMetrics, Lines};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc;
use wardline_bus::{
    Bus, BusError, BusOptions, Engine, EngineName, Outlet, Replicated, ServerTls, Servers, Topic,
};
use wardline_journal::{KeyPurpose, Sealer};

/// How large the topic is made when nobody says, between what runs for a while without a worker and what is enough.
const TOPIC_BYTES: Range<u64> = 1024 * 1024 * 1024..256 * 1024 * 1024 * 1024;
/// Notices on their way to the outlet.
const NOTICES_MAX: usize = 256;
/// Roles that have to confirm a record before a journal forgets it.
const ROLES: [&str; 2] = [ARCHIVE, ALERT];
const ARCHIVE: &str = "archive";
const ALERT: &str = "alert";
/// Who brings the outbox into an audit chain: one node.
const OUTBOX: &str = "outbox";
/// Who lets time act on alerts, and watches over the alarm service: one node with the alarm role.
const WATCH: &str = "watch";
/// Who sends alerts to webhooks: one node with the alarm role and sinks in its settings.
const WEBHOOKS: &str = "webhooks";
/// Who lets the bus forget: one node with the archive role.
const TRIM: &str = "trim";

/// What a node of a cluster has beside its roles.
pub(super) struct Cluster {
    bus: Bus,
    sealer: Arc<Sealer>,
    holder: String,
    options: ClusterOptions,
    /// How far the engine has the journal.
    replicated: Replicated,
    lines: Lines,
    beginning: Beginning,
}

impl Cluster {
    /// Joins: begins to publish the journal.
    pub(super) async fn join(parts: &mut Parts) -> Result<Option<Self>, NodeError> {
        let Some(options) = parts.options.cluster.clone() else { return Ok(None) };
        let settled = parts.store.cluster_partitions(options.partitions).await?;
        if settled != options.partitions {
            return Err(BusError::TopicDiffers(format!("cluster.partitions is {settled} here")).into());
        }
        let (bus, service) = Bus::new(engine(&options)?, BusOptions::default())?;
        parts.tasks.spawn(TaskKind::Bus, |mut stop| async move {
            tokio::select! {
                () = service.run() => {}
                _gone = stop.wait_for(|stop| *stop) => {}
            }
            Ok(())
        });
        let sealer = Arc::new(Sealer::new(parts.keyring.clone(), KeyPurpose::Journal, None)?);
        let path = parts.options.data_dir.join("relay.ckpt");
        let outlet =
            Outlet::open(parts.journal.clone(), path, (bus.clone(), options.partitions), sealer.clone())
                .map_err(|error| NodeError::Outlet(error.to_string()))?;
        let (notices, noticed) = mpsc::channel(NOTICES_MAX);
        let (front, replicated, stats) = (outlet.front(), outlet.replicated(), outlet.stats());
        tracing::info!(%front, partitions = options.partitions, "joins a cluster");
        parts.tasks.spawn(TaskKind::Outlet, |stop| async move {
            outlet.run(noticed, stop).await.map_err(|error| error.to_string())
        });
        let store = parts.store.clone();
        parts.tasks.spawn(TaskKind::Courier, |stop| courier::run(store, front, notices, stop));
        let holder = format!("{}/{}", parts.auditor.node(), front_nonce()?);
        let (metrics, lines) = (ClusterMetrics::default(), Lines::default());
        metrics.register(&mut parts.registry);
        let shown = (bus.clone(), stats, lines.clone());
        parts.tasks.spawn(TaskKind::Notices, |stop| metrics.follow(shown, stop));
        let beginning = Beginning::default();
        Ok(Some(Self { bus, sealer, holder, options, replicated, lines, beginning }))
    }

    /// Says what an operator has to mend before the bus is reached for the first time, or which role has not begun.
    pub(super) fn trouble(&self) -> Trouble {
        let (bus, beginning) = (self.bus.clone(), self.beginning.clone());
        Arc::new(move || {
            let of_bus = bus.trouble().map(|error| format!("{}: {error}", error.refusal().code()));
            of_bus.or_else(|| beginning.trouble())
        })
    }
}

/// Makes a name for this start of the process.
fn front_nonce() -> Result<String, NodeError> {
    let name = wardline_bus::FrontId::random().map_err(|error| NodeError::Outlet(error.to_string()))?;
    Ok(name.to_string()[..8].to_owned())
}

fn engine(options: &ClusterOptions) -> Result<Arc<dyn Engine>, BusError> {
    let topic = Topic {
        name: options.topic.clone(),
        partitions: options.partitions,
        replicas: options.replicas,
        bytes_max: options.topic_bytes_max.unwrap_or(TOPIC_BYTES.end),
        bytes_min: options.topic_bytes_max.is_none().then_some(TOPIC_BYTES.start),
        ..Topic::default()
    };
    let tls = options
        .tls
        .clone()
        .map(|tls| ServerTls { authority: tls.authority, identity: tls.certificate.zip(tls.key) });
    let engine = match options.engine {
        EngineKind::Jetstream => EngineName::JetStream,
        EngineKind::Fluvio => EngineName::Fluvio,
    };
    Servers { engine, at: options.servers.clone(), tls, reads_alone: false }.engine(topic)
}
