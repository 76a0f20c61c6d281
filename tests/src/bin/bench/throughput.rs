//! CPU per acknowledged publish, publishes per second, time to acknowledgement: servers alternated round by round.

use crate::disk::Disk;
use crate::lab::{Lab, Place};
use crate::options::{Shape, Throughput};
use crate::payload::{Template, epoch_now};
use crate::server::{Keeping, Kind, Server};
use crate::stats::Rounds;
use crate::table::{Table, number, times};
use anyhow::Context;
use hdrhistogram::Histogram;
use std::time::Duration;
use wardline_tests::mqtt_client::load::{self, LoadReport, Pace};

const MESSAGES: usize = 100_000;
const MESSAGES_ONE_IN_FLIGHT: usize = 40_000;
const PACED_SECONDS: usize = 2;
/// Part of a round's messages that is sent before the clock starts.
const WARM_UP_PART: usize = 10;
/// Bare syncs measured in each round, half before the servers and half after them.
const SYNCS_A_ROUND: usize = 200;
/// What a server does after its last acknowledgement counts too.
const SETTLE: Duration = Duration::from_millis(50);

/// Sessions that were just closed are forgotten by then; some brokers cut a client that comes back sooner.
const RECOVER: Duration = Duration::from_millis(300);
const TRIES: usize = 3;

/// One scenario.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    shape: Shape,
    payload_bytes: usize,
    messages_each: usize,
}

/// One server's rounds.
struct Runner {
    server: Server,
    _place: Place,
    cpu_us: Rounds,
    per_second: Rounds,
    p50_us: Rounds,
    p99_us: Rounds,
}

impl Shape {
    fn pace(&self) -> Pace {
        match self.per_second {
            Some(rate) => Pace::Every(Duration::from_secs(1) * self.connections as u32 / rate),
            None => Pace::Window(self.window),
        }
    }

    /// Returns the window, and the rate where there is one.
    fn in_flight(&self) -> String {
        self.per_second.map_or_else(|| self.window.to_string(), |rate| format!("1, {rate}/s"))
    }
}

/// Measures every scenario and prints the table.
pub(crate) async fn run(lab: &Lab, options: &Throughput) -> anyhow::Result<()> {
    let mut table = Table::new(
        4,
        &[
            "payload",
            "conns",
            "window",
            "server",
            "cpu us/ack min",
            "median",
            "vs mosquitto",
            "vs rumqttd",
            "acks/s",
            "p50 ms",
            "p99 ms",
            "p99/sync p99",
        ],
    );
    let mut disk = Disk::create(lab)?;
    let mut all_syncs = Histogram::new(3)?;
    for shape in &options.load {
        for payload_bytes in options.payload.iter().copied() {
            let per_round = if shape.window == 1 { MESSAGES_ONE_IN_FLIGHT } else { MESSAGES };
            // Paced rounds last a few seconds whatever the server can do.
            let per_round =
                shape.per_second.map_or(per_round, |rate| (rate as usize * PACED_SECONDS).min(per_round));
            let messages_each = (options.messages.unwrap_or(per_round) / shape.connections).max(WARM_UP_PART);
            let scenario = Scenario { shape: *shape, payload_bytes, messages_each };
            let (runners, syncs) = measure(lab, scenario, options.rounds, &mut disk).await?;
            rows(&mut table, scenario, &runners, &syncs);
            all_syncs.add(&syncs)?;
        }
    }
    println!("{}", table.render());
    println!(
        "Medians of {} rounds where nothing else is said; servers alternate within a round. \"vs\" is wardline's CPU \
         per ack\nover the other's in the same round: median (min). One bare 4 KiB write with fdatasync on the same \
         disk, in the\nsame run: p50 {} ms, p99 {} ms ({} syncs); the last column is the ack p99 over the sync p99 of \
         its scenario.\n",
        options.rounds,
        number(millis(all_syncs.value_at_quantile(0.5) as f64)),
        number(millis(all_syncs.value_at_quantile(0.99) as f64)),
        all_syncs.len(),
    );
    Ok(())
}

async fn measure(
    lab: &Lab,
    scenario: Scenario,
    rounds: usize,
    disk: &mut Disk,
) -> anyhow::Result<(Vec<Runner>, Histogram<u64>)> {
    let mut runners = Vec::new();
    for kind in lab.setup.servers.iter().copied().filter(|kind| *kind != Kind::Rustls) {
        runners.push(Runner::start(lab, kind).await?);
    }
    let mut syncs = Histogram::new(3)?;
    for round in 0..rounds {
        syncs.add(disk.sync(SYNCS_A_ROUND / 2)?)?;
        for turn in 0..runners.len() {
            let index = (turn + round) % runners.len();
            if let Some(runner) = runners.get_mut(index) {
                runner.round_or_again(lab, scenario, round).await?;
            }
        }
        syncs.add(disk.sync(SYNCS_A_ROUND / 2)?)?;
    }
    Ok((runners, syncs))
}

impl Runner {
    async fn start(lab: &Lab, kind: Kind) -> anyhow::Result<Self> {
        let place = lab.place(kind)?;
        let server = Server::start(lab, kind, &place, Keeping::Throughput).await?;
        let [cpu_us, per_second, p50_us, p99_us] = [(); 4].map(|()| Rounds::default());
        Ok(Self { server, _place: place, cpu_us, per_second, p50_us, p99_us })
    }

    /// Measures once. A server that closes a connection meanwhile is told of, and gets another try.
    async fn round_or_again(&mut self, lab: &Lab, scenario: Scenario, round: usize) -> anyhow::Result<()> {
        for _ in 1..TRIES {
            match self.round(lab, scenario, round).await {
                Ok(()) => return Ok(()),
                Err(error) => eprintln!("{} in round {}: {error:#}; once more", self.server.kind, round + 1),
            }
            tokio::time::sleep(RECOVER).await;
        }
        let last = self.round(lab, scenario, round).await;
        last.with_context(|| format!("{} in round {}", self.server.kind, round + 1))
    }

    /// Connects, warms up, measures once and disconnects.
    async fn round(&mut self, lab: &Lab, scenario: Scenario, round: usize) -> anyhow::Result<()> {
        let template = Template::new(scenario.payload_bytes, epoch_now())?;
        let clients = &lab.clients[..scenario.shape.connections];
        let source = |_index: usize| {
            let mut template = template.clone();
            move |payload: &mut Vec<u8>| template.next(payload)
        };
        let publishers = load::publishers(self.server.address, clients, source).await?;
        let (window, warm_up) = (scenario.shape.window, scenario.messages_each / WARM_UP_PART);
        let (_, publishers) = load::run(publishers, warm_up.max(1), Pace::Window(window)).await?;
        tokio::time::sleep(SETTLE).await;
        let before = self.server.cpu()?;
        let (report, publishers) =
            load::run(publishers, scenario.messages_each, scenario.shape.pace()).await?;
        tokio::time::sleep(SETTLE).await;
        let cpu = self.server.cpu()? - before;
        load::disconnect_all(publishers).await;
        tokio::time::sleep(RECOVER).await;
        self.record(&report, cpu);
        eprintln!(
            "{} B {}x{} round {}: {:9} {:6} us/ack {:7} acks/s p99 {} ms",
            scenario.payload_bytes,
            scenario.shape.connections,
            scenario.shape.in_flight(),
            round + 1,
            self.server.kind.to_string(),
            number(micros(cpu) / report.acked as f64),
            number(report.acked as f64 / report.elapsed.as_secs_f64()),
            number(millis(report.latency_us.value_at_quantile(0.99) as f64)),
        );
        Ok(())
    }

    fn record(&mut self, report: &LoadReport, cpu: Duration) {
        self.cpu_us.push(micros(cpu) / report.acked as f64);
        self.per_second.push(report.acked as f64 / report.elapsed.as_secs_f64());
        self.p50_us.push(report.latency_us.value_at_quantile(0.5) as f64);
        self.p99_us.push(report.latency_us.value_at_quantile(0.99) as f64);
    }
}

fn rows(table: &mut Table, scenario: Scenario, runners: &[Runner], syncs: &Histogram<u64>) {
    let cpu_of = |kind| runners.iter().find(|runner| runner.server.kind == kind).map(|runner| &runner.cpu_us);
    let sync_p99_us = syncs.value_at_quantile(0.99) as f64;
    for runner in runners {
        let ours = runner.server.kind == Kind::Wardline;
        let against = |other| match cpu_of(other) {
            Some(other) if ours => {
                let ratios = runner.cpu_us.over(other);
                format!("{} ({})", times(ratios.median()), times(ratios.min()))
            }
            _ => String::new(),
        };
        table.row(vec![
            format!("{} B", scenario.payload_bytes),
            scenario.shape.connections.to_string(),
            scenario.shape.in_flight(),
            runner.server.kind.to_string(),
            number(runner.cpu_us.min()),
            number(runner.cpu_us.median()),
            against(Kind::Mosquitto),
            against(Kind::Rumqttd),
            number(runner.per_second.median()),
            number(millis(runner.p50_us.median())),
            number(millis(runner.p99_us.median())),
            if ours { times(runner.p99_us.median() / sync_p99_us) } else { String::new() },
        ]);
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(micros: f64) -> f64 {
    micros / 1000.0
}
