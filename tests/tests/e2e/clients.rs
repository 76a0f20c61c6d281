//! Other people's software: mosquitto's client and paho publish; strangers stay outside.

use crate::process::{eventually, run, run_to_fail};
use crate::python;
use crate::rows;
use crate::stand::{Stand, TENANT};
use anyhow::ensure;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ARCHIVE: Duration = Duration::from_secs(60);
const SPO2: u32 = 150_456;

/// Returns mosquitto's client with a device's certificate; `-q 1` waits for the acknowledgement.
fn mosquitto_pub(stand: &Stand, version: &str, certs: Option<&Path>, topic: &str, message: &str) -> Command {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", version, "-h", "localhost", "-p", &stand.mqtt.to_string(), "-q", "1", "-i", "mon-1"]);
    command.args(["-t", topic, "-m", message]).arg("--cafile").arg(stand.data().join("pki/ca.pem"));
    if let Some(certs) = certs {
        command.arg("--cert").arg(certs.join("cert.pem")).arg("--key").arg(certs.join("key.pem"));
    }
    command
}

fn topic(device: &str) -> String {
    format!("wl/1/{TENANT}/{device}/up/telemetry")
}

fn json(value: f64) -> String {
    format!(r#"{{"readings":[{{"code":"MDC_PULS_OXIM_SAT_O2","value":{value},"unit":"%"}}]}}"#)
}

#[test]
fn mosquitto_publishes_json_in_both_versions() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let certs = stand.device("mon-1")?;
    stand.start()?;
    run(&mut mosquitto_pub(&stand, "mqttv311", Some(&certs), &topic("mon-1"), &json(91.0)))?;
    let mut five = mosquitto_pub(&stand, "mqttv5", Some(&certs), &topic("mon-1"), &json(92.0));
    run(five.args(["-D", "publish", "content-type", "application/json"]))?;
    let values = eventually("both readings are archived", ARCHIVE, || {
        let readings = rows::readings(&stand.table("numerics")?)?;
        ensure!(readings.len() >= 2, "{} of 2", readings.len());
        ensure!(
            readings.iter().all(|r| r.mdc_code == SPO2 && r.position.device == "mon-1"),
            "other readings"
        );
        Ok(Some(readings.iter().map(|r| r.value).collect::<Vec<_>>()))
    })?;
    ensure!(values.len() == 2 && values.contains(&91.0) && values.contains(&92.0), "{values:?}");
    stand.stop()
}

#[test]
fn another_devices_topic_is_refused_and_audited() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let (certs, _) = (stand.device("mon-1")?, stand.device("mon-2")?);
    stand.start()?;
    let told = run_to_fail(&mut mosquitto_pub(&stand, "mqttv5", Some(&certs), &topic("mon-2"), &json(93.0)));
    let told = told.or_else(|_| quiet_refusal(&stand, &certs))?;
    println!("mosquitto_pub said: {}", told.trim());
    run(&mut mosquitto_pub(&stand, "mqttv311", Some(&certs), &topic("mon-1"), &json(94.0)))?;
    let readings = eventually("the refusal is audited and the good reading archived", ARCHIVE, || {
        let audited = rows::audited(&stand.table("audit")?)?;
        let refusal = audited.iter().find(|a| a.outcome == "WL-TOPIC-001");
        ensure!(refusal.is_some(), "no refusal among {} audit rows: {audited:?}", audited.len());
        let actor = refusal.map(|a| a.actor.as_str()).unwrap_or_default();
        ensure!(actor.ends_with("/device/mon-1"), "audited as {actor}");
        let readings = rows::readings(&stand.table("numerics")?)?;
        Ok((!readings.is_empty()).then_some(readings))
    })?;
    ensure!(readings.iter().all(|r| r.value == 94.0), "the refused reading was archived");
    stand.stop()
}

/// mosquitto_pub 2.0 ends with success although PUBACK said 0x87; its debug output has the reason code.
fn quiet_refusal(stand: &Stand, certs: &Path) -> anyhow::Result<String> {
    let told = run(mosquitto_pub(stand, "mqttv5", Some(certs), &topic("mon-2"), &json(93.0)).arg("-d"))?;
    ensure!(told.contains("RC:135"), "no refusal in:\n{told}");
    Ok(told)
}

#[test]
fn strangers_never_get_past_tls() -> anyhow::Result<()> {
    let (mut stand, other) = (Stand::new()?, Stand::new()?);
    stand.device("mon-1")?;
    let foreign = other.device("mon-1")?;
    stand.start()?;
    for version in ["mqttv311", "mqttv5"] {
        run_to_fail(&mut mosquitto_pub(&stand, version, None, &topic("mon-1"), &json(95.0)))?;
        run_to_fail(&mut mosquitto_pub(&stand, version, Some(&foreign), &topic("mon-1"), &json(96.0)))?;
    }
    stand.stop()?;
    ensure!(rows::readings(&stand.table("numerics")?)?.is_empty(), "a stranger's reading was archived");
    let sessions = rows::audited(&stand.table("audit")?)?;
    ensure!(!sessions.iter().any(|a| a.action == "session_opened"), "a stranger had a session: {sessions:?}");
    Ok(())
}

#[test]
fn paho_publishes_protobuf_frames_in_both_versions() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let stubs = stand.path("stubs");
    python::generate_stubs(&stubs)?;
    stand.start()?;
    for (device, version) in [("mon-4", "4"), ("mon-5", "5")] {
        let certs = stand.device(device)?;
        let mut publish = python::script("tests/python/publish_frames.py", Some(&stubs))?;
        publish.args(["--port", &stand.mqtt.to_string(), "--tenant", TENANT, "--device", device]);
        publish.args(["--mqtt", version, "--frames", "5"]).arg("--certs").arg(&certs);
        let acked = run(&mut publish)?;
        ensure!(acked.lines().count() == 5, "{acked}");
    }
    let found = eventually("ten frames are archived", ARCHIVE, || {
        let readings = rows::readings(&stand.table("numerics")?)?;
        ensure!(readings.len() >= 10, "{} of 10", readings.len());
        Ok(Some(readings))
    })?;
    let mut found: Vec<_> =
        found.iter().map(|r| (r.position.device.as_str(), r.position.seq, r.value)).collect();
    found.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let of = |device| (1..=5_u64).map(move |seq| (device, seq, 60.0 + seq as f64));
    let expected: Vec<_> = of("mon-4").chain(of("mon-5")).collect();
    ensure!(found == expected, "{found:?}");
    stand.stop()
}
