//! A Python subscriber loses its gateway, resumes by cursor and misses nothing (ALR-1).

use crate::archive::block_on;
use crate::frames::alarms;
use crate::process::{Process, eventually, run, run_to_fail};
use crate::python;
use crate::sink::events;
use crate::stand::Stand;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ALARMS: u64 = 20;
const WAIT: Duration = Duration::from_secs(90);

/// Publishes the start of conditions `from..to`, each its own frame on the alarm lane.
pub(crate) fn raise(stand: &Stand, certs: &Path, from: u64, to: u64) -> anyhow::Result<()> {
    block_on(alarms(stand.mqtt, ("mon-1", certs), from..to))
}

pub(crate) fn subscriber(stand: &Stand, certs: &Path, events: u64) -> anyhow::Result<Command> {
    let mut command = python::script("docs/examples/subscribe_alerts.py", None)?;
    command.args(["--server", &format!("localhost:{}", stand.grpc), "--timeout", "90"]);
    command.args(["--count", &events.to_string()]).arg("--certs").arg(certs);
    Ok(command)
}

#[test]
fn a_python_subscriber_drops_resumes_and_misses_nothing() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let (device, ward) = (stand.device("mon-1")?, stand.service("ward-7")?);
    stand.start()?;
    let log: PathBuf = stand.path("subscriber.log");
    let mut command = subscriber(&stand, &ward, ALARMS)?;
    command.arg("--state").arg(stand.path("ward-7.cursor"));
    let mut listening = Process::start("subscriber", &mut command, &log)?;
    raise(&stand, &device, 0, ALARMS / 2)?;
    let heard = || std::fs::read_to_string(&log).context("no output yet");
    eventually("the first event is heard", WAIT, || Ok((!events(&heard()?)?.is_empty()).then_some(())))?;
    stand.kill()?;
    stand.start()?;
    raise(&stand, &device, ALARMS / 2, ALARMS)?;
    ensure!(listening.wait(WAIT)?.success(), "the subscriber failed:\n{}", listening.tail());
    let heard = events(&heard()?)?;
    let stored = events(&run(&mut subscriber(&stand, &ward, ALARMS)?)?)?;
    ensure!(stored.len() as u64 == ALARMS, "{} events stored", stored.len());
    ensure!(stored.windows(2).all(|w| w[0].0 < w[1].0), "cursors do not rise: {stored:?}");
    let mut unique = heard.clone();
    unique.dedup();
    ensure!(unique == stored, "heard {heard:?}, stored {stored:?}");
    println!(
        "python heard {} of {} events across a kill -9, {} twice",
        unique.len(),
        stored.len(),
        heard.len() - unique.len()
    );
    stand.stop()
}

#[test]
fn a_device_certificate_hears_no_alerts() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let device = stand.device("mon-1")?;
    stand.start()?;
    let told = run_to_fail(&mut subscriber(&stand, &device, 1)?)?;
    ensure!(told.contains("PERMISSION_DENIED") || told.contains("UNAUTHENTICATED"), "{told}");
    stand.stop()
}
