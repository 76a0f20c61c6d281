//! The servers under test, each a process of its own with its folder and ports.

pub(crate) mod binaries;
mod mosquitto;
pub(crate) mod reference;
mod rumqttd;
mod wardline;
pub(crate) use wardline::data as wardline_data;

use crate::lab::{Lab, Place};
use crate::options::Setup;
use crate::proc;
use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wardline_tests::mqtt_client::{Connection, Session};

/// A gateway that recovers on a busy disk takes a while.
const START_WAIT: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(50);
const LOG: &str = "log";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The gateway of this repository.
    Wardline,
    /// Debian's mosquitto.
    Mosquitto,
    /// rumqttd 0.20.
    Rumqttd,
    /// A bare rustls server without a broker behind it; connects only.
    Rustls,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wardline => "wardline",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
            Self::Rustls => "rustls",
        })
    }
}

/// What a server keeps on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// For throughput: brokers keep nothing; the gateway journals, in the roles of the command line.
    Throughput,
    /// Everything as it comes: brokers with their default persistence, the gateway with all roles.
    Default,
    /// Brokers that can save their memory every second.
    AutosaveSecond,
    /// Brokers that can save their memory after every 1,000 changes.
    AutosaveChanges,
}

/// Finds or builds every binary that will be needed.
pub(crate) fn prepare(setup: &Setup) -> anyhow::Result<()> {
    if !setup.no_build {
        binaries::build()?;
    }
    if setup.servers.contains(&Kind::Mosquitto) {
        mosquitto::find()?;
    }
    if setup.servers.contains(&Kind::Rumqttd) {
        rumqttd::install()?;
    }
    Ok(())
}

/// A running server. It is killed when it is dropped.
pub(crate) struct Server {
    /// Which one.
    pub(crate) kind: Kind,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts a server in its place and waits until it takes an MQTT session.
    pub(crate) async fn start(
        lab: &Lab,
        kind: Kind,
        place: &Place,
        keeping: Keeping,
    ) -> anyhow::Result<Self> {
        let mut command = match kind {
            Kind::Wardline => wardline::command(lab, place, keeping)?,
            Kind::Mosquitto => mosquitto::command(lab, place, keeping)?,
            Kind::Rumqttd => rumqttd::command(lab, place)?,
            Kind::Rustls => reference::command(lab, place)?,
        };
        let log = File::options().create(true).append(true).open(place.folder.join(LOG))?;
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {kind}"))?;
        let address = (Ipv4Addr::LOCALHOST, place.ports[0]).into();
        let mut server = Self { kind, address, child };
        server.ready(lab).await.with_context(|| format!("{kind}: {}", tail(place)))?;
        Ok(server)
    }

    async fn ready(&mut self, lab: &Lab) -> anyhow::Result<()> {
        let client = lab.clients.first().context("no clients")?;
        let until = Instant::now() + START_WAIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status}");
            }
            match Connection::connect(self.address, &client.tls, &client.id, Session::Clean).await {
                Ok(connection) => return connection.disconnect().await,
                Err(error) => ensure!(Instant::now() < until, "not ready in time: {error:#}"),
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// Returns the CPU time that it has used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        proc::cpu(self.child.id())
    }

    /// Returns its resident memory, bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        proc::resident_bytes(self.child.id())
    }

    /// Returns the most resident memory that it ever had, bytes.
    pub(crate) fn peak_bytes(&self) -> anyhow::Result<u64> {
        proc::peak_bytes(self.child.id())
    }

    /// Ends it in order: SIGTERM.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "kill -TERM {pid}");
        self.child.wait()?;
        Ok(())
    }

    /// Ends it as a crash would: SIGKILL.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the end of a server's output.
fn tail(place: &Place) -> String {
    let text = std::fs::read(place.folder.join(LOG)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// Makes a command for a program found by name or path.
fn program(path: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(path)
}
