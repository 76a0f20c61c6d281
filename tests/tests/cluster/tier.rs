//! The machines of a cluster, as processes with a folder each: fronts, workers, the bus, the database.

use crate::frames::now_us;
use crate::ledger::{doubled, read_ledger};
use crate::nats::Nats;
use crate::process::{Process, binary, eventually, run};
use crate::rows::Position;
use crate::stand::{Stand, TENANT, free_ports, get};
use crate::wire::Wire;
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use wardline_archive::testing::{ACCESS_KEY, TestSeaweed};
use wardline_store::testing::TestPostgres;

/// Partitions of the topic.
pub(crate) const PARTITIONS: u16 = 4;
const LEASE_MS: u64 = 2000;
const READY: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(60);

/// A process of the gateway with roles of its own.
pub(crate) struct Node {
    name: String,
    roles: &'static str,
    folder: PathBuf,
    pub(crate) mqtt: u16,
    pub(crate) http: u16,
    pub(crate) grpc: u16,
    est: u16,
    is_shimmed: bool,
    program: PathBuf,
    process: Option<Process>,
}

/// All of it.
pub(crate) struct Tier {
    /// What the nodes have in common: certificates, keys, the archive.
    pub(crate) stand: Stand,
    pub(crate) nats: Nats,
    pub(crate) postgres: TestPostgres,
    pub(crate) nodes: Vec<Node>,
    /// From the nodes on wires to the bus, and to the database.
    pub(crate) to_bus: Wire,
    pub(crate) to_database: Wire,
    settings: String,
    settings_on_wires: String,
    topic: String,
    url: String,
    shim: PathBuf,
    /// Stopped in order: a test that ends otherwise shows what the nodes logged.
    is_over: bool,
}

impl Tier {
    /// Starts the bus and the database, and makes the common folder. No node runs.
    pub(crate) fn new(archive: Option<&TestSeaweed>, more: &str) -> anyhow::Result<Self> {
        Self::of(binary("wardline")?, archive, more)
    }

    /// The same with nodes of another release.
    pub(crate) fn of(program: PathBuf, archive: Option<&TestSeaweed>, more: &str) -> anyhow::Result<Self> {
        let nats = Nats::start();
        let postgres = TestPostgres::start().map_err(anyhow::Error::msg)?;
        let url = postgres.database("wardline").map_err(anyhow::Error::msg)?;
        let secrets = tempfile::tempdir()?.keep();
        let bucket = |store: &TestSeaweed| {
            let settings = TestSeaweed::settings(&secrets, store.port(), "tier", ACCESS_KEY);
            anyhow::Ok(format!(
                "[archive.bucket]\n{}timeout_ms = 3000\n",
                settings.map_err(anyhow::Error::msg)?
            ))
        };
        let bucket = archive.map(bucket).transpose()?.unwrap_or_default();
        let stand = Stand::of(program, &format!("{bucket}[store]\nurl = \"{url}\"\n"))?;
        let (to_bus, to_database) = (Wire::default(), Wire::default());
        let topic = format!("tier-{}-{}", std::process::id(), now_us());
        let settings = |servers: &[String], url: &str| {
            format!(
                "[archive]\nflush_interval_ms = 500\n{bucket}[store]\nurl = \"{url}\"\n[cluster]\n\
                 {}partitions = {PARTITIONS}\ntopic_bytes_max = 200000000\nlease_ms = {LEASE_MS}\nshared_dir = {:?}\n{more}",
                engine(servers, &topic),
                stand.data()
            )
        };
        let servers = nats.servers();
        let on_wire = |server: &String| {
            let port = server.rsplit(':').next().context("a port")?.parse()?;
            Ok(format!("nats://127.0.0.1:{}", to_bus.to_port(port)?))
        };
        let wired = servers.iter().map(on_wire).collect::<anyhow::Result<Vec<_>>>()?;
        // Where the server's socket is, and where the wire to it begins.
        let (_, socket) = url.split_once("host=").context("a socket")?;
        let (folder, port) = socket.split_once("&port=").context("a port")?;
        let begin = stand.path("wire");
        std::fs::create_dir(&begin)?;
        let name = format!(".s.PGSQL.{port}");
        to_database.to_socket(&begin.join(&name), Path::new(folder).join(&name))?;
        let wired_url = url.replace(folder, &begin.display().to_string());
        Ok(Self {
            settings: settings(&servers, &url),
            settings_on_wires: settings(&wired, &wired_url),
            topic: topic.clone(),
            shim: stand.path("shim.so"),
            stand,
            nats,
            postgres,
            nodes: Vec::new(),
            to_bus,
            to_database,
            url,
            is_over: false,
        })
    }

    /// Adds to the settings of nodes that do not run yet.
    pub(crate) fn add_settings(&mut self, more: &str) {
        self.settings.push_str(more);
        self.settings_on_wires.push_str(more);
    }

    /// Makes the archive of nodes that do not run yet commit as often as this, and no more often.
    pub(crate) fn commit_every(&mut self, interval: Duration) {
        for settings in [&mut self.settings, &mut self.settings_on_wires] {
            let lines = settings.lines().map(|line| match line.split_once(" = ") {
                Some((name @ "flush_interval_ms", _)) => format!("{name} = {}\n", interval.as_millis()),
                _other => format!("{line}\n"),
            });
            *settings = lines.collect();
        }
    }

    /// Says in the common folder where the servers of the bus are: queries read it there.
    pub(crate) fn tell_of_bus_at(&self, servers: &[String]) -> anyhow::Result<()> {
        let path = self.stand.data().join("wardline.toml");
        let text = std::fs::read_to_string(&path)?;
        let before = text.split("[cluster]\n").next().unwrap_or_default();
        Ok(std::fs::write(path, format!("{before}[cluster]\n{}", engine(servers, &self.topic)))?)
    }

    /// Returns the URL of the database.
    pub(crate) fn store_url(&self) -> String {
        self.url.clone()
    }

    /// Starts one more node and returns its place among them.
    pub(crate) fn node(&mut self, roles: &'static str) -> anyhow::Result<usize> {
        self.node_with(roles, self.settings.clone())
    }

    /// The same, of a node that reaches bus and database by wires.
    pub(crate) fn node_on_wires(&mut self, roles: &'static str) -> anyhow::Result<usize> {
        self.node_with(roles, self.settings_on_wires.clone())
    }

    /// Starts two fronts that send their devices to each other when they are told to stop.
    pub(crate) fn fronts_in_turn(&mut self) -> anyhow::Result<[usize; 2]> {
        let [first, second] = free_ports()?;
        let to = |port: u16| format!("[drain]\nto = [\"localhost:{port}\"]\nnotice_ms = 300\n");
        let settings = [second, first].map(|other| self.settings.clone() + &to(other));
        let [of_first, of_second] = settings;
        Ok([self.node_at(first, "front,api", of_first)?, self.node_at(second, "front,api", of_second)?])
    }

    /// Starts one more node with another line about the size of the topic, or none.
    pub(crate) fn node_with_topic(&mut self, size: &str) -> anyhow::Result<usize> {
        let other = |line| if str::starts_with(line, "topic_bytes_max") { size } else { line };
        let settings = self.settings.lines().map(|line| format!("{}\n", other(line))).collect();
        self.node_with("front,api", settings)
    }

    fn node_with(&mut self, roles: &'static str, settings: String) -> anyhow::Result<usize> {
        let [mqtt] = free_ports()?;
        self.node_at(mqtt, roles, settings)
    }

    fn node_at(&mut self, mqtt: u16, roles: &'static str, settings: String) -> anyhow::Result<usize> {
        let [http, grpc, est] = free_ports()?;
        let name = format!("{}-{}", roles.replace(',', "-"), self.nodes.len());
        let folder = self.stand.path(&name);
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("wardline.toml"), settings)?;
        self.nodes.push(Node {
            name,
            roles,
            folder,
            mqtt,
            http,
            grpc,
            est,
            is_shimmed: false,
            program: self.stand.program.clone(),
            process: None,
        });
        self.spawn(self.nodes.len() - 1)?;
        Ok(self.nodes.len() - 1)
    }

    /// Starts a node that does not run.
    pub(crate) fn spawn(&mut self, index: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[index];
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut command = Command::new(&node.program);
        command.env("WARDLINE_LOG", "info").arg("serve").arg("--data-dir").arg(&node.folder);
        command.args(["--roles", node.roles, "--mqtt", &address(node.mqtt), "--grpc", &address(node.grpc)]);
        command.args(["--http", &address(node.http), "--est", &address(node.est)]);
        if node.is_shimmed {
            command.env("LD_PRELOAD", &self.shim).env("WARDLINE_SHIM", node.folder.join("shim"));
        }
        let log = node.folder.join("log");
        node.process = Some(Process::start(&node.name, &mut command, &log)?);
        Ok(())
    }

    /// Waits until every node that runs serves.
    pub(crate) fn ready(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            let Some(process) = &mut node.process else { continue };
            let http = node.http;
            let ready = eventually("/readyz", READY, || {
                let serves = || get(http, "/readyz").is_ok_and(|(code, _)| code == 200);
                Ok((!process.is_running() || serves()).then_some(()))
            });
            ensure!(process.is_running(), "{} ended:\n{}", node.name, process.tail());
            ready.with_context(|| process.tail())?;
        }
        Ok(())
    }

    /// Ends a node as a crash would.
    pub(crate) fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].process.take().context("not started")?.kill()
    }

    /// Kills a front and starts it on its folder elsewhere: another path, other ports but that of the devices.
    pub(crate) fn attach_elsewhere(&mut self, index: usize) -> anyhow::Result<()> {
        self.kill(index)?;
        let node = &mut self.nodes[index];
        let elsewhere = self.stand.path(&format!("{}-elsewhere", node.name));
        std::fs::rename(&node.folder, &elsewhere)?;
        node.folder = elsewhere;
        [node.http, node.grpc, node.est] = free_ports()?;
        self.spawn(index)
    }

    /// Stops a node in order, starts it again and waits until it serves.
    pub(crate) fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].process.take().context("not started")?.stop(STOP)?;
        self.spawn(index)?;
        self.ready()
    }

    /// Stops a node in order and starts it again with the program of another release.
    pub(crate) fn change(&mut self, index: usize, program: PathBuf) -> anyhow::Result<()> {
        self.nodes[index].program = program;
        self.restart(index)
    }

    /// Tells the shim of a node how slow its disk is and how far ahead its clock. A node gets it by an orderly restart.
    pub(crate) fn shim(&mut self, index: usize, says: &str) -> anyhow::Result<()> {
        if !self.shim.is_file() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/shim.c");
            let mut cc = Command::new("cc");
            run(cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&self.shim).arg(source))?;
        }
        let node = &mut self.nodes[index];
        std::fs::write(node.folder.join("shim"), says)?;
        if !std::mem::replace(&mut node.is_shimmed, true) {
            self.restart(index)?;
        }
        Ok(())
    }

    /// Sends a node a signal that does not end it.
    pub(crate) fn signal(&self, index: usize, signal: &str) -> anyhow::Result<()> {
        self.nodes[index].process.as_ref().context("not started")?.poke(signal)
    }

    /// Stops every node in order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            if let Some(mut process) = node.process.take() {
                process.stop(STOP)?;
            }
        }
        self.is_over = true;
        Ok(())
    }

    /// Returns what a node has logged.
    pub(crate) fn log(&self, index: usize) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.nodes[index].folder.join("log"))?)
    }

    /// Starts devices that publish to a front: `beds` of them, with certificates of their own.
    pub(crate) fn fleet(&self, front: usize, beds: usize, length: Duration) -> anyhow::Result<Fleet> {
        let certs = self.stand.path(&format!("certs-{front}"));
        for bed in 0..beds {
            let issued = self.stand.device(&bed_name(front, bed))?;
            let own = certs.join(TENANT).join(bed_name(front, bed));
            std::fs::create_dir_all(own.parent().context("a parent")?)?;
            std::fs::rename(issued, own)?;
        }
        let ledger = self.stand.path(&format!("ledger-{front}"));
        let mut command = Command::new(binary("firmware-sim")?);
        let gateway = format!("127.0.0.1:{}", self.nodes[front].mqtt);
        command.args(["fleet", "--gateway", &gateway, "--server-name", "localhost", "--rate", "25"]);
        command.args(["--duration", &format!("{}s", length.as_secs()), "--drain", "100s"]);
        command.arg("--certs").arg(certs).arg("--ledger").arg(&ledger);
        let log = self.stand.path(&format!("fleet-{front}.log"));
        Ok(Fleet { process: Process::start("firmware-sim fleet", &mut command, &log)?, ledger })
    }

    /// Waits until all that was acknowledged is archived; returns how much that was. Nothing may be there twice.
    pub(crate) fn whole(&self, fleets: Vec<Fleet>) -> anyhow::Result<usize> {
        let mut acked = BTreeSet::<Position>::new();
        for fleet in fleets {
            acked.extend(fleet.end()?);
        }
        let quarantined = self.stand.archived(&acked, Duration::from_secs(120))?;
        let doubled = doubled(&self.stand)?;
        ensure!(quarantined == 0 && doubled == 0, "{quarantined} quarantined, {doubled} doubled");
        Ok(acked.len())
    }
}

/// Says where the bus is: those servers, or the Fluvio that `WARDLINE_CLUSTER_FLUVIO` names by its controller, for a
/// program that was built with that feature. A topic outlives a run there: each has its own.
fn engine(servers: &[String], topic: &str) -> String {
    let Ok(controller) = std::env::var("WARDLINE_CLUSTER_FLUVIO") else {
        return format!("engine = \"jetstream\"\nservers = {servers:?}\n");
    };
    format!("engine = \"fluvio\"\nservers = [{controller:?}]\ntopic = {topic:?}\n")
}

/// Names a device of a front's fleet.
pub(crate) fn bed_name(front: usize, bed: usize) -> String {
    format!("bed-{front}-{bed}")
}

impl Drop for Tier {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.is_over || std::env::var_os("WARDLINE_CLUSTER_LOGS").is_some() {
            for node in &self.nodes {
                let log = std::fs::read_to_string(node.folder.join("log")).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                eprintln!("== {}\n{}", node.name, lines[lines.len().saturating_sub(60)..].join("\n"));
            }
        }
    }
}

/// Devices that publish, with the ledger of what they were acknowledged.
pub(crate) struct Fleet {
    process: Process,
    pub(crate) ledger: PathBuf,
}

impl Fleet {
    /// Ends it and returns what was acknowledged.
    fn end(mut self) -> anyhow::Result<BTreeSet<Position>> {
        self.process.interrupt(Duration::from_secs(120))?;
        read_ledger(&self.ledger)
    }
}
