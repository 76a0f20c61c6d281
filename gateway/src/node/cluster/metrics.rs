//! What a node of a cluster shows: brought up to date every second.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::interval;
use wardline_bus::{Belt, Bus, FeedStats, OutletStats};

const TURN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRole {
    role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPartition {
    role: String,
    partition: u16,
}

/// Partitions that are worked on here.
pub(super) type Lines = Arc<Mutex<BTreeMap<(&'static str, u16), (Belt, Arc<FeedStats>)>>>;

#[derive(Debug, Default)]
pub(super) struct ClusterMetrics {
    unconfirmed: Gauge,
    resent: Gauge,
    committed: Gauge,
    rebuilds: Gauge,
    leases: Family<OfRole, Gauge>,
    waiting: Family<OfPartition, Gauge>,
    resends: Family<OfPartition, Gauge>,
    unopened: Family<OfPartition, Gauge>,
    left: Family<OfPartition, Gauge>,
}

impl ClusterMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let cluster = registry.sub_registry_with_prefix("wardline_cluster");
        let help = "Records of this node's journal that are not confirmed by every role";
        cluster.register("unconfirmed_records", help, self.unconfirmed.clone());
        cluster.register(
            "resent_records",
            "Records published again because a worker missed them",
            self.resent.clone(),
        );
        cluster.register(
            "committed_records",
            "Records that the bus committed for this node",
            self.committed.clone(),
        );
        cluster.register(
            "rebuilds",
            "Connections to the bus thrown away after an error",
            self.rebuilds.clone(),
        );
        cluster.register("leases", "Partitions of a role that this node works on", self.leases.clone());
        cluster.register(
            "waiting_records",
            "Records of a partition that came and wait for its worker",
            self.waiting.clone(),
        );
        cluster.register("wanted_gaps", "Requests for missing records of a partition", self.resends.clone());
        cluster.register(
            "unopened_records",
            "Records of a partition that did not open",
            self.unopened.clone(),
        );
        let help = "Records of a partition that were left: of fronts past the bound, or of another partition";
        cluster.register("left_records", help, self.left.clone());
    }

    /// Brings them up to date until it is told to stop.
    pub(super) async fn follow(
        self,
        (bus, outlet, lines): (Bus, Arc<OutletStats>, Lines),
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut turn = interval(TURN);
        loop {
            tokio::select! {
                _gone = stop.wait_for(|stop| *stop) => return Ok(()),
                _at = turn.tick() => {}
            }
            let [unconfirmed, resent, committed] = outlet.counts();
            set(&self.unconfirmed, unconfirmed);
            set(&self.resent, resent);
            set(&self.committed, committed);
            set(&self.rebuilds, bus.stats().rebuilds);
            self.leases.clear();
            self.waiting.clear();
            for ((role, partition), (belt, stats)) in
                lines.lock().unwrap_or_else(PoisonError::into_inner).iter()
            {
                let label = || OfPartition { role: (*role).to_owned(), partition: *partition };
                let [_delivered, _again, resends, unopened, left] = stats.counts();
                self.leases.get_or_create(&OfRole { role: (*role).to_owned() }).inc();
                set(&self.waiting.get_or_create(&label()), belt.waiting() as u64);
                set(&self.resends.get_or_create(&label()), resends);
                set(&self.unopened.get_or_create(&label()), unopened);
                set(&self.left.get_or_create(&label()), left);
            }
        }
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
