//! A real Fluvio, when `WARDLINE_FLUVIO` names its controller as `host:port`: the conformance suite, and a log that is
//! pumped through while an operator kills what they like. Without it both say that they are skipped.

use crate::conformance::{self, Abilities};
use crate::pump::Pump;
use std::sync::Arc;
use std::time::Duration;
use wardline_bus::fluvio::{FluvioEngine, FluvioOptions};
use wardline_bus::{BusOptions, Engine, Topic};

const ADDRESS: &str = "WARDLINE_FLUVIO";
/// Copies of the records; 1 for a single server.
const REPLICAS: &str = "WARDLINE_FLUVIO_REPLICAS";

fn address() -> Option<String> {
    let address = std::env::var(ADDRESS).ok();
    if address.is_none() {
        println!(
            "SKIPPED: set {ADDRESS} to the host:port of a Fluvio controller (docs/cluster.md says how to start one)"
        );
    }
    address
}

/// Topics outlive a run: each run has its own.
fn engine(address: &str, topic: &str, partitions: u16) -> Arc<dyn Engine> {
    let replicas = std::env::var(REPLICAS).ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let name = format!("{topic}-{}", std::process::id());
    let topic = Topic { name, partitions, replicas, bytes_max: 1024 * 1024 * 1024, ..Topic::default() };
    let commit_timeout = Duration::from_secs(8);
    let options = FluvioOptions { controller: address.into(), topic, connections: 8, commit_timeout };
    Arc::new(FluvioEngine::new(options).unwrap())
}

/// A topic is not there at once when it was made: its first requests are tried again.
async fn ready(engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
    let bus = crate::pump::bus(engine.clone(), conformance::patient());
    let known = async {
        while let Err(error) = bus.watermark(crate::pump::partition(1)).await {
            assert_eq!(error.kind(), wardline_bus::ErrorKind::Retry, "{error}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), known).await.expect("a topic within a minute");
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn fluvio_conformance_or_skipped() {
    let Some(address) = address() else { return };
    let mut topics = std::collections::BTreeMap::new();
    for topic in ["order", "apart", "sizes", "again", "backlog", "health"] {
        topics.insert(topic, ready(engine(&address, topic, 2)).await);
    }
    let abilities = Abilities { drops_retries: false, trims: false, backlog: 60_000 };
    conformance::all(&|topic| topics[topic].clone(), abilities).await;
    let first = ready(engine(&address, "differs", 2)).await;
    conformance::another_topic_is_refused(first, engine(&address, "differs", 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fluvio_under_faults_or_skipped() {
    let Some(address) = address() else { return };
    let engine = ready(engine(&address, "faults", 2)).await;
    let options = BusOptions { publish_timeout: Duration::from_secs(10), ..BusOptions::default() };
    println!("pumping 60 s: kill servers, followers or the controller now, and bring them back");
    let outcome = Pump::start(engine, options, 3_000, Duration::from_millis(20)).finish().await;
    println!("{outcome:?}");
}
