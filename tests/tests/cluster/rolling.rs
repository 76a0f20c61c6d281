//! Every process is stopped in order and started again, one after the other, under load: devices behind agents follow
//! where the fronts send them. Nothing is refused, lost or doubled, and every alarm is told once. Prints how soon.

use crate::frames::{heart_rate, low_saturation, now_us};
use crate::ledger::doubled;
use crate::process::eventually;
use crate::rows::{Position, positions};
use crate::tier::Tier;
use crate::ward::runtime;
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use wardline_edge::{Agent, AgentHandle, AgentOptions, FrontAddr, LinkAddr};
use wardline_proto::link::{Decoder, encode};
use wardline_proto::v1::link_up::Kind;
use wardline_proto::v1::subscribe_response::Kind as Told;
use wardline_proto::v1::{AlarmPhase, Body, LinkDown, LinkHello, LinkUp};
use wardline_tests::alert_client::subscribe;

/// Devices of each front.
const BEDS: usize = 4;
/// Between two bodies of a device; every so many is an alarm, up to what the engine keeps of a device.
const BODY: Duration = Duration::from_millis(150);
const BODIES_PER_ALARM: u64 = 7;
const ALARMS_MAX: u64 = 30;
const QUIET: Duration = Duration::from_secs(5);
const WAIT: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(20);
const SENT_ON: &str = "devices are sent to other fronts";

/// When each alarm was raised, or first heard, by its rule; unix microseconds.
type Times = Arc<Mutex<BTreeMap<String, i64>>>;

fn note(times: &Times, rule: String) -> bool {
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    let is_first = !times.contains_key(&rule);
    times.entry(rule).or_insert_with(now_us);
    is_first
}

fn read(times: &Times) -> BTreeMap<String, i64> {
    times.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A device on the link of its agent: measures and raises alarms until it is told to stop, then waits for the agent.
async fn measure(
    link: LinkAddr,
    bed: String,
    raised: Times,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(link.tcp().context("an address")?).await?;
    let hello = LinkHello { model: "test".into(), boot_id: 1, ..LinkHello::default() };
    let mut out = Vec::new();
    encode(&LinkUp { seq: 0, kind: Some(Kind::Hello(hello)) }, &mut out)?;
    let (mut seq, mut alarms, mut acked) = (0, 0, 0);
    let (mut decoder, mut bytes) = (Decoder::default(), [0; 4096]);
    while !*stop.borrow() || acked < seq {
        if !*stop.borrow() {
            seq += 1;
            let body = if seq % BODIES_PER_ALARM == 0 && alarms < ALARMS_MAX {
                alarms += 1;
                let condition = format!("condition-{bed}-{alarms}");
                note(&raised, format!("device/{condition}"));
                Body { alarms: vec![low_saturation(condition)], ..Body::default() }
            } else {
                heart_rate(now_us(), &[70.0])
            };
            encode(&LinkUp { seq, kind: Some(Kind::Body(body)) }, &mut out)?;
            stream.write_all(&out).await?;
            out.clear();
        }
        let turn = Instant::now() + BODY;
        while let Ok(read) = timeout(turn - Instant::now(), stream.read(&mut bytes)).await {
            let count = read?;
            ensure!(count > 0, "the agent closed the link");
            decoder.push(&bytes[..count]);
            while let Some(down) = decoder.next_message::<LinkDown>() {
                acked = down?.acked_seq;
            }
        }
    }
    Ok(())
}

/// Hears alerts at whichever front serves; returns never. What is heard twice, by cursor, is told in `twice`.
async fn listen(ports: [u16; 2], certs: PathBuf, heard: Times, twice: Arc<Mutex<Vec<String>>>) {
    let (mut cursor, mut at) = (0, 0);
    loop {
        if let Ok(Ok(mut stream)) = timeout(QUIET, subscribe(ports[at], &certs, cursor)).await {
            while let Ok(Some(told)) = stream.message().await {
                let Some(Told::Event(event)) = told.kind else { continue };
                cursor = event.cursor;
                let rule = event.alert.as_ref().map(|alert| alert.rule_id.clone()).unwrap_or_default();
                if event.phase() == AlarmPhase::Start
                    && rule.starts_with("device/condition-")
                    && !note(&heard, rule.clone())
                {
                    twice.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
                }
            }
        }
        at = 1 - at;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Prints how long it took to hear alarms that were raised in a time, and returns how many those were.
fn told_within(what: &str, (raised, heard): (&Times, &Times), (from_us, to_us): (i64, i64)) -> usize {
    let heard = read(heard);
    let within = read(raised).into_iter().filter(|(_, at)| (from_us..to_us).contains(at));
    let mut took: Vec<_> = within.filter_map(|(rule, at)| Some(heard.get(&rule)? - at)).collect();
    took.sort_unstable();
    let ms = |part: usize| took.get((took.len() * part / 100).min(took.len() - 1)).map_or(0, |us| us / 1000);
    if !took.is_empty() {
        println!(
            "{what}: {} alarms, p50 {} ms, p99 {} ms, longest {} ms",
            took.len(),
            ms(50),
            ms(99),
            ms(100)
        );
    }
    took.len()
}

/// Agents with a device each, half of them at each front.
async fn agents(tier: &Tier, fronts: [usize; 2]) -> anyhow::Result<Vec<(String, AgentHandle)>> {
    let mut agents = Vec::new();
    for bed in 0..BEDS * 2 {
        let name = format!("bed-{bed}");
        let front = FrontAddr { host: "localhost".into(), port: tier.nodes[fronts[bed % 2]].mqtt };
        let spool = tier.stand.path(&format!("spool-{bed}"));
        let mut options = AgentOptions::new(Some(front), tier.stand.device(&name)?, spool);
        options.link = LinkAddr::Tcp(([127, 0, 0, 1], 0).into());
        options.status_interval = None;
        agents.push((name, Agent::start(options).await?));
    }
    Ok(agents)
}

/// Counts the frames that are in the archive; an error when a stream has a hole.
fn archived(tier: &Tier) -> anyhow::Result<usize> {
    let mut frames = BTreeSet::<Position>::new();
    for table in ["numerics", "waveforms", "alarms", "events"] {
        frames.extend(positions(&tier.stand.table(table)?)?);
    }
    let mut streams = BTreeMap::<_, (u64, u64)>::new();
    for Position { device, epoch, lane, seq } in &frames {
        let (count, last) = streams.entry((device, epoch, lane)).or_default();
        (*count, *last) = (*count + 1, (*last).max(*seq));
    }
    let holes = streams.values().filter(|(count, last)| count != last).count();
    ensure!(holes == 0, "{holes} streams with holes");
    Ok(frames.len())
}

#[test]
fn a_rolling_restart_refuses_nothing_and_tells_every_alarm_once() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    let fronts = tier.fronts_in_turn()?;
    let workers = [tier.node("archive,alert")?, tier.node("archive,alert")?];
    tier.ready()?;
    let runtime = runtime()?;
    let (raised, heard, twice) = (Times::default(), Times::default(), Arc::default());
    let (certs, ports) = (tier.stand.service("ward-7")?, fronts.map(|front| tier.nodes[front].grpc));
    runtime.spawn(listen(ports, certs, heard.clone(), Arc::clone(&twice)));
    let agents = runtime.block_on(agents(&tier, fronts))?;
    let (stop, stopped) = watch::channel(false);
    let devices: Vec<_> = agents
        .iter()
        .map(|(bed, agent)| {
            let link = agent.link_addr().clone();
            runtime.spawn(measure(link, bed.clone(), raised.clone(), stopped.clone()))
        })
        .collect();
    std::thread::sleep(QUIET);
    let begun_us = now_us();
    for node in fronts.into_iter().chain(workers) {
        tier.restart(node)?;
    }
    let over_us = now_us();
    std::thread::sleep(Duration::from_secs(1));
    stop.send_replace(true);
    let (mut acked, mut connects) = (0, Vec::new());
    for (device, (bed, agent)) in devices.into_iter().zip(agents) {
        runtime.block_on(async { timeout(WAIT, device).await })??.with_context(|| bed.clone())?;
        ensure!(runtime.block_on(agent.wait_until_sent(WAIT)), "{bed}: {:?}", agent.stats());
        let stats = runtime.block_on(agent.shutdown())?;
        let total = stats.total();
        ensure!(total.refused == 0 && total.dropped == 0 && total.framed == total.acked, "{bed}: {total:?}");
        acked += usize::try_from(total.acked)?;
        connects.push(stats.connects);
    }
    for front in fronts {
        ensure!(tier.log(front)?.contains(SENT_ON), "a front sent nobody on");
    }
    ensure!(connects.iter().all(|times| *times >= 2), "an agent was not sent on: {connects:?}");
    eventually("every alarm is told", WAIT, || {
        let (heard, raised) = (read(&heard).len(), read(&raised).len());
        ensure!(heard == raised, "{heard} of {raised}");
        Ok(Some(()))
    })?;
    let frames = eventually("everything acknowledged is archived", WAIT, || {
        let frames = archived(&tier)?;
        ensure!(frames >= acked, "{frames} of {acked}");
        Ok(Some(frames))
    })?;
    let (doubled, quarantined) = (doubled(&tier.stand)?, tier.stand.rows("quarantine")?);
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!(
        "rolling restart of {} processes in {:.1} s: {acked} acknowledged, {frames} archived, {doubled} doubled, \
         0 refused, connections of each agent {connects:?}, load {}",
        fronts.len() + workers.len(),
        (over_us - begun_us) as f64 / 1e6,
        load.split(' ').next().unwrap_or_default()
    );
    told_within("before", (&raised, &heard), (0, begun_us));
    let during = told_within("during", (&raised, &heard), (begun_us, over_us));
    // A quiet machine restarts them all in some seconds: an alarm of each agent at least.
    ensure!(during >= 2 * BEDS, "too few alarms to mean anything: {during}");
    ensure!(frames == acked && doubled == 0 && quarantined == 0, "{quarantined} quarantined");
    let twice = twice.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(twice.is_empty(), "told twice: {twice:?}");
    tier.stop()
}
