//! With `WARDLINE_E2E=tier` a stand is no single process: two fronts behind a balancer of connections, two workers of
//! each role, a JetStream of three servers, PostgreSQL, and SeaweedFS as the object store. The servers are shared by the
//! run; database, topic and prefix of the bucket are each stand's own.

use crate::process::{Process, eventually};
use crate::stand::get;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PARTITIONS: u16 = 4;
/// Shorter than an operator's: a test is short.
const LEASE_MS: u64 = 1000;
/// Six processes and their partitions, on a loaded machine.
const READY: Duration = Duration::from_secs(120);
/// The first is the node of the stand's own folder.
const ROLES: [&str; 6] = ["front,api", "front,api", "archive", "archive", "alert", "alert"];
const FRONTS: usize = 2;
/// Below those that the system chooses from.
const QUIET: std::ops::Range<u16> = 10_000..32_000;

/// Says whether the suite runs over a tier.
pub(crate) fn is_wanted() -> bool {
    std::env::var("WARDLINE_E2E").is_ok_and(|mode| mode == "tier")
}

struct Node {
    roles: &'static str,
    folder: PathBuf,
    mqtt: u16,
    http: u16,
    grpc: u16,
    est: u16,
    process: Option<Process>,
}

/// The nodes of a stand.
pub(crate) struct Tier {
    nodes: Vec<Node>,
    /// Where the fronts' devices connect, one front after the other.
    pub(crate) mqtt: u16,
    /// Where the sums of all nodes' metrics are.
    pub(crate) http: u16,
    /// Of the first front.
    pub(crate) grpc: u16,
    pub(crate) est: u16,
    /// What the settings of every node have more.
    pub(crate) settings: String,
}

impl Tier {
    /// Chooses ports, and names the servers that `settings` do not name already.
    pub(crate) fn new(folder: &Path, settings: &str) -> anyhow::Result<Self> {
        let [grpc, est] = [quiet_port()?, quiet_port()?];
        let mut nodes = Vec::new();
        for (index, roles) in ROLES.into_iter().enumerate() {
            let [mqtt, http] = [quiet_port()?, quiet_port()?];
            // Nobody calls the others: they take any port.
            let (folder, grpc, est) = match index {
                0 => (folder.join("data"), grpc, est),
                _ => (folder.join(format!("node-{index}")), 0, 0),
            };
            nodes.push(Node { roles, folder, mqtt, http, grpc, est, process: None });
        }
        let fronts = nodes.iter().take(FRONTS).map(|front| front.mqtt).collect();
        let https = nodes.iter().map(|node| node.http).collect();
        let settings = servers::settings(folder, settings)?
            + &format!("partitions = {PARTITIONS}\ntopic_bytes_max = 30000000\nlease_ms = {LEASE_MS}\n");
        Ok(Self { mqtt: balance(fronts)?, http: sum(https)?, grpc, est, nodes, settings })
    }

    /// Starts every node that does not run. Its settings are those of the stand's folder, as they are now.
    pub(crate) fn spawn(&mut self, program: impl Fn() -> Command, log: &Path) -> anyhow::Result<()> {
        let common = self.nodes.first().context("a node")?.folder.clone();
        let settings = std::fs::read_to_string(common.join("wardline.toml"))?;
        let shared = format!("[cluster]\nshared_dir = {common:?}\n");
        let address = |port: u16| format!("127.0.0.1:{port}");
        for node in &mut self.nodes {
            if node.folder != common {
                std::fs::create_dir_all(&node.folder)?;
                std::fs::write(
                    node.folder.join("wardline.toml"),
                    settings.replacen("[cluster]\n", &shared, 1),
                )?;
            }
            if node.process.as_mut().is_some_and(Process::is_running) {
                continue;
            }
            let mut command = program();
            command.arg("serve").arg("--data-dir").arg(&node.folder).args(["--roles", node.roles]);
            command.args(["--mqtt", &address(node.mqtt), "--grpc", &address(node.grpc)]);
            command.args(["--http", &address(node.http), "--est", &address(node.est)]);
            node.process = Some(Process::start(node.roles, &mut command, log)?);
        }
        Ok(())
    }

    /// Waits until every node serves.
    pub(crate) fn ready(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            let (http, process) = (node.http, node.process.as_mut().context("not started")?);
            let ready = eventually("/readyz", READY, || {
                let serves = get(http, "/readyz").is_ok_and(|(code, _)| code == 200);
                Ok((serves || !process.is_running()).then_some(()))
            });
            ensure!(process.is_running(), "a node with the roles {} ended:\n{}", node.roles, process.tail());
            ready.with_context(|| process.tail())?;
        }
        Ok(())
    }

    /// Kills every node, as a failure of power would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.process.take().context("not started")?.kill()?;
        }
        Ok(())
    }

    /// Stops the fronts, and then the workers.
    pub(crate) fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        let (fronts, workers) = self.nodes.split_at_mut(FRONTS);
        for group in [fronts, workers] {
            for node in group.iter() {
                node.process.as_ref().context("not started")?.poke("-TERM")?;
            }
            for node in group {
                let mut process = node.process.take().context("not started")?;
                let status = process.wait(limit)?;
                ensure!(status.success(), "{} ended with {status}:\n{}", node.roles, process.tail());
            }
        }
        Ok(())
    }

    /// Sends every node a signal that does not end it.
    pub(crate) fn poke(&self, signal: &str) -> anyhow::Result<()> {
        self.nodes.iter().try_for_each(|node| node.process.as_ref().context("not started")?.poke(signal))
    }
}

/// Chooses a port that the system gives to no connection while a node is away, and this process to no other node.
fn quiet_port() -> anyhow::Result<u16> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let first = std::process::id() as usize * 199;
    for _ in 0..QUIET.len() {
        let port = QUIET.start + ((first + NEXT.fetch_add(1, Ordering::Relaxed)) % QUIET.len()) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

/// Spreads connections over ports, and passes over those where nobody listens. As long as the test's process lives.
fn balance(ports: Vec<u16>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let next = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let first = next.fetch_add(1, Ordering::Relaxed);
            let found = (0..ports.len())
                .find_map(|n| TcpStream::connect(("127.0.0.1", ports[(first + n) % ports.len()])).ok());
            let Some(far) = found else { continue };
            if let (Ok(from), Ok(to)) = (near.try_clone(), far.try_clone()) {
                std::thread::spawn(move || pump(from, to));
                std::thread::spawn(move || pump(far, near));
            }
        }
    });
    Ok(port)
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _gone_already = (from.set_nodelay(true), to.set_nodelay(true), std::io::copy(&mut from, &mut to));
    let _gone_already = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
}

/// Answers for all nodes: `/metrics` adds up what counts and takes the greatest of the rest, as a dashboard would.
fn sum(ports: Vec<u16>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let ports = Arc::new(ports);
    std::thread::spawn(move || {
        for asker in listener.incoming().map_while(Result::ok) {
            let ports = ports.clone();
            std::thread::spawn(move || answer(asker, &ports));
        }
    });
    Ok(port)
}

fn answer(mut asker: TcpStream, ports: &[u16]) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(asker.try_clone()?).read_line(&mut line)?;
    let path = line.split(' ').nth(1).context("a path")?;
    let mut answers = ports.iter().filter_map(|port| get(*port, path).ok());
    let (code, body) = match path {
        "/metrics" => (200, added(&answers.map(|(_, body)| body).collect::<Vec<_>>())),
        _ => answers.next().context("no node answers")?,
    };
    let head = format!("HTTP/1.1 {code} Here\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Ok(asker.write_all(format!("{head}{body}").as_bytes())?)
}

fn added(texts: &[String]) -> String {
    let mut lines = BTreeMap::<&str, f64>::new();
    for line in texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let (Ok(value), counts) = (value.parse::<f64>(), name.split('{').next().is_some_and(is_counter))
        else {
            continue;
        };
        let all = lines.entry(name).or_default();
        *all = if counts { *all + value } else { all.max(value) };
    }
    lines.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
}

fn is_counter(name: &str) -> bool {
    ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end))
}

#[cfg(not(feature = "cluster"))]
mod servers {
    /// A program of one machine refuses a section `[cluster]`.
    pub(super) fn settings(_folder: &std::path::Path, _settings: &str) -> anyhow::Result<String> {
        anyhow::bail!(
            "WARDLINE_E2E=tier needs the feature wardline-tests/cluster: docs/testing.md has the command"
        )
    }
}

#[cfg(feature = "cluster")]
mod servers {
    use crate::nats::Nats;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use wardline_archive::testing::{ACCESS_KEY, TestSeaweed};
    use wardline_store::testing::TestPostgres;

    /// Names a database, a bucket and a topic, but those that `settings` name.
    pub(super) fn settings(folder: &Path, settings: &str) -> anyhow::Result<String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut more = String::new();
        if !settings.contains("[archive.bucket]") {
            let store = TestSeaweed::shared().map_err(anyhow::Error::msg)?;
            let prefix = TestSeaweed::fresh_prefix();
            let bucket = TestSeaweed::settings(folder, store.port(), &prefix, ACCESS_KEY);
            more += &format!("[archive.bucket]\n{}timeout_ms = 5000\n", bucket.map_err(anyhow::Error::msg)?);
        }
        if !settings.contains("[store]") {
            more += &format!("[store]\nurl = \"{}\"\n", TestPostgres::fresh().map_err(anyhow::Error::msg)?);
        }
        let topic = format!("e2e-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        more += &format!("[cluster]\nengine = \"jetstream\"\nservers = {:?}\ntopic = {topic:?}\n", nats()?);
        Ok(more)
    }

    /// The servers of the bus of this process. A shell ends them with it: nothing is dropped then.
    fn nats() -> anyhow::Result<Vec<String>> {
        static SHARED: OnceLock<Nats> = OnceLock::new();
        let mut problem = None;
        let nats = SHARED.get_or_init(|| {
            let nats = Nats::start();
            let (processes, folder) = nats.left_behind();
            let clear_up = "read end; folder=$0; kill -KILL \"$@\"; sleep 0.3; rm -rf \"$folder\"";
            let mut shell = Command::new("sh");
            shell.args(["-c", clear_up]).arg(folder).args(processes.iter().map(u32::to_string));
            shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            // The pipe to it stays open as long as this process lives. A ^C for this process is not for it.
            match shell.process_group(0).spawn() {
                Ok(shell) => std::mem::forget(shell),
                Err(error) => problem = Some(error),
            }
            nats
        });
        problem.map_or_else(|| Ok(nats.servers()), |error| Err(error.into()))
    }
}
