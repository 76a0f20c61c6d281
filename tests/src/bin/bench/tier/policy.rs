//! `local` and `replicated` acknowledgements, in turns at the same front.

use super::ground::{Engine, Ground, LOCAL, Part, REPLICATED};
use super::nats::Nats;
use super::options::TierOptions;
use crate::options::Shape;
use crate::payload::{Template, epoch_now};
use crate::stats::Rounds;
use crate::table::{Table, number, times};
use std::net::SocketAddr;
use wardline_tests::mqtt_client::load::{self, Client, LoadReport, Pace};

const PAYLOAD_BYTES: usize = 200;
/// With one publish at a time a round would last as many round trips.
const ONE_AT_A_TIME_PART: usize = 20;

#[derive(Default)]
struct Seen {
    per_second: Rounds,
    p50_us: Rounds,
    p99_us: Rounds,
}

/// Measures each engine and prints the table.
pub(crate) async fn run(options: &TierOptions) -> anyhow::Result<()> {
    let header = ["engine", "conns x window", "policy", "acks/s", "vs local", "p50 ms", "p99 ms"];
    let mut table = Table::new(3, &header);
    println!("{}", super::load());
    measure("JetStream x3", Engine::Jetstream(Nats::start()), options, &mut table).await?;
    if let Some(controller) = &options.fluvio {
        measure("Fluvio", Engine::Fluvio(controller.clone()), options, &mut table).await?;
    } else {
        println!("SKIPPED: Fluvio; set WARDLINE_FLUVIO to its controller");
    }
    println!("{}\n{}", table.render(), super::load());
    Ok(())
}

async fn measure(name: &str, engine: Engine, options: &TierOptions, table: &mut Table) -> anyhow::Result<()> {
    let devices = options.shape.iter().map(|shape| shape.connections).max().unwrap_or(1);
    let mut ground = Ground::new(engine, devices).await?;
    // Alone: what workers take of the machine is not part of an acknowledgement.
    let front = ground.node("front", Part::Any)?;
    for shape in &options.shape {
        let mut seen = [Seen::default(), Seen::default()];
        for round in 0..options.policy_rounds {
            for turn in 0..2 {
                let index = (turn + round) % 2;
                let clients = ground.clients([LOCAL, REPLICATED][index]);
                let part = if shape.window == 1 { ONE_AT_A_TIME_PART } else { 1 };
                let report = publish(front.mqtt, clients, *shape, options.publishes / part).await?;
                eprintln!("{name} {}x{} {}: {}", shape.connections, shape.window, index, report.acked);
                seen[index].record(&report);
            }
        }
        let [local, replicated] = &seen;
        for (policy, seen) in [(LOCAL, local), (REPLICATED, replicated)] {
            table.row(vec![
                name.to_owned(),
                format!("{}x{}", shape.connections, shape.window),
                policy.to_owned(),
                number(seen.per_second.median()),
                times(seen.per_second.over(&local.per_second).median()),
                number(seen.p50_us.median() / 1000.0),
                number(seen.p99_us.median() / 1000.0),
            ]);
        }
    }
    front.stop()
}

/// Publishes so many frames over a front, and waits for each acknowledgement.
pub(super) async fn publish(
    address: SocketAddr,
    clients: &[Client],
    shape: Shape,
    publishes: usize,
) -> anyhow::Result<LoadReport> {
    let template = Template::new(PAYLOAD_BYTES, epoch_now())?;
    let source = |_index: usize| {
        let mut template = template.clone();
        move |payload: &mut Vec<u8>| template.next(payload)
    };
    let clients = &clients[..shape.connections.min(clients.len())];
    let publishers = load::publishers(address, clients, source).await?;
    let each = (publishes / clients.len().max(1)).max(1);
    let (report, publishers) = load::run(publishers, each, Pace::Window(shape.window)).await?;
    load::disconnect_all(publishers).await;
    Ok(report)
}

impl Seen {
    fn record(&mut self, report: &LoadReport) {
        self.per_second.push(report.acked as f64 / report.elapsed.as_secs_f64());
        self.p50_us.push(report.latency_us.value_at_quantile(0.5) as f64);
        self.p99_us.push(report.latency_us.value_at_quantile(0.99) as f64);
    }
}
