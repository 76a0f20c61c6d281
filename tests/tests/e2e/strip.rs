//! The waveforms around an alarm, of a real recording: whole, with the hole where a frame was lost, to scale.

use crate::frames::{Publisher, alarm_frame, frame, now_us};
use crate::process::{eventually, run};
use crate::records;
use crate::stand::{Stand, TENANT};
use crate::{archive::block_on, python::root};
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Body, DeviceAlarm, Frame, Lane, Priority, WaveformBlock};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::registry::{Change, NewBinding};

const WAIT: Duration = Duration::from_secs(30);
const EPOCH: u64 = 1_790_000_000_000_001;
/// Seconds of the record that are played, from 11 s before the alarm on.
pub(crate) const PLAYED: usize = 22;
/// The second whose frame is lost.
pub(crate) const LOST: usize = 14;
pub(crate) const HERTZ: usize = 360;
/// An alarm of so long ago is live, and what was measured around it must be in the archive.
const AGO_US: i64 = 85_000_000;

/// A second of the record: 200 units to the millivolt, 1024 is zero.
fn block(samples: &[i32], start_us: i64) -> WaveformBlock {
    let deltas = |at: usize| samples[at] - if at == 0 { 0 } else { samples[at - 1] };
    WaveformBlock {
        mdc_code: 131_330,
        ucum_unit: "mV".into(),
        start_us,
        interval_ns: 1_000_000_000 / HERTZ as u64,
        sample_deltas: (0..samples.len()).map(deltas).collect(),
        scale: 0.005,
        offset: 1024.0,
        gaps: Vec::new(),
    }
}

pub(crate) fn play(
    stand: &Stand,
    (name, certs): (&str, &Path),
    samples: &[i32],
    onset_us: i64,
) -> anyhow::Result<()> {
    block_on(async {
        let mut device = Publisher::connect(stand.mqtt, TENANT, name, certs).await?;
        for (second, samples) in samples.chunks(HERTZ).take(PLAYED).enumerate() {
            let start_us = onset_us + (second as i64 - 11) * 1_000_000;
            let body = Body { waveforms: vec![block(samples, start_us)], ..Body::default() };
            let frame = Frame { lane: Lane::Waveforms.into(), ..frame(EPOCH, second as u64 + 1, &body) };
            if second != LOST {
                device.publish(&frame).await?;
            }
        }
        let alarm = DeviceAlarm {
            condition_id: "asystole".into(),
            mdc_code: 196_670,
            source_mdc_code: 131_330,
            kind: AlarmKind::Physiological.into(),
            priority: Priority::High.into(),
            phase: AlarmPhase::Start.into(),
            at_us: onset_us,
            ..DeviceAlarm::default()
        };
        device.publish(&alarm_frame(EPOCH, 1, &Body { alarms: vec![alarm], ..Body::default() })).await
    })
}

fn alerts(stand: &Stand, certs: &Path, words: &[&str]) -> anyhow::Result<Command> {
    let mut command = stand.offline(&["alerts"])?;
    command.args(words).args(["--server", &format!("https://localhost:{}", stand.grpc)]);
    command.arg("--certs").arg(certs);
    Ok(command)
}

/// The event that tells what had come carries the same gap, before anybody looks into the archive.
fn flags(stand: &Stand, ward: &Path, onset_us: i64) -> anyhow::Result<()> {
    let watch = ["watch", "--json", "--count", "2", "--timeout", "30", "--device", "mon-1"];
    let told = run(&mut alerts(stand, ward, &watch)?)?;
    let event: serde_json::Value = serde_json::from_str(told.lines().last().context("an event")?)?;
    ensure!(event["phase"] == "update" && event["reason"] == "strip", "{told}");
    let streams = event["alert"]["strip"]["streams"].as_array().context("streams")?;
    let gaps = streams[0]["gaps"].as_array().context("gaps")?;
    ensure!(streams.len() == 1 && gaps.len() == 1 && gaps[0]["why"] == "missing", "{event}");
    let from_us = gaps[0]["from_us"].as_i64().context("a time")?;
    ensure!((from_us - onset_us - 3_000_000).abs() < 10_000, "{event}");
    Ok(())
}

#[test]
fn a_strip_of_a_recording_shows_what_is_there_and_says_what_is_not() -> anyhow::Result<()> {
    let Some(folder) = records::folder("a_strip_of_a_recording") else { return Ok(()) };
    let record = records::read(&folder.join("100.hea"))?;
    let signal = record.signals.first().context("a signal")?;
    let mut stand = Stand::new()?;
    let (device, ward) = (stand.device("mon-1")?, stand.service("ward-7")?);
    stand.start()?;
    let onset_us = now_us() - AGO_US;
    play(&stand, ("mon-1", &device), &signal.samples, onset_us)?;
    let alert = eventually("the alarm is an alert", WAIT, || {
        let told = run(&mut alerts(&stand, &ward, &["list", "--all", "--json"])?)?;
        let alerts = told.lines().map(serde_json::from_str::<serde_json::Value>);
        let alerts = alerts.collect::<Result<Vec<_>, _>>()?;
        Ok(alerts.into_iter().find(|alert| alert["rule_id"] == "device/asystole"))
    })?;
    ensure!(alert["strip"]["from_us"] == onset_us - 10_000_000, "{alert}");
    ensure!(alert["strip"]["to_us"] == onset_us + 10_000_000, "{alert}");
    let id = alert["alert_id"].as_str().context("an id")?;
    flags(&stand, &ward, onset_us)?;
    let told = eventually("the waveforms are archived", WAIT, || {
        let mut command = alerts(&stand, &ward, &["strip", id, "--json"])?;
        let told: serde_json::Value =
            serde_json::from_str(&run(command.arg("--data-dir").arg(stand.data()))?)?;
        let gaps = told["streams"][0]["gaps"].as_array().map_or(0, Vec::len);
        ensure!(gaps == 1, "{told}");
        Ok(Some(told))
    })?;
    let (stream, gap) = (&told["streams"][0], &told["streams"][0]["gaps"][0]);
    let samples = stream["samples"].as_u64().context("samples")?;
    ensure!(samples.abs_diff(19 * HERTZ as u64) <= 2, "{told}");
    let near = |name: &str, us: i64| gap[name].as_i64().is_some_and(|at| (at - us).abs() < 10_000);
    ensure!(near("from_us", onset_us + 3_000_000) && near("to_us", onset_us + 4_000_000), "{told}");
    ensure!(gap["why"] == "missing", "{told}");
    let picture = stand.path("strip.png");
    let mut command = alerts(&stand, &ward, &["strip", &id[..12]])?;
    let drawn = run(command.arg("--data-dir").arg(stand.data()).arg("--png").arg(&picture))?;
    ensure!(drawn.contains("10 mm/mV") && drawn.contains("+3.00 s to +4.00 s: missing"), "{drawn}");
    ensure!(drawn.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "nothing is drawn:\n{drawn}");
    let bytes = std::fs::read(&picture)?;
    ensure!(bytes.starts_with(b"\x89PNG\r\n"), "not a PNG");
    if let Some(keep) = std::env::var_os("WARDLINE_STRIP_PNG") {
        std::fs::copy(&picture, root()?.join(keep))?;
    }
    println!("{drawn}");
    erased(&stand, &ward, (id, onset_us))?;
    stand.stop()
}

/// Who wore the monitor until two seconds before the alarm is erased: what was hers is told as erased, and no more.
fn erased(stand: &Stand, ward: &Path, (id, onset_us): (&str, i64)) -> anyhow::Result<()> {
    block_on(async {
        let store = stand.store()?.open_existing().await?;
        let device = DeviceKey { tenant: TenantId::new(TENANT)?, device: DeviceId::new("mon-1")? };
        let (from_us, until_us) = (onset_us - 60_000_000, Some(onset_us - 2_000_000));
        let binding = NewBinding { device, subject: "p-ada".into(), from_us, until_us };
        store.bind(&Change::new("os:test@here", now_us()), &binding).await?;
        store.close().await;
        anyhow::Ok(())
    })?;
    let mut erase =
        stand.offline(&["archive", "erase", "--tenant", TENANT, "--subject", "p-ada", "--now"])?;
    println!("{}", run(erase.arg("--data-dir").arg(stand.data()))?.trim());
    let mut command = alerts(stand, ward, &["strip", id, "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&run(command.arg("--data-dir").arg(stand.data()))?)?;
    let gaps = told["streams"][0]["gaps"].as_array().context("gaps")?;
    let why: Vec<_> = gaps.iter().map(|gap| gap["why"].as_str().unwrap_or_default()).collect();
    ensure!(why == ["erased", "missing"], "{told}");
    let to_us = gaps[0]["to_us"].as_i64().context("a time")?;
    // A block whose first sample was hers is gone whole.
    ensure!((onset_us - 2_000_000..=onset_us - 990_000).contains(&to_us), "{told}");
    Ok(())
}
