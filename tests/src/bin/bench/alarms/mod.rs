//! From a sensor's timestamp to a subscriber: alarms of some devices under the load of others, then with five times
//! the load while every session of the tenant is lost and reconnects at once.
//!
//! An alarm is due at a fixed pace, whether or not its device is connected: what a device waits for its connection
//! counts.

mod fleet;
mod listener;

use crate::lab::Lab;
use crate::options::Alarms;
use crate::server::{Keeping, Kind, Server};
use crate::table::{Table, number};
use anyhow::{Context, ensure};
pub(crate) use fleet::{ALARM_PERIOD, Control, Device, Tally, now_us};
use hdrhistogram::Histogram;
pub(crate) use listener::issue as issue_listener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

/// How many times the steady load the surge is.
const SURGE_FACTOR: u32 = 5;
/// How long the last alarms may take to be heard.
const SETTLE: Duration = Duration::from_secs(5);
/// Upper ends of the histogram's classes, milliseconds.
const CLASSES_MS: [u64; 9] = [2, 5, 10, 20, 50, 100, 200, 500, 1_000];

/// Measures and prints.
pub(crate) async fn run(lab: &Lab, options: &Alarms) -> anyhow::Result<()> {
    let place = lab.place(Kind::Wardline)?;
    let certs = listener::issue(&place)?;
    let server = Server::start(lab, Kind::Wardline, &place, Keeping::Default).await?;
    let heard = listener::start(place.ports[1], &certs).await?;
    let control = Arc::new(Control::new(options.rate, options.sessions));
    let clients = lab.clients.get(..options.sessions + options.alarming).context("too few clients")?;
    let mut tasks = JoinSet::new();
    for (index, client) in clients.iter().cloned().enumerate() {
        let device = fleet::Device { index, client, address: server.address, control: control.clone() };
        if index < options.sessions {
            tasks.spawn(device.load());
        } else {
            tasks.spawn(device.alarm(options.alarming));
        }
    }
    control.connected(clients.len()).await?;
    eprintln!("{} sessions; steady for {} s", clients.len(), options.seconds);
    control.measure();
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    eprintln!("surge for {} s: {SURGE_FACTOR} times the load, every session lost at once", options.seconds);
    control.surge(SURGE_FACTOR);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    control.stop.store(true, Ordering::Relaxed);
    let mut tally = Tally::default();
    while let Some(one) = tasks.join_next().await {
        tally.add(one?);
    }
    tokio::time::sleep(SETTLE).await;
    report(&tally, &heard.finish(control.surge_at_us()), options)
}

fn report(tally: &Tally, heard: &listener::Heard, options: &Alarms) -> anyhow::Result<()> {
    println!(
        "{} devices, each raising or ending an alarm every {} s; {} others publish {} frames of 200 B a second \
         together. Then, at\nonce: {SURGE_FACTOR} times the frames, and every session is lost and reconnects with a \
         full handshake. All roles on\n(archive and alarm engine too). From the alarm's timestamp to the subscriber, \
         over gRPC and mutual TLS:\n",
        options.alarming,
        fleet::ALARM_PERIOD.as_secs(),
        options.sessions,
        options.rate,
    );
    let columns =
        ["phase", "alarms", "p50 ms", "p99 ms", "max ms", "frames acked/s", "ack p50 ms", "ack p99 ms"];
    let mut table = Table::new(1, &columns);
    for (name, latency, acks) in [
        ("steady", &heard.steady_us, &tally.steady_us),
        ("surge and reconnect", &heard.surge_us, &tally.surge_us),
    ] {
        table.row(vec![
            name.to_owned(),
            latency.len().to_string(),
            milliseconds(latency.value_at_quantile(0.5)),
            milliseconds(latency.value_at_quantile(0.99)),
            milliseconds(latency.max()),
            number(acks.len() as f64 / options.seconds as f64),
            milliseconds(acks.value_at_quantile(0.5)),
            milliseconds(acks.value_at_quantile(0.99)),
        ]);
    }
    println!("{}", table.render());
    classes("steady", &heard.steady_us);
    classes("surge", &heard.surge_us);
    println!(
        "\nevents acknowledged to devices {}, heard {}, heard twice {}; connects {}, refused or failed and tried again \
         {};\nthe last of {} sessions was back {} ms after the loss\n",
        tally.alarms,
        heard.events,
        heard.twice,
        tally.connects,
        tally.failed,
        options.sessions + options.alarming,
        tally.back_ms_max,
    );
    ensure!(heard.events >= tally.alarms, "alarms were lost");
    ensure!(heard.twice == 0, "alarms were heard twice");
    Ok(())
}

fn classes(name: &str, latency_us: &Histogram<u64>) {
    let up_to = |ms: u64| latency_us.count_between(0, ms * 1_000);
    let mut before = 0;
    let mut cells = Vec::new();
    for ms in CLASSES_MS {
        let count = up_to(ms);
        cells.push(format!("<={ms} ms {}", count - before));
        before = count;
    }
    println!("{name:>7}: {}, more {}", cells.join(", "), latency_us.len() - before);
}

fn milliseconds(us: u64) -> String {
    number(us as f64 / 1_000.0)
}
