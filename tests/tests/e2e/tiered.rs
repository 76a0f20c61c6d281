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

// A suite that takes this file by its path finds the other one there too.
#[path = "tier_servers.rs"]
mod servers;

const PARTITIONS: u16 = 4;
/// Shorter than an operator's: a test is short.
const LEASE_MS: u64 = 1000;
/// Six processes and their partitions, on a loaded machine.
const READY: Duration = Duration::from_secs(120);
/// The first is the node of the stand's own folder.
const ROLES: [&str; 6] = ["front,api", "front,api", "archive", "archive", "alert", "alert"];
const FRONTS: usize = 2;
/// Of each node how many partitions of a role it works on.
const LEASES: &str = "wardline_cluster_leases";
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
    topic: String,
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
        let topic = servers::topic();
        let settings = servers::settings(folder, settings, &topic)?
            + &format!("partitions = {PARTITIONS}\nlease_ms = {LEASE_MS}\n");
        Ok(Self { mqtt: balance(fronts)?, http: sum(https)?, grpc, est, nodes, settings, topic })
    }

    /// Says how many nodes there are.
    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the folder of each node.
    pub(crate) fn own(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.folder.clone()).collect()
    }

    /// Backs up the database of nodes that were stopped.
    pub(crate) fn backup(&self) -> anyhow::Result<()> {
        let database = servers::Database::of(&self.settings)?;
        // Connections end a little after their processes.
        eventually("a copy of the database", READY, || {
            database.make_of(&database.name, &database.kept()).map(Some)
        })
    }

    /// Puts that database in the place of what killed nodes left, and a bus that nobody has written to.
    pub(crate) fn restore(&self) -> anyhow::Result<()> {
        let database = servers::Database::of(&self.settings)?;
        database.ask(&format!("DROP DATABASE {} WITH (FORCE)", database.name))?;
        database.make_of(&database.kept(), &database.name)?;
        servers::forget(&self.topic);
        let common = self.nodes.first().context("a node")?.folder.join("wardline.toml");
        let settings = std::fs::read_to_string(&common)?;
        let (was, is) = (
            format!("topic = {:?}\n", self.topic),
            format!("topic = {:?}\n", servers::unwritten(&self.topic)),
        );
        Ok(std::fs::write(common, settings.replacen(&was, &is, 1))?)
    }

    /// Returns the folders of nodes and bus.
    pub(crate) fn folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut folders = self.own();
        folders.extend(servers::kept(&self.topic)?);
        Ok(folders)
    }

    /// Starts every node that does not run. Its settings are those of the stand's folder, as they are now.
    pub(crate) fn spawn(&mut self, program: impl Fn() -> Command, logs: &[PathBuf]) -> anyhow::Result<()> {
        let common = self.nodes.first().context("a node")?.folder.clone();
        let settings = std::fs::read_to_string(common.join("wardline.toml"))?;
        let shared = format!("[cluster]\nshared_dir = {common:?}\n");
        let address = |port: u16| format!("127.0.0.1:{port}");
        for (node, log) in self.nodes.iter_mut().zip(logs) {
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

    /// Waits until every node serves, and every partition is worked on in each role: as a gateway that is ready is.
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
        eventually("every partition is worked on", READY, || {
            let texts = self.nodes.iter().map(|node| Ok(get(node.http, "/metrics")?.1));
            let texts = texts.collect::<anyhow::Result<Vec<_>>>()?;
            let all = added(&texts);
            let held = |role: &str| all.get(format!("{LEASES}{{role=\"{role}\"}}").as_str()).copied();
            let (archive, alert, each) = (held("archive"), held("alert"), Some(f64::from(PARTITIONS)));
            ensure!(archive == each && alert == each, "{archive:?} of archive, {alert:?} of alert");
            Ok(Some(()))
        })
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

impl Drop for Tier {
    /// A topic that stays would go on electing leaders beside the tests that are to come.
    fn drop(&mut self) {
        self.nodes.clear();
        servers::forget(&self.topic);
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
        "/metrics" => (200, told(&answers.map(|(_, body)| body).collect::<Vec<_>>())),
        _ => answers.next().context("no node answers")?,
    };
    let head = format!("HTTP/1.1 {code} Here\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Ok(asker.write_all(format!("{head}{body}").as_bytes())?)
}

fn added(texts: &[String]) -> BTreeMap<&str, f64> {
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
    lines
}

fn told(texts: &[String]) -> String {
    added(texts).iter().map(|(name, value)| format!("{name} {value}\n")).collect()
}

fn is_counter(name: &str) -> bool {
    ["_total", "_bucket", "_sum", "_count", LEASES].iter().any(|end| name.ends_with(end))
}
