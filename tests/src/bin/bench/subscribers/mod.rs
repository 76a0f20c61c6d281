//! Many subscribers of one tenant, in rounds without and with one among them that takes nothing: what the others notice
//! of it, and what the gateway's memory does.

mod crowd;

use crate::alarms::{ALARM_PERIOD, Control, Device, Tally, issue_listener};
use crate::lab::{Lab, Place};
use crate::options::Subscribers;
use crate::server::{Keeping, Kind, Server};
use crate::stats::Rounds;
use crate::table::{Table, number};
use anyhow::{Context, ensure};
use crowd::{Crowd, Stuck};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use wardline_alert::limits::{RING_BYTES_MAX, SHARED_PAGE};

/// What the alarms of one round may still need to be heard.
const SETTLE: Duration = Duration::from_secs(1);
/// Steps of alarms before the first round: more than a connection and a subscription hold.
const HISTORY: u32 = 200;
const MIB: f64 = 1024.0 * 1024.0;

/// A subscriber that takes nothing is given up after 10 s, with some time for the machine.
const CUT_WAIT: Duration = Duration::from_secs(60);
/// Events that one subscriber can hold: a page and a queue of references to what all share.
const HELD_MAX: u32 = SHARED_PAGE + 64;

/// Rounds of one kind.
#[derive(Default)]
struct Measured {
    p50_ms: Rounds,
    p99_ms: Rounds,
    resident: Rounds,
}

/// What the gateway's memory did, MiB.
struct Memory {
    /// Before anybody subscribed, and when all had heard some alarms.
    empty: f64,
    gathered: f64,
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
    let empty = server.resident_bytes()? as f64 / MIB;
    let crowd = Crowd::gather(place.ports[1], &certs, options.subscribers).await?;
    control.measure();
    // History for the stuck one, and everything warm.
    let per_step = ALARM_PERIOD / u32::try_from(options.alarming.max(1))?;
    tokio::time::sleep((per_step * HISTORY).max(Duration::from_secs(options.seconds))).await;
    let memory = Memory { empty, gathered: server.resident_bytes()? as f64 / MIB };
    println!(
        "{} subscribers over connections of their own, {} devices that raise or end an alarm every 2 s; from the \
         alarm's\ntimestamp to each subscriber, over gRPC and mutual TLS. In every second round one more subscribes \
         from the\nbeginning and takes nothing:\n",
        options.subscribers, options.alarming
    );
    let (alone, beside) = rounds(&server, &crowd, (place.ports[1], &certs), options).await?;
    report(&alone, &beside);
    let cut_after = cut(&place, &certs).await?;
    control.stop.store(true, Ordering::Relaxed);
    let mut tally = Tally::default();
    while let Some(one) = devices.join_next().await {
        tally.add(one?);
    }
    tokio::time::sleep(5 * SETTLE).await;
    bounded(&memory, server.peak_bytes()? as f64 / MIB, options.subscribers);
    println!("one that goes on taking nothing is cut after {:.1} s", cut_after.as_secs_f64());
    let (fewest, twice) = crowd.counts();
    println!(
        "alarm steps acknowledged {}, heard by every subscriber {fewest}, twice {twice}\n",
        tally.alarms
    );
    ensure!(fewest >= tally.alarms, "somebody did not hear everything");
    ensure!(twice == 0, "somebody heard something twice");
    Ok(())
}

/// Measures in turns, without and with one that is stuck.
async fn rounds(
    server: &Server,
    crowd: &Crowd,
    (port, certs): (u16, &Path),
    options: &Subscribers,
) -> anyhow::Result<(Measured, Measured)> {
    let mut table = Table::new(2, &["round", "stuck", "heard", "p50 ms", "p99 ms", "max ms", "resident MiB"]);
    let (mut alone, mut beside) = (Measured::default(), Measured::default());
    for round in 0..2 * options.rounds {
        let is_beside = round % 2 == 1;
        let stuck = match is_beside {
            true => Some(Stuck::sit(port, certs).await?),
            false => None,
        };
        crowd.begin();
        tokio::time::sleep(Duration::from_secs(options.seconds)).await;
        let heard = crowd.end();
        let resident = server.resident_bytes()? as f64 / MIB;
        drop(stuck);
        tokio::time::sleep(SETTLE).await;
        let (p50, p99) = (ms(heard.value_at_quantile(0.5)), ms(heard.value_at_quantile(0.99)));
        let measured = if is_beside { &mut beside } else { &mut alone };
        measured.p50_ms.push(p50);
        measured.p99_ms.push(p99);
        measured.resident.push(resident);
        table.row(vec![
            (round / 2 + 1).to_string(),
            if is_beside { "one" } else { "none" }.to_owned(),
            heard.len().to_string(),
            number(p50),
            number(p99),
            number(ms(heard.max())),
            number(resident),
        ]);
    }
    println!("{}", table.render());
    Ok((alone, beside))
}

/// Lets one be stuck until the gateway gives it up; returns after how long.
async fn cut(place: &Place, certs: &Path) -> anyhow::Result<Duration> {
    let before = cuts(place.ports[2]).await?;
    let _stuck = Stuck::sit_once(place.ports[1], certs).await?;
    let since = Instant::now();
    while cuts(place.ports[2]).await? == before {
        ensure!(
            since.elapsed() < CUT_WAIT,
            "the stuck subscriber was not cut: it was not stuck, or it is waited for"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(since.elapsed())
}

/// Returns how many subscribers the gateway has cut.
async fn cuts(port: u16) -> anyhow::Result<u64> {
    let mut http = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    http.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut page = String::new();
    http.read_to_string(&mut page).await?;
    let line = page.lines().find_map(|line| line.strip_prefix("wardline_alert_subscribers_cut_total "));
    Ok(line.context("no count of subscribers that were cut")?.trim().parse()?)
}

fn report(alone: &Measured, beside: &Measured) {
    println!(
        "median p50 {} ms alone, {} ms beside one that is stuck; median p99 {} and {} ms, ratio {:.2}; resident {} and \
         {} MiB",
        number(alone.p50_ms.median()),
        number(beside.p50_ms.median()),
        number(alone.p99_ms.median()),
        number(beside.p99_ms.median()),
        beside.p99_ms.median() / alone.p99_ms.median(),
        number(alone.resident.median()),
        number(beside.resident.median()),
    );
}

fn bounded(memory: &Memory, peak: f64, subscribers: usize) {
    println!(
        "the gateway's resident memory: {} MiB before anybody subscribed, {} MiB with all of them ({} KiB each, its \
         connection\nincluded), {} MiB at its peak; of events one subscriber holds {HELD_MAX} references at most, and \
         all of a tenant share {} MiB",
        number(memory.empty),
        number(memory.gathered),
        number((memory.gathered - memory.empty) * 1024.0 / subscribers.max(1) as f64),
        number(peak),
        RING_BYTES_MAX / (1024 * 1024),
    );
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}
