//! From a backup: what the gateway acknowledged after it is asked for again, and what the agent keeps comes, once.

use crate::archive;
use crate::frames::{heart_rate, low_saturation, now_us};
use crate::process::{Process, binary, eventually, run, run_to_fail};
use crate::rows::{self, Position};
use crate::stand::{Stand, TENANT, free_ports};
use anyhow::{Context, ensure};
use arrow_array::{Array, RecordBatch};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use wardline_proto::link::{self, Decoder};
use wardline_proto::v1::link_up::Kind;
use wardline_proto::v1::{AlarmPhase, Body, LinkDown, LinkHello, LinkTime, LinkUp, WaveformBlock};

const WAIT: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);
/// Frames before the backup, between backup and loss, and after the restore.
const BEFORE: u64 = 50;
const LOST: u64 = 500;
const AFTER: u64 = 5;
const ALARMS_LOST: u64 = 20;
/// More than a segment of the agent's log.
const BLOCKS_LOST: u64 = 140;

/// A monitor on an agent's link.
struct Monitor {
    stream: TcpStream,
    decoder: Decoder,
    seq: u64,
}

impl Monitor {
    fn connect(port: u16) -> anyhow::Result<Self> {
        let connect = || Ok(TcpStream::connect(("127.0.0.1", port)).ok());
        let stream = eventually("the agent's link", WAIT, connect)?;
        stream.set_read_timeout(Some(WAIT))?;
        let mut monitor = Self { stream, decoder: Decoder::default(), seq: 0 };
        let boot_id = now_us().unsigned_abs();
        monitor.write(0, Kind::Hello(LinkHello { boot_id, ..LinkHello::default() }))?;
        monitor.write(0, Kind::Time(LinkTime { now_us: now_us() }))?;
        Ok(monitor)
    }

    fn write(&mut self, seq: u64, kind: Kind) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        link::encode(&LinkUp { seq, kind: Some(kind) }, &mut bytes)?;
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Sends bodies and waits until the agent has them all.
    fn send(&mut self, bodies: impl Iterator<Item = Body>) -> anyhow::Result<()> {
        for body in bodies {
            self.seq += 1;
            self.write(self.seq, Kind::Body(body))?;
        }
        let mut bytes = [0; 1024];
        loop {
            while let Some(down) = self.decoder.next_message::<LinkDown>() {
                if down?.acked_seq >= self.seq {
                    return Ok(());
                }
            }
            let read = self.stream.read(&mut bytes)?;
            ensure!(read > 0, "the agent closed the link");
            self.decoder.push(&bytes[..read]);
        }
    }
}

fn readings(count: u64) -> impl Iterator<Item = Body> {
    (0..count).map(|number| heart_rate(now_us() + number as i64, &[60.0 + (number % 50) as f64]))
}

/// Starts and ends conditions in turn, each in a frame of its own.
fn alarms(name: &str, count: u64) -> impl Iterator<Item = Body> {
    let name = name.to_owned();
    (0..count).map(move |number| {
        let mut alarm = low_saturation(format!("{name}-{}", number / 2));
        if number % 2 == 1 {
            alarm.set_phase(AlarmPhase::End);
        }
        Body { alarms: vec![alarm], ..Body::default() }
    })
}

/// Blocks that do not compress.
fn blocks(count: u64) -> impl Iterator<Item = Body> {
    let mut state = 7_u64;
    (0..count).map(move |_| {
        let mut step = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as i32 - (1 << 23)) >> 10
        };
        let sample_deltas = (0..9_000).map(|nth| if nth % 2 == 0 { step() } else { -step() }).collect();
        let block = WaveformBlock {
            mdc_code: 131_330,
            ucum_unit: "mV".into(),
            start_us: now_us(),
            interval_ns: 4_000_000,
            sample_deltas,
            scale: 0.001,
            ..WaveformBlock::default()
        };
        Body { waveforms: vec![block], ..Body::default() }
    })
}

fn agent(stand: &Stand, device: &str, certs: &Path, (link, keep): (u16, &str)) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("wardline-edge")?);
    command.args(["run", "--server", &format!("localhost:{}", stand.mqtt), "--keep-acked-hours", keep]);
    command.args(["--link", &format!("tcp://127.0.0.1:{link}")]);
    command.args(["--backoff-min-ms", "50", "--backoff-max-ms", "500"]);
    command.arg("--certs").arg(certs).arg("--spool").arg(stand.path(&format!("spool-{device}")));
    Process::start("wardline-edge", &mut command, &stand.path(&format!("agent-{device}.log")))
}

/// How often each position of a table's device stands in the archive.
fn times(stand: &Stand, table: &str, device: &str) -> anyhow::Result<BTreeMap<u64, usize>> {
    let mut times = BTreeMap::new();
    let own = |position: &Position| position.device == device;
    for position in rows::positions(&stand.table(table)?)?.into_iter().filter(own) {
        *times.entry(position.seq).or_default() += 1;
    }
    Ok(times)
}

/// Waits until a table has the positions 1 to `last` of a device but `holes` of them.
fn has(stand: &Stand, table: &str, device: &str, (last, holes): (u64, u64)) -> anyhow::Result<()> {
    eventually("everything acknowledged is archived", WAIT, || {
        let times = times(stand, table, device)?;
        let (found, newest) = (times.len() as u64, times.keys().next_back().copied().unwrap_or(0));
        ensure!(found + holes == last && newest == last, "{table}: {found} of {last}, newest {newest}");
        ensure!(times.values().all(|n| *n == 1), "{table}: a row stands there twice");
        Ok(Some(()))
    })
}

/// Runs `archive reconcile`; returns its exit code and what it printed.
fn reconcile(stand: &Stand, words: &[&str]) -> anyhow::Result<(i32, String)> {
    let output = stand.on_data(&[&["archive", "reconcile"], words].concat())?.output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code().context("it was killed")?;
    ensure!(code <= 2 && !told.is_empty(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    Ok((code, told))
}

#[test]
fn a_gateway_of_a_backup_gets_back_once_what_agents_keep() -> anyhow::Result<()> {
    let began = Instant::now();
    let mut stand = Stand::new()?;
    let (keeps, forgets) = (stand.device("mon-1")?, stand.device("mon-2")?);
    stand.start()?;
    let [link, other_link] = free_ports()?;
    let mut agent_1 = agent(&stand, "mon-1", &keeps, (link, "24"))?;
    let mut agent_2 = agent(&stand, "mon-2", &forgets, (other_link, "0"))?;
    let (mut monitor, mut other) = (Monitor::connect(link)?, Monitor::connect(other_link)?);
    lose(&mut stand, &mut monitor, &mut other)?;
    let last = BEFORE + LOST + AFTER;
    println!(
        "{:?}: {LOST} readings, {ALARMS_LOST} alarms and {BLOCKS_LOST} blocks are lost",
        began.elapsed()
    );

    let (code, told) = reconcile(&stand, &["--device", "mon-1"])?;
    ensure!(code == 1 && told.contains(&format!("{}-{}", BEFORE + 1, BEFORE + LOST)), "{told}");
    nonsense(&stand)?;
    let (code, told) = reconcile(&stand, &["--device", "mon-1", "--ask"])?;
    ensure!(code == 1 && told.contains("asked for by request"), "{told}");
    eventually("some of it came", WAIT, || {
        let came = times(&stand, "numerics", "mon-1")?.len() as u64 - BEFORE - AFTER;
        Ok((came > 0)
            .then(|| println!("{:?}: the agent is killed when {came} of {LOST} are back", began.elapsed())))
    })?;
    agent_1.kill()?;
    let came = times(&stand, "numerics", "mon-1")?.len() as u64 - BEFORE - AFTER;
    ensure!(came < LOST, "it was killed too late to mean anything");
    agent_1 = agent(&stand, "mon-1", &keeps, (link, "24"))?;
    let (code, told) = reconcile(&stand, &["--device", "mon-1", "--wait-s", "60"])?;
    println!("{:?}:\n{told}", began.elapsed());
    ensure!(code == 0 && told.starts_with("0 frames never came") && !told.contains("sent\n"), "{told}");
    has(&stand, "numerics", "mon-1", (last, 0))?;
    has(&stand, "alarms", "mon-1", (3 + ALARMS_LOST, 0))?;

    let (code, told) = reconcile(&stand, &["--device", "mon-2", "--ask", "--wait-s", "60"])?;
    println!("{:?}:\n{told}", began.elapsed());
    ensure!(code == 2 && told.contains("lost at the device"), "{told}");
    lost_once(&stand)?;
    let asked = stand.trail()?.iter().filter(|event| event["action"] == "resend_asked").count();
    ensure!(asked == 3, "{asked} requests in the audit trail");
    agent_1.stop(STOP)?;
    agent_2.stop(STOP)?;
    stand.stop()?;
    println!("{:?} in all", began.elapsed());
    stand.verify()
}

/// Lets devices send before a backup, after it, and after the gateway was made from it again.
fn lose(stand: &mut Stand, monitor: &mut Monitor, other: &mut Monitor) -> anyhow::Result<()> {
    monitor.send(readings(BEFORE).chain(alarms("before", 2)))?;
    other.send(blocks(1))?;
    has(stand, "numerics", "mon-1", (BEFORE, 0))?;
    has(stand, "alarms", "mon-1", (2, 0))?;
    has(stand, "waveforms", "mon-2", (1, 0))?;
    stand.stop()?;
    stand.backup()?;
    stand.start()?;

    monitor.send(readings(LOST).chain(alarms("lost", ALARMS_LOST)))?;
    other.send(blocks(BLOCKS_LOST))?;
    has(stand, "numerics", "mon-1", (BEFORE + LOST, 0))?;
    has(stand, "alarms", "mon-1", (2 + ALARMS_LOST, 0))?;
    has(stand, "waveforms", "mon-2", (1 + BLOCKS_LOST, 0))?;
    // The disk is gone, and the backup is what there is.
    stand.kill()?;
    stand.restore()?;
    stand.start()?;
    monitor.send(readings(AFTER).chain(alarms("after", 1)))?;
    other.send(blocks(1))?;
    has(stand, "numerics", "mon-1", (BEFORE + LOST + AFTER, LOST))?;
    has(stand, "alarms", "mon-1", (3 + ALARMS_LOST, ALARMS_LOST))?;
    has(stand, "waveforms", "mon-2", (2 + BLOCKS_LOST, BLOCKS_LOST))
}

/// What cannot be asked for is refused with its code.
fn nonsense(stand: &Stand) -> anyhow::Result<()> {
    for (tenant, range, code) in [
        (TENANT, "7/numerics/9-3", "WL-RSD-001"),
        (TENANT, "7/numerics/0-9", "WL-RSD-001"),
        (TENANT, "numerics/1-9", "WL-RSD-001"),
        ("other", "7/numerics/1-9", "WL-REG-002"),
    ] {
        let words =
            ["archive", "reconcile", "--device", "mon-1", "--ask", "--tenant", tenant, "--range", range];
        let told = run_to_fail(&mut stand.on_data(&words)?)?;
        ensure!(told.contains(code), "{range}: {told}");
    }
    Ok(())
}

/// What `mon-2` does not hold is told once, and the hours say so.
fn lost_once(stand: &Stand) -> anyhow::Result<()> {
    let streams = archive::streams(&stand.data(), "mon-2")?;
    let holes: Vec<_> = streams.iter().flat_map(|stream| stream.missing.clone()).collect();
    ensure!(holes.len() == 1 && *holes[0].start() == 2, "{holes:?}");
    let lost = holes[0].end() - holes[0].start() + 1;
    ensure!(lost > 0 && lost < BLOCKS_LOST, "{lost} of {BLOCKS_LOST} lost");
    has(stand, "waveforms", "mon-2", (2 + BLOCKS_LOST, lost))?;
    let told = run(&mut stand.on_data(&["archive", "completeness", "--device", "mon-2", "--json"])?)?;
    let hours: Vec<serde_json::Value> =
        told.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("JSON lines")?;
    let sum: u64 = hours.iter().filter_map(|hour| hour["lost"].as_u64()).sum();
    ensure!(sum == lost, "{sum} of {lost} told: {told}");
    let events = stand.table("events")?;
    let gaps: usize = events.iter().map(gaps).sum();
    println!(
        "{} of {BLOCKS_LOST} blocks came back, {lost} are lost at the device, told {gaps} time",
        BLOCKS_LOST - lost
    );
    ensure!(gaps == 1, "{gaps} events of what is not held");
    Ok(())
}

fn gaps(batch: &RecordBatch) -> usize {
    let column = batch.column_by_name("gap_first_seq");
    column.map_or(0, |column| column.len() - column.null_count())
}
