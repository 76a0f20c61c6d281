//! What a connection costs: CPU per full handshake with session, memory per idle session, and the idle agent.

use crate::lab::Lab;
use crate::options::Connections;
use crate::proc;
use crate::server::{Keeping, Kind, Server, binaries};
use crate::stats::Rounds;
use crate::table::{Table, number};
use anyhow::{Context, ensure};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use wardline_tests::mqtt_client::load;

/// Connects are measured in this many parts, for a minimum and a median.
const PARTS: usize = 5;
/// Sessions opened and closed before memory is looked at.
const WARM_UP: usize = 50;
/// Long enough for a server to finish what a burst of connects left behind.
const SETTLE: Duration = Duration::from_secs(1);
/// An agent connects and falls idle within this.
const AGENT_SETTLE: Duration = Duration::from_secs(8);
const KIB: f64 = 1024.0;

/// Measures every server and the agent, and prints the tables.
pub(crate) async fn run(lab: &Lab, options: &Connections) -> anyhow::Result<()> {
    let mut table = Table::new(
        1,
        &["server", "cpu us/connect min", "median", "idle session KiB", "resident MiB at rest"],
    );
    let kinds = lab.setup.servers.iter().copied().filter(|kind| *kind != Kind::Rustls);
    for kind in kinds.chain([Kind::Rustls]) {
        let place = lab.place(kind)?;
        let server = Server::start(lab, kind, &place, Keeping::Throughput).await?;
        let rest = connect(lab, &server, WARM_UP).await.and(server.resident_bytes())? as f64;
        let idle = idle_session_bytes(lab, &server, options.sessions).await?;
        let cpu = connect_cpu_us(lab, &server, options.connects).await?;
        eprintln!(
            "connections: {kind}: {} us a connect, {} KiB a session",
            number(cpu.median()),
            number(idle / KIB)
        );
        let name = if kind == Kind::Rustls { "bare rustls".to_owned() } else { kind.to_string() };
        table.row(vec![
            name,
            number(cpu.min()),
            number(cpu.median()),
            number(idle / KIB),
            number(rest / KIB / KIB),
        ]);
    }
    println!("{}", table.render());
    println!(
        "{} connects, each a full TLS 1.3 handshake with client certificate, CONNECT and DISCONNECT, in {PARTS} \
         parts;\n{} idle sessions: growth of resident memory over their number.\n",
        options.connects, options.sessions
    );
    agent(lab).await
}

/// Measures the server's CPU per connect, in parts.
pub(crate) async fn connect_cpu_us(lab: &Lab, server: &Server, connects: usize) -> anyhow::Result<Rounds> {
    let mut cpu_us = Rounds::default();
    for _ in 0..PARTS {
        let part = (connects / PARTS).max(1);
        let before = server.cpu()?;
        connect(lab, server, part).await?;
        tokio::time::sleep(SETTLE).await;
        cpu_us.push((server.cpu()? - before).as_secs_f64() * 1e6 / part as f64);
    }
    Ok(cpu_us)
}

/// Connects and disconnects `count` times, a few at a time.
async fn connect(lab: &Lab, server: &Server, count: usize) -> anyhow::Result<()> {
    let clients = lab.clients.iter().cycle().take(count).cloned().collect::<Vec<_>>();
    for group in clients.chunks(load::CONNECTING_MAX.min(lab.clients.len())) {
        for connection in load::connect_all(server.address, group).await? {
            connection.disconnect().await?;
        }
    }
    Ok(())
}

async fn idle_session_bytes(lab: &Lab, server: &Server, sessions: usize) -> anyhow::Result<f64> {
    let clients = lab.clients.get(..sessions).context("too few clients")?;
    let before = server.resident_bytes()?;
    let connections = load::connect_all(server.address, clients).await?;
    tokio::time::sleep(SETTLE).await;
    let after = server.resident_bytes()?;
    drop(connections);
    tokio::time::sleep(SETTLE).await;
    Ok(after.saturating_sub(before) as f64 / sessions as f64)
}

/// Runs an agent without a device against a gateway; prints its memory and the size of its binary.
async fn agent(lab: &Lab) -> anyhow::Result<()> {
    let place = lab.place(Kind::Wardline)?;
    let server = Server::start(lab, Kind::Wardline, &place, Keeping::Throughput).await?;
    let mut command = binaries::command("wardline-edge")?;
    command.args(["run", "--server", &format!("localhost:{}", server.address.port()), "--certs"]);
    command.arg(lab.first_device()).arg("--spool").arg(place.folder.join("spool"));
    command.arg("--link").arg(format!("unix://{}", place.folder.join("link").display()));
    let log = std::fs::File::create(place.folder.join("agent-log"))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut agent = Agent(command.spawn().context("start wardline-edge")?);
    tokio::time::sleep(AGENT_SETTLE).await;
    if let Some(status) = agent.0.try_wait()? {
        let log = std::fs::read_to_string(place.folder.join("agent-log"))?;
        anyhow::bail!("the agent ended with {status}: {log}");
    }
    let resident = proc::resident_bytes(agent.0.id())? as f64;
    let binary = stripped_bytes(lab)? as f64;
    println!(
        "Idle agent, connected: {} MiB resident; its binary, stripped: {} MiB.",
        number(resident / KIB / KIB),
        number(binary / KIB / KIB)
    );
    Ok(())
}

/// A child that ends with its owner.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stripped_bytes(lab: &Lab) -> anyhow::Result<u64> {
    let stripped = lab.path("wardline-edge.stripped");
    let status =
        Command::new("strip").arg("-o").arg(&stripped).arg(binaries::path("wardline-edge")?).status();
    ensure!(status.context("strip (binutils)")?.success(), "strip failed");
    Ok(std::fs::metadata(&stripped)?.len())
}
