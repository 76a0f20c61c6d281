//! Many subscribers of one tenant, in rounds without and with one among them that takes nothing: what the others notice
//! of it, and what the gateway's memory does.

mod crowd;

use crate::alarms::{Control, Device, Tally, issue_listener};
use crate::lab::Lab;
use crate::options::Subscribers;
use crate::server::{Keeping, Kind, Server};
use crate::stats::Rounds;
use crate::table::{Table, number};
use anyhow::{Context, ensure};
use crowd::{Crowd, Stuck};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

/// What the alarms of one round may still need to be heard.
const SETTLE: Duration = Duration::from_secs(1);
const MIB: f64 = 1024.0 * 1024.0;

/// Rounds of one kind.
#[derive(Default)]
struct Measured {
    p50_ms: Rounds,
    p99_ms: Rounds,
}

/// Measures and prints.
pub(crate) async fn run(lab: &Lab, options: &Subscribers) -> anyhow::Result<()> {
    let place = lab.place(Kind::Wardline)?;
    let certs = issue_listener(&place)?;
    let server = Server::start(lab, Kind::Wardline, &place, Keeping::Default).await?;
    let control = Arc::new(Control::new(1, 1));
    let clients = lab.clients.get(..options.alarming).context("too few clients")?;
    let mut devices = JoinSet::new();
    for (index, client) in clients.iter().cloned().enumerate() {
        let device = Device { index, client, address: server.address, control: control.clone() };
        devices.spawn(device.alarm(options.alarming));
    }
    control.connected(clients.len()).await?;
    let crowd = Crowd::gather(place.ports[1], &certs, options.subscribers).await?;
    control.measure();
    // History for the stuck one, and everything warm.
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let resident_before = server.resident_bytes()?;
    let mut table = Table::new(2, &["round", "stuck", "heard", "p50 ms", "p99 ms", "max ms", "resident MiB"]);
    let (mut alone, mut beside) = (Measured::default(), Measured::default());
    for round in 0..2 * options.rounds {
        let is_beside = round % 2 == 1;
        let stuck = match is_beside {
            true => Some(Stuck::sit(place.ports[1], &certs).await?),
            false => None,
        };
        crowd.begin();
        tokio::time::sleep(Duration::from_secs(options.seconds)).await;
        let heard = crowd.end();
        drop(stuck);
        tokio::time::sleep(SETTLE).await;
        let (p50, p99) = (ms(heard.value_at_quantile(0.5)), ms(heard.value_at_quantile(0.99)));
        let measured = if is_beside { &mut beside } else { &mut alone };
        measured.p50_ms.push(p50);
        measured.p99_ms.push(p99);
        table.row(vec![
            (round / 2 + 1).to_string(),
            if is_beside { "one" } else { "none" }.to_owned(),
            heard.len().to_string(),
            number(p50),
            number(p99),
            number(ms(heard.max())),
            number(server.resident_bytes()? as f64 / MIB),
        ]);
    }
    control.stop.store(true, Ordering::Relaxed);
    let mut tally = Tally::default();
    while let Some(one) = devices.join_next().await {
        tally.add(one?);
    }
    tokio::time::sleep(5 * SETTLE).await;
    let grown = server.resident_bytes()? as f64 - resident_before as f64;
    println!(
        "{} subscribers over connections of their own, {} devices that raise or end an alarm every 2 s; from the \
         alarm's\ntimestamp to each subscriber, over gRPC and mutual TLS. In every second round one more subscribes \
         from the\nbeginning and takes nothing:\n",
        options.subscribers, options.alarming
    );
    println!("{}", table.render());
    report(&alone, &beside, grown);
    let (fewest, twice) = crowd.counts();
    println!(
        "alarm steps acknowledged {}, heard by every subscriber {fewest}, twice {twice}\n",
        tally.alarms
    );
    ensure!(fewest >= tally.alarms, "somebody did not hear everything");
    ensure!(twice == 0, "somebody heard something twice");
    Ok(())
}

fn report(alone: &Measured, beside: &Measured, grown: f64) {
    println!(
        "median p50 {} ms alone, {} ms beside one that is stuck; median p99 {} and {} ms, ratio {:.2}; resident memory \
         grew by {} MiB",
        number(alone.p50_ms.median()),
        number(beside.p50_ms.median()),
        number(alone.p99_ms.median()),
        number(beside.p99_ms.median()),
        beside.p99_ms.median() / alone.p99_ms.median(),
        number(grown / MIB),
    );
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}
