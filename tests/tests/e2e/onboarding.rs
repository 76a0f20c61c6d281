//! A device maker's first minutes, with the commands of the README: claim, enrol, first archived reading, thrown out.

use crate::kill;
use crate::process::{Process, binary, eventually, run, run_to_fail};
use crate::rows;
use crate::stand::{Stand, TENANT, free_ports};
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ARCHIVE: Duration = Duration::from_secs(60);
/// SEC-2 allows 2 s; this leaves room for a loaded machine to notice.
const CUT: Duration = Duration::from_secs(10);
const DEVICE: &str = "oxi-0001";

#[test]
fn a_claim_becomes_a_certificate_and_an_archived_reading() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    stand.start()?;
    let started = Instant::now();
    let claim = claim(&stand)?;
    let certs = stand.path("oxi-0001");
    enrol(&stand, &claim, &certs)?;
    let [link] = free_ports()?;
    let mut agent = agent(&stand, &certs, link)?;
    let mut device = device(&stand, link)?;
    let first = eventually("the first reading is archived", ARCHIVE, || {
        let readings = rows::readings(&stand.table("numerics")?)?;
        Ok(readings.into_iter().find(|reading| reading.position.device == DEVICE))
    })?;
    println!(
        "claim to first archived reading: {:.1} s in 4 commands (seq {} of {DEVICE})",
        started.elapsed().as_secs_f64(),
        first.position.seq
    );

    // The same claim with another key gives nothing.
    let again = run_to_fail(&mut enrol_command(&stand, &claim, &stand.path("other"))?)?;
    ensure!(again.contains("WL-EST-"), "no code in: {again}");

    // Revoked: the session ends, and nothing that comes later is taken.
    run(stand
        .operator(&["cert", "revoke", "--tenant", TENANT, "--device", DEVICE])?
        .args(["--reason", "lost"]))?;
    eventually("the device is refused, and the trail says so", CUT + ARCHIVE, || {
        let audited = rows::audited(&stand.table("audit")?)?;
        let refused = audited.iter().any(|a| a.outcome == "WL-ID-002" && a.actor.ends_with(DEVICE));
        ensure!(refused, "not among {} audit rows", audited.len());
        Ok(Some(()))
    })?;
    device.kill()?;
    agent.kill()?;
    stand.stop()?;
    let audited = rows::audited(&stand.table("audit")?)?;
    for action in ["claims_created", "enrolled", "certificate_revoked"] {
        ensure!(audited.iter().any(|a| a.action == action), "no {action} in the audit: {audited:?}");
    }
    stand.verify()
}

/// Makes a tenant's claim with the operator's certificate; returns the token.
fn claim(stand: &Stand) -> anyhow::Result<String> {
    let told = run(&mut stand.operator(&["claim", "create", "--tenant", TENANT, "--model", "oxi-1"])?)?;
    let token = told.split_whitespace().find(|word| word.starts_with("wl1."));
    Ok(token.with_context(|| format!("no token in: {told}"))?.to_owned())
}

fn enrol_command(stand: &Stand, claim: &str, certs: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(binary("wardline-edge")?);
    command.args(["enrol", "--url", &format!("https://localhost:{}", stand.est), "--claim", claim]);
    command.args(["--device", DEVICE, "--serial-number", "0001"]).arg("--certs").arg(certs);
    Ok(command)
}

fn enrol(stand: &Stand, claim: &str, certs: &Path) -> anyhow::Result<()> {
    run(&mut enrol_command(stand, claim, certs)?)?;
    for name in ["key.pem", "cert.pem", "ca.pem", "services.json"] {
        ensure!(certs.join(name).is_file(), "no {name} after enrolment");
    }
    Ok(())
}

/// Starts the agent as enrolment left it: no server named, the service list says where.
fn agent(stand: &Stand, certs: &Path, link: u16) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("wardline-edge")?);
    command.args(["run", "--link", &format!("tcp://127.0.0.1:{link}")]);
    command.arg("--certs").arg(certs).arg("--spool").arg(stand.path("spool"));
    Process::start("wardline-edge", &mut command, &stand.path("agent.log"))
}

fn device(stand: &Stand, link: u16) -> anyhow::Result<Process> {
    kill::device(stand, DEVICE, link)
}
