//! What all servers share: one authority, the same clients, folders on the same disk.

use crate::options::{Command, Setup};
use crate::server::{Kind, binaries};
use anyhow::{Context, ensure};
use std::cell::Cell;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wardline::pki::{PkiDir, write_identity};
use wardline_tests::enrolled::enrol;
use wardline_tests::mqtt_client::load::Client;

const TENANT: &str = "bench";
/// Matches every client's topic.
pub(crate) const EVERY_TOPIC: &str = "wl/1/bench/+/up/telemetry";
/// The client whose files are also on disk, for programs that read files.
const FIRST_DEVICE: &str = "first-device";

/// The stand: made once, gone at the end.
pub(crate) struct Lab {
    folder: TempDir,
    places: Cell<usize>,
    /// Clients, each with a certificate that every server accepts.
    pub(crate) clients: Vec<Client>,
    /// What to measure.
    pub(crate) setup: Setup,
}

/// A server's own folder and ports.
#[derive(Debug)]
pub(crate) struct Place {
    /// Data and log of one server.
    pub(crate) folder: PathBuf,
    /// Loopback ports: MQTT and two more.
    pub(crate) ports: [u16; 3],
}

impl Drop for Place {
    fn drop(&mut self) {
        // The lab's folder goes at the end anyway.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Lab {
    /// Makes the authority with `wardline init` and issues certificates to `devices` clients.
    pub(crate) async fn create(setup: &Setup, devices: usize) -> anyhow::Result<Self> {
        let parent = setup.dir.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::tempdir_in(&parent).with_context(|| format!("{}", parent.display()))?;
        let data = folder.path().join("data");
        let mut init = binaries::command("wardline")?;
        init.arg("init").arg("--data-dir").arg(&data).args(["--host", "localhost"]);
        let output = init.output().context("wardline init")?;
        ensure!(output.status.success(), "wardline init: {}", String::from_utf8_lossy(&output.stderr));
        let mut lab = Self { folder, places: Cell::new(0), clients: Vec::new(), setup: setup.clone() };
        eprintln!("issuing {devices} client certificates");
        lab.issue(devices).await?;
        Ok(lab)
    }

    async fn issue(&mut self, devices: usize) -> anyhow::Result<()> {
        let name = |index: usize| if index == 0 { FIRST_DEVICE.to_owned() } else { format!("dev-{index}") };
        let ids: Vec<String> = (0..devices).map(name).collect();
        let enrolled = enrol(&self.data(), TENANT, &ids).await?;
        if let Some((_, issued)) = enrolled.first() {
            write_identity(&self.first_device(), issued, &PkiDir::of(&self.data()).read("ca.pem")?)?;
        }
        self.clients.extend(enrolled.into_iter().map(|(client, _)| client));
        Ok(())
    }

    /// Returns the data folder that `wardline init` made; copied for each gateway, never served from.
    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Returns the folder with the authority's and the server's certificate.
    pub(crate) fn pki(&self) -> PathBuf {
        self.data().join("pki")
    }

    /// Returns the folder with `cert.pem`, `key.pem` and `ca.pem` of the first client.
    pub(crate) fn first_device(&self) -> PathBuf {
        self.path("first-device")
    }

    /// Returns a path in the lab's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an empty place for a server; a gateway's has the certificates and the registry.
    pub(crate) fn place(&self, kind: Kind) -> anyhow::Result<Place> {
        let number = self.places.get();
        self.places.set(number + 1);
        let folder = self.path(&format!("{kind}-{number}"));
        std::fs::create_dir(&folder)?;
        if kind == Kind::Wardline {
            copy(&self.data(), &folder.join("data"))?;
        }
        Ok(Place { folder, ports: free_ports()? })
    }

    /// Says what is compared.
    pub(crate) fn description(&self) -> String {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        format!(
            "QoS 1 publishes over mutual TLS 1.3 with P-256 certificates, one client for all servers, {processors} \
             processors shared\nby client and server. wardline is durable and sealed in this run: an acknowledgement \
             means encrypted and\nsynced to disk. The others are not: they acknowledge what is in memory. wardline's \
             roles: {}.",
            self.setup.roles
        )
    }
}

/// Returns how many clients a command needs.
pub(crate) fn devices_needed(command: &Command) -> usize {
    let throughput = |options: &crate::options::Throughput| {
        options.load.iter().map(|shape| shape.connections).max().unwrap_or(0)
    };
    match command {
        Command::Throughput(options) => throughput(options),
        Command::Crash(_) => crate::crash::CONNECTIONS + 1,
        Command::Connections(options) => options.sessions.max(1),
        Command::Revocation(options) => options.sessions.max(1),
        Command::Alarms(options) => options.sessions + options.alarming,
        Command::Subscribers(options) => options.alarming,
        Command::All(all) => {
            let others = all.connections.sessions.max(crate::crash::CONNECTIONS + 1);
            throughput(&all.throughput).max(others)
        }
        Command::ArchiveSize(_)
        | Command::ArchiveWrite(_)
        | Command::Query(_)
        | Command::Scale(_)
        | Command::Reference(_) => 0,
        #[cfg(feature = "cluster")]
        Command::Tier(_) | Command::Scaling(_) => 0,
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Asks the system for ports that nobody listens on.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}
