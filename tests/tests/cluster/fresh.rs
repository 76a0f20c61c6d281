//! A reading is in the answers of a query server soon after its acknowledgement, also while commits are rare and a worker
//! dies; and once, when a commit takes it over.

use crate::archive::block_on;
use crate::frames::{Publisher, frame, now_us, series};
use crate::process::{Process, binary, eventually, run};
use crate::python;
use crate::stand::{TENANT, free_ports};
use crate::tier::Tier;
use anyhow::{Context, ensure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use wardline::operate;
use wardline_proto::v1::Body;
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};
use wardline_store::registry::{Duties, Role, Sites};

const DEVICE: &str = "fresh-1";
const SPO2: u32 = 150_456;
const READINGS: u64 = 60;
/// No test lasts so long.
const RARELY: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(500);
const WAIT: Duration = Duration::from_secs(90);
/// How soon a reading is promised to be in answers, seconds.
const WITHIN: &str = "2";

#[test]
fn a_statement_sees_what_the_bus_has_though_commits_are_rare_and_a_worker_dies() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    tier.commit_every(RARELY);
    tier.tell_of_bus_at(&tier.nats.servers())?;
    let front = tier.node("front,api")?;
    let workers = [tier.node("archive")?, tier.node("archive")?];
    tier.ready()?;
    let certs = tier.stand.path("people");
    block_on(issue(&tier.stand.data(), &certs))?;
    let (mut server, port) = serve(&tier)?;
    let (acks, mqtt) = (tier.stand.path("acks"), tier.nodes[front].mqtt);
    let publishing = std::thread::spawn({
        let (certs, acks) = (certs.join(DEVICE), acks.clone());
        move || block_on(publish(mqtt, &certs, &acks))
    });
    let log = tier.stand.path("fresh.log");
    let mut asking = Process::start("fresh.py", &mut fresh(&certs, port, &acks)?, &log)?;
    for worker in workers {
        let many = if worker == workers[0] { READINGS / 3 } else { READINGS * 2 / 3 };
        eventually("readings are acknowledged", WAIT, || {
            let lines = std::fs::read_to_string(&acks).unwrap_or_default().lines().count() as u64;
            Ok((lines >= many).then_some(()))
        })?;
        tier.kill(worker)?;
    }
    publishing.join().map_err(|_panic| anyhow::anyhow!("the publisher panicked"))??;
    let status = asking.wait(WAIT)?;
    ensure!(status.success(), "{}\n{}", asking.tail(), server.tail());
    println!("{}", asking.tail());
    let committed = tier.stand.rows("numerics")?;
    ensure!(committed == 0, "{committed} rows were committed: the answers were not of the bus alone");
    let whole = format!("\"received\":{READINGS},\"missing\":0");
    let told = ask(&tier)?;
    ensure!(told.contains(&whole) && told.contains("\"tail\":\"whole\""), "{told}");

    tier.commit_every(OFTEN);
    tier.node("archive")?;
    tier.ready()?;
    eventually("a worker has what the dead ones had, and commits it", WAIT, || {
        Ok((tier.stand.rows("numerics")? == READINGS).then_some(()))
    })?;
    println!("{}", run(&mut fresh(&certs, port, &acks)?).map_err(|error| error.context(server.tail()))?);
    let told = ask(&tier)?;
    ensure!(told.contains(&whole) && told.contains("\"tail\":\"whole\""), "{told}");
    // A bus that is away costs an answer its newest readings, and a moment.
    tier.tell_of_bus_at(&["nats://127.0.0.1:1".to_owned()])?;
    let told = ask(&tier)?;
    ensure!(told.contains(&whole) && told.contains("\"tail\":\"cut\""), "{told}");
    server.stop(WAIT)?;
    tier.stop()
}

async fn issue(data: &Path, certs: &Path) -> anyhow::Result<()> {
    let tenant = TenantId::new(TENANT)?;
    let key = DeviceKey { tenant: tenant.clone(), device: DeviceId::new(DEVICE)? };
    operate::issue_device(data, &key, &certs.join(DEVICE)).await?;
    let identity = Identity::User { tenant, name: DeviceId::new("clinician")? };
    let duties = Duties::at(&[Role::Clinician], Sites::All);
    Ok(operate::issue_principal(data, identity, duties, &certs.join("clinician")).await.map(drop)?)
}

/// Publishes readings 1 to 60, and notes when each was acknowledged.
async fn publish(mqtt: u16, certs: &Path, acks: &Path) -> anyhow::Result<()> {
    let mut publisher = Publisher::connect(mqtt, TENANT, DEVICE, certs).await?;
    let mut noted = std::fs::File::create(acks)?;
    for n in 1..=READINGS {
        let numerics = vec![series(SPO2, "%", now_us(), &[n as f64])];
        publisher.publish(&frame(1, n, &Body { numerics, ..Body::default() })).await?;
        writeln!(noted, "{n} {}", now_us())?;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    Ok(writeln!(noted, "end")?)
}

fn serve(tier: &Tier) -> anyhow::Result<(Process, u16)> {
    let [port] = free_ports()?;
    let mut command = Command::new(binary("wardline-query")?);
    command.arg("serve").arg("--data-dir").arg(tier.stand.data());
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let log: PathBuf = tier.stand.path("query.log");
    let mut server = Process::start("wardline-query", &mut command, &log)?;
    eventually("wardline-query serves", WAIT, || {
        ensure!(server.is_running(), "it ended:\n{}", server.tail());
        Ok(server.tail().contains("serves: flight-sql").then_some(()))
    })?;
    Ok((server, port))
}

/// Asks by the command, which reads the bus for itself.
fn ask(tier: &Tier) -> anyhow::Result<String> {
    let sql = format!("SELECT count(*) FROM vitals WHERE device = '{DEVICE}'");
    let mut command = Command::new(binary("wardline-query")?);
    run(command.arg(sql).arg("--data-dir").arg(tier.stand.data())).context("a question")
}

fn fresh(certs: &Path, port: u16, acks: &Path) -> anyhow::Result<Command> {
    let mut fresh = python::script("tests/python/fresh.py", None)?;
    fresh.arg("--certs").arg(certs).args(["--port", &port.to_string(), "--within", WITHIN]);
    fresh.arg("--acks").arg(acks);
    Ok(fresh)
}
