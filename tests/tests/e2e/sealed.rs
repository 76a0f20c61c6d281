//! At rest nothing is readable without keys (SEC-3): marked values go the whole way, then every file is searched.

use crate::archive::block_on;
use crate::frames::{HEART_RATE, Publisher, now_us, raw_frame, series};
use crate::kill::agent;
use crate::process::{eventually, run, run_to_fail};
use crate::python;
use crate::rows;
use crate::stand::{Stand, TENANT, files_below, free_ports};
use anyhow::{Context, bail, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use wardline_proto::frame::delta_encode;
use wardline_proto::link::{Decoder, encode};
use wardline_proto::v1::link_up::Kind;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Body, DeviceAlarm, DeviceEvent, LinkDown, LinkHello, LinkUp, Priority,
    WaveformBlock,
};

/// A text that stands for a patient: an alarm's condition, an event's detail.
const MARKER: &str = "patient-4711-zebra-quartz";
/// A heart rate that nothing else has.
const RATE: f64 = 61.724_518_303_1;
/// Samples that nothing else has.
const SAMPLES: [i32; 8] = [12_345, -23_456, 31_415, -27_182, 16_180, -14_142, 17_320, -22_360];
const WAIT: Duration = Duration::from_secs(60);

/// What one device measures: numerics, a waveform, an alarm and an event, each marked.
fn bodies() -> Vec<Body> {
    let at_us = now_us();
    let waveform = WaveformBlock {
        mdc_code: 131_330,
        ucum_unit: "mV".into(),
        start_us: at_us,
        interval_ns: 4_000_000,
        sample_deltas: delta_encode(&SAMPLES),
        scale: 0.005,
        ..WaveformBlock::default()
    };
    let alarm = DeviceAlarm {
        condition_id: MARKER.into(),
        mdc_code: 196_670,
        source_mdc_code: HEART_RATE,
        kind: AlarmKind::Physiological.into(),
        priority: Priority::High.into(),
        phase: AlarmPhase::Start.into(),
        at_us,
        value: Some(RATE),
        limit: Some(50.0),
        ucum_unit: "/min".into(),
    };
    let event = DeviceEvent { at_us, name: "note".into(), detail: MARKER.into(), ..DeviceEvent::default() };
    vec![
        Body { numerics: vec![series(HEART_RATE, "/min", at_us, &[RATE, RATE])], ..Body::default() },
        Body { waveforms: vec![waveform], ..Body::default() },
        Body { alarms: vec![alarm], ..Body::default() },
        Body { events: vec![event], ..Body::default() },
    ]
}

/// Speaks the device link: sends `bodies` and waits until the agent has them durable.
fn measure(port: u16, bodies: &[Body]) -> anyhow::Result<()> {
    let mut stream =
        eventually("the agent's link", WAIT, || Ok(Some(TcpStream::connect(("127.0.0.1", port))?)))?;
    stream.set_read_timeout(Some(WAIT))?;
    let hello = LinkHello { model: "test".into(), serial: "1".into(), firmware: "1".into(), boot_id: 1 };
    let mut out = Vec::new();
    encode(&LinkUp { seq: 0, kind: Some(Kind::Hello(hello)) }, &mut out)?;
    for (index, body) in bodies.iter().enumerate() {
        encode(&LinkUp { seq: index as u64 + 1, kind: Some(Kind::Body(body.clone())) }, &mut out)?;
    }
    stream.write_all(&out)?;
    let (mut decoder, mut bytes) = (Decoder::default(), [0; 4096]);
    loop {
        let count = stream.read(&mut bytes).context("no acknowledgement on the link")?;
        ensure!(count > 0, "the agent closed the link");
        decoder.push(&bytes[..count]);
        while let Some(message) = decoder.next_message::<LinkDown>() {
            if message?.acked_seq >= bodies.len() as u64 {
                return Ok(());
            }
        }
    }
}

/// Publishes a marked body that does not decode: the quarantine keeps it whole, and sealed.
fn publish_nonsense(stand: &Stand) -> anyhow::Result<()> {
    let certs = stand.device("mon-2")?;
    let body = [&[0xFF; 4], MARKER.as_bytes()].concat();
    block_on(async {
        let mut device = Publisher::connect(stand.mqtt, TENANT, "mon-2", &certs).await?;
        device.publish(&raw_frame(1, 1, body)).await
    })
}

/// Returns what a patient's data looks like in a file: text, a double, samples as they lie in each width and form.
fn needles() -> Vec<Vec<u8>> {
    let wide = SAMPLES.iter().flat_map(|s| s.to_le_bytes()).collect();
    let narrow = SAMPLES.iter().flat_map(|s| (*s as i16).to_le_bytes()).collect();
    vec![MARKER.as_bytes().to_vec(), RATE.to_le_bytes().to_vec(), wide, narrow, b"61.7245183".to_vec()]
}

/// Says whether `needle`, which does not begin with a zero, is in `bytes`. Of a journal most is room of zeros.
fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    const EMPTY: [u8; 4096] = [0; 4096];
    (0..bytes.len()).step_by(EMPTY.len()).any(|from| {
        let rest = &bytes[from..];
        let here = &rest[..EMPTY.len().min(rest.len())];
        let across = &rest[..(EMPTY.len() + needle.len() - 1).min(rest.len())];
        *here != EMPTY[..here.len()] && across.windows(needle.len()).any(|window| window == needle)
    })
}

/// Searches every file below `folder`; the first hit is an error. Returns how many files there were.
fn search(folder: &Path) -> anyhow::Result<usize> {
    let files = files_below(folder)?;
    let needles = needles();
    for file in &files {
        let Ok(bytes) = std::fs::read(file) else { continue };
        for needle in &needles {
            if holds(&bytes, needle) {
                bail!("{} holds {:?} in clear", file.display(), String::from_utf8_lossy(needle));
            }
        }
    }
    Ok(files.len())
}

/// The same wherever the gateway keeps something.
fn search_all(stand: &Stand) -> anyhow::Result<usize> {
    stand.folders()?.iter().map(|folder| search(folder)).sum()
}

#[test]
fn the_search_finds_what_is_in_clear() -> anyhow::Result<()> {
    for needle in needles() {
        ensure!(needle.first().is_some_and(|first| *first != 0), "{needle:?} begins with a zero");
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("clear"), [&[0_u8; 4090][..], &needle, &[1; 100]].concat())?;
        ensure!(search(folder.path()).is_err(), "{needle:?} was not found");
    }
    Ok(())
}

#[test]
fn nothing_at_rest_is_readable_without_keys() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let certs = stand.device("mon-1")?;
    let [link] = free_ports()?;
    let mut spooling = agent(&stand, &certs, link)?;
    measure(link, &bodies())?;
    let spooled = search(&stand.path("spool"))?;
    spooling.kill()?;
    search(&stand.path("spool"))?;
    stand.start()?;
    let _delivering = agent(&stand, &certs, link)?;
    publish_nonsense(&stand)?;
    for table in ["numerics", "waveforms", "alarms", "events", "quarantine"] {
        eventually(table, WAIT, || Ok((!rows::positions(&stand.table(table)?)?.is_empty()).then_some(())))?;
    }
    let readings = rows::readings(&stand.table("numerics")?)?;
    ensure!(readings.iter().any(|r| r.value == RATE), "the marked value was not archived");
    let running = search_all(&stand)?;
    read_with_pyarrow(&stand)?;
    stand.kill()?;
    let killed = search_all(&stand)?;
    for text in [stand.log()?, std::fs::read_to_string(stand.path("agent.log"))?] {
        ensure!(!text.contains(MARKER) && !text.contains("61.72"), "a log names a patient's value");
    }
    println!(
        "searched {spooled} files of the spool, {running} of the running gateway, {killed} after kill -9"
    );
    Ok(())
}

/// Reads every table as a data team would; without the keyring it must fail.
fn read_with_pyarrow(stand: &Stand) -> anyhow::Result<()> {
    let read = |table: &str| -> anyhow::Result<std::process::Command> {
        let mut command = python::script("docs/examples/read_archive.py", None)?;
        command.arg("--data-dir").arg(stand.data()).args(["--table", table]);
        Ok(command)
    };
    for table in ["numerics", "waveforms", "alarms", "events", "quarantine", "audit"] {
        let told = run(&mut read(table)?)?;
        let head = told.lines().next().unwrap_or_default();
        ensure!(head.contains(" rows") && !head.contains(": 0 rows"), "PyArrow read nothing: {head}");
        println!("pyarrow: {head}");
    }
    ensure!(run(&mut read("numerics")?)?.contains("61.72451"), "PyArrow reads another value");
    let keyring = stand.data().join("keyring.json");
    let hidden = stand.path("keyring.away");
    std::fs::rename(&keyring, &hidden)?;
    let told = run_to_fail(&mut read("numerics")?);
    std::fs::rename(&hidden, &keyring)?;
    ensure!(!told?.contains("61.72451"), "readable without keys");
    Ok(())
}
