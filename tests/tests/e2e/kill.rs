//! kill -9 under load: what was acknowledged is archived, once (ACK-1).

pub(crate) use crate::ledger::{doubled, read_ledger};
use crate::process::{Process, binary};
use crate::random::Random;
use crate::rows;
use crate::stand::{Stand, free_ports};
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const DEVICES: usize = 8;
const DRAIN: Duration = Duration::from_secs(120);
const ARCHIVE: Duration = Duration::from_secs(120);

fn cycles() -> usize {
    std::env::var("WARDLINE_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[test]
fn a_gateway_killed_under_load_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let mut random = Random::seeded("a_gateway_killed_under_load");
    let mut stand = Stand::new()?;
    for number in 0..DEVICES {
        stand.device(&format!("mon-{number}"))?;
    }
    stand.start()?;
    let ledger = stand.path("ledger");
    let mut fleet = fleet(&stand, &ledger, Duration::from_secs(30 * cycles() as u64))?;
    for _ in 0..cycles() {
        std::thread::sleep(random.millis(100, 3000));
        stand.kill()?;
        stand.spawn()?;
    }
    stand.ready()?;
    std::thread::sleep(Duration::from_secs(3));
    fleet.interrupt(DRAIN)?;
    let acked = read_ledger(&ledger)?;
    let devices: BTreeSet<_> = acked.iter().map(|position| &position.device).collect();
    ensure!(devices.len() == DEVICES, "frames of {devices:?} alone");
    let quarantined = stand.archived(&acked, ARCHIVE)?;
    let doubled = doubled(&stand)?;
    println!(
        "gateway: {} frames acknowledged, {} cycles of kill -9, 0 lost, {doubled} duplicated",
        acked.len(),
        cycles()
    );
    ensure!(acked.len() > 100 * cycles(), "too little load to mean anything: {} frames", acked.len());
    ensure!(doubled == 0 && quarantined == 0, "{doubled} duplicated, {quarantined} quarantined");
    stand.stop()?;
    stand.verify()
}

/// Starts every device of the stand's certificates, for `length` unless it is interrupted. They join within the first
/// fiftieth of it.
pub(crate) fn fleet(stand: &Stand, ledger: &Path, length: Duration) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("firmware-sim")?);
    command.args(["fleet", "--gateway", &format!("127.0.0.1:{}", stand.mqtt), "--server-name", "localhost"]);
    command.args(["--rate", "25", "--duration", &format!("{}s", length.as_secs()), "--drain", "100s"]);
    command.arg("--certs").arg(stand.certs()).arg("--ledger").arg(ledger);
    Process::start("firmware-sim fleet", &mut command, &stand.path("fleet.log"))
}

#[test]
fn an_agent_killed_under_load_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let mut random = Random::seeded("an_agent_killed_under_load");
    let mut stand = Stand::new()?;
    let certs = stand.device("mon-1")?;
    stand.start()?;
    let [link] = free_ports()?;
    let mut agent = agent(&stand, &certs, link)?;
    let mut device = device(&stand, "mon-1", link)?;
    for _ in 0..cycles() {
        std::thread::sleep(random.millis(100, 1500));
        agent.kill()?;
        agent = self::agent(&stand, &certs, link)?;
    }
    device.interrupt(DRAIN)?;
    let told = device.tail();
    let (readings, samples) = measured(&told).with_context(|| told.clone())?;
    let found = crate::process::eventually("all that was measured is archived", ARCHIVE, || {
        let found = unique(&stand)?;
        ensure!(found.readings >= readings && found.samples >= samples, "{found:?} of {readings}, {samples}");
        Ok(Some(found))
    })?;
    println!(
        "agent: {readings} readings and {samples} samples measured, {} cycles of kill -9, archived {found:?}",
        cycles()
    );
    ensure!(found.readings == readings && found.samples == samples, "more was archived than was measured");
    ensure!(found.doubled == 0, "{} rows are doubled", found.doubled);
    agent.stop(DRAIN)?;
    stand.stop()?;
    stand.verify()
}

/// Starts the agent of `mon-1`.
pub(crate) fn agent(stand: &Stand, certs: &Path, link: u16) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("wardline-edge")?);
    command.args(["run", "--server", &format!("localhost:{}", stand.mqtt)]);
    command.args(["--link", &format!("tcp://127.0.0.1:{link}")]);
    command.args(["--backoff-min-ms", "50", "--backoff-max-ms", "1000"]);
    command.arg("--certs").arg(certs).arg("--spool").arg(stand.path("spool"));
    Process::start("wardline-edge", &mut command, &stand.path("agent.log"))
}

/// Starts a simulated monitor on an agent's link.
pub(crate) fn device(stand: &Stand, device: &str, link: u16) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("firmware-sim")?);
    command.args([
        "device",
        "--device",
        device,
        "--speed",
        "10",
        "--link",
        &format!("tcp://127.0.0.1:{link}"),
    ]);
    Process::start("firmware-sim device", &mut command, &stand.path("device.log"))
}

/// Reads readings and samples from the device's last line.
fn measured(output: &str) -> anyhow::Result<(usize, usize)> {
    let line = output.lines().find(|line| line.contains("measured")).context("the device told nothing")?;
    let number_before = |word: &str| -> anyhow::Result<usize> {
        let head = line.split(word).next().unwrap_or_default();
        let digits = head.trim_end().rsplit([' ', '(']).next().unwrap_or_default();
        digits.parse().with_context(|| format!("no number before {word}"))
    };
    Ok((number_before("readings")?, number_before("samples")?))
}

#[derive(Debug)]
struct Found {
    readings: usize,
    samples: usize,
    doubled: usize,
}

/// Counts what is archived by what was measured when, whatever frame carried it.
fn unique(stand: &Stand) -> anyhow::Result<Found> {
    let readings = rows::readings(&stand.table("numerics")?)?;
    let blocks = rows::blocks(&stand.table("waveforms")?)?;
    let reading_keys: BTreeSet<_> = readings.iter().map(|r| (r.mdc_code, r.time_us)).collect();
    let block_keys: BTreeMap<_, _> =
        blocks.iter().map(|b| ((b.mdc_code, b.start_us), b.samples.len())).collect();
    Ok(Found {
        readings: reading_keys.len(),
        samples: block_keys.values().sum(),
        doubled: readings.len() - reading_keys.len() + blocks.len() - block_keys.len(),
    })
}
