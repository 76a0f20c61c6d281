//! What the nodes stand on: three servers of the bus, a database, a folder that all see, devices of two tenants.

use super::nats::Nats;
use super::share::Share;
use crate::server::binaries;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wardline_store::Store;
use wardline_store::testing::TestPostgres;
use wardline_tests::enrolled::enrol;
use wardline_tests::mqtt_client::load::Client;

/// Whose publishes wait for the bus.
pub(crate) const REPLICATED: &str = "replicated";
/// Whose do not.
pub(crate) const LOCAL: &str = "local";
const READY: Duration = Duration::from_secs(120);
const PARTITIONS: u16 = 4;

/// An engine of the bus.
pub(crate) enum Engine {
    Jetstream(Nats),
    Fluvio(String),
}

/// All of it.
pub(crate) struct Ground {
    folder: TempDir,
    _postgres: TestPostgres,
    url: String,
    engine: Engine,
    nodes: usize,
    clients: BTreeMap<&'static str, Vec<Client>>,
}

/// A process of the gateway.
pub(crate) struct Node {
    process: Child,
    pub(crate) mqtt: SocketAddr,
    http: u16,
    /// Behind the process, which has to end first.
    _share: Option<Share>,
}

/// What a node may take of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All that others leave.
    Any,
    /// This core.
    Core(usize),
    /// So many hundredths of a core, of whichever.
    Percent(u32),
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended_already = (self.process.kill(), self.process.wait());
    }
}

impl Ground {
    pub(crate) async fn new(engine: Engine, devices: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let postgres = TestPostgres::start().map_err(anyhow::Error::msg)?;
        let url = postgres.database("wardline").map_err(anyhow::Error::msg)?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        std::fs::write(data.join("wardline.toml"), format!("[store]\nurl = \"{url}\"\n"))?;
        let mut init = binaries::command("wardline")?;
        let made = init.arg("init").arg("--data-dir").arg(&data).args(["--host", "localhost"]).output()?;
        ensure!(made.status.success(), "wardline init: {}", String::from_utf8_lossy(&made.stderr));
        let mut clients = BTreeMap::new();
        for tenant in [LOCAL, REPLICATED] {
            let ids: Vec<_> = (0..devices).map(|n| format!("dev-{n}")).collect();
            let enrolled = enrol(&data, tenant, &ids).await?;
            clients.insert(tenant, enrolled.into_iter().map(|(client, _)| client).collect());
        }
        Ok(Self { folder, _postgres: postgres, url, engine, nodes: 0, clients })
    }

    pub(crate) fn clients(&self, tenant: &str) -> &[Client] {
        self.clients.get(tenant).map_or(&[], Vec::as_slice)
    }

    pub(crate) async fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::connect_read_only(&self.url).await?)
    }

    /// Starts a node on its part of the machine, and waits until it serves.
    pub(crate) fn node(&mut self, roles: &str, part: Part) -> anyhow::Result<Node> {
        self.nodes += 1;
        let folder = self.folder.path().join(format!("node-{}", self.nodes));
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("wardline.toml"), self.settings())?;
        let [mqtt, http] = free_ports()?;
        let gateway = binaries::path("wardline")?;
        let mut command = match part {
            Part::Core(core) => {
                let mut taskset = std::process::Command::new("taskset");
                taskset.args(["-c", &core.to_string()]).arg(&gateway);
                taskset
            }
            Part::Any | Part::Percent(_) => std::process::Command::new(&gateway),
        };
        command.arg("serve").arg("--data-dir").arg(&folder).args(["--roles", roles]);
        command.args(["--mqtt", &format!("127.0.0.1:{mqtt}"), "--http", &format!("127.0.0.1:{http}")]);
        command.args(["--grpc", "127.0.0.1:0", "--est", "127.0.0.1:0"]);
        command.env("WARDLINE_LOG", "warn").env("FLV_SOCKET_WAIT", "4");
        let log = std::fs::File::create(folder.join("log"))?;
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let share = match part {
            Part::Percent(percent) => {
                Some(Share::new(&format!("wardline-bench-{}-{}", std::process::id(), self.nodes), percent)?)
            }
            Part::Any | Part::Core(_) => None,
        };
        share.as_ref().map_or(Ok(()), |share| share.take(&process))?;
        let node = Node { process, mqtt: ([127, 0, 0, 1], mqtt).into(), http, _share: share };
        let until = Instant::now() + READY;
        while !node.is_ready() {
            let told = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            ensure!(Instant::now() < until, "a node with the roles {roles} does not serve: {}", told());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(node)
    }

    fn settings(&self) -> String {
        let engine = match &self.engine {
            Engine::Jetstream(nats) => format!("engine = \"jetstream\"\nservers = {:?}\n", nats.servers()),
            // A topic outlives a run there.
            Engine::Fluvio(controller) => format!(
                "engine = \"fluvio\"\nservers = [{controller:?}]\ntopic = \"bench-{}\"\n",
                std::process::id()
            ),
        };
        let shared: PathBuf = self.folder.path().join("data");
        format!(
            "[archive]\nflush_interval_ms = 500\n[front]\nbudget = {{ messages = {{ per_second = 1000000, burst = 1000000 \
             }}, bytes = {{ per_second = 1000000000, burst = 1000000000 }} }}\n[store]\nurl = \"{}\"\n[cluster]\n{engine}\
             partitions = {PARTITIONS}\ntopic_bytes_max = 1000000000\nlease_ms = 2000\nshared_dir = {shared:?}\n\
             replicated_tenants = [{REPLICATED:?}]\n",
            self.url
        )
    }
}

impl Node {
    fn is_ready(&self) -> bool {
        use std::io::{Read, Write};
        let asked = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.http))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            std::io::Result::Ok(text.starts_with("HTTP/1.1 200"))
        };
        asked().unwrap_or(false)
    }

    /// Returns the CPU that it has taken.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        crate::proc::cpu(self.process.id())
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let id = self.process.id().to_string();
        ensure!(std::process::Command::new("kill").args(["-TERM", &id]).status()?.success(), "kill");
        ensure!(self.process.wait().context("wait")?.success(), "a node did not end in order");
        Ok(())
    }
}

fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}
