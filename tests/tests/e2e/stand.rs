//! A gateway of its own for each test: a folder, certificates, ports, the real binary.

use crate::process::{Process, binary, eventually, run};
use crate::rows::{self, Position};
use crate::tiered::{self, Tier};
use anyhow::Context;
use arrow_array::RecordBatch;
use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use wardline_archive::place::Place;
use wardline_store::StoreUrl;

/// The tenant of every test.
pub(crate) const TENANT: &str = "st-mary";
/// Commits and merges often: a test is short.
const SETTINGS: &str =
    "[archive]\nflush_interval_ms = 500\ncompact_interval_ms = 2000\ncompact_files_min = 4\n";
/// A loaded machine starts slowly; nothing here waits this long when all is well.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

/// A gateway with its data folder. Everything goes when it is dropped.
pub(crate) struct Stand {
    folder: TempDir,
    gateway: Option<Process>,
    /// In place of the one process, when the suite runs so.
    tier: Option<Tier>,
    /// What is started.
    pub(crate) program: PathBuf,
    /// How loud everything is.
    pub(crate) level: &'static str,
    /// Port of the MQTT front.
    pub(crate) mqtt: u16,
    /// Port of gRPC.
    pub(crate) grpc: u16,
    /// Port of metrics and health.
    pub(crate) http: u16,
    /// Port of enrolment.
    pub(crate) est: u16,
}

impl Stand {
    /// Makes a data folder with certificates and chooses ports; starts nothing.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with("")
    }

    /// The same, with more settings.
    pub(crate) fn with(settings: &str) -> anyhow::Result<Self> {
        Self::of(binary("wardline")?, settings)
    }

    /// The same, made by the program of another release.
    pub(crate) fn of(program: PathBuf, settings: &str) -> anyhow::Result<Self> {
        let [mut mqtt, mut grpc, mut http, mut est] = free_ports()?;
        let folder = tempfile::tempdir()?;
        let wanted = tiered::is_wanted().then(|| Tier::new(folder.path(), settings));
        let tier = wanted.transpose()?;
        if let Some(tier) = &tier {
            [mqtt, grpc, http, est] = [tier.mqtt, tier.grpc, tier.http, tier.est];
        }
        let more = tier.as_ref().map_or("", |tier| tier.settings.as_str());
        let bootstrap = format!("[bootstrap]\nfronts = [\"localhost:{mqtt}\"]\n");
        let settings = format!("{SETTINGS}{settings}{bootstrap}{more}");
        let stand = Self { folder, gateway: None, tier, program, level: "info", mqtt, grpc, http, est };
        std::fs::create_dir(stand.data())?;
        std::fs::write(stand.data().join("wardline.toml"), settings)?;
        run(stand.wardline()?.arg("init").arg("--data-dir").arg(stand.data()))?;
        Ok(stand)
    }

    /// Returns a path beside the data folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Returns the folder of all device certificates, `TENANT/DEVICE/`.
    pub(crate) fn certs(&self) -> PathBuf {
        self.path("certs")
    }

    /// Says how many processes the gateway is.
    pub(crate) fn nodes(&self) -> usize {
        self.tier.as_ref().map_or(1, Tier::size)
    }

    /// Returns the log of each of them.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        (0..self.nodes()).map(|node| self.path(&format!("gateway-{node}.log"))).collect()
    }

    /// Returns what all of them said.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        let texts = self
            .logs()
            .into_iter()
            .map(|log| std::fs::read_to_string(&log).with_context(|| log.display().to_string()));
        texts.collect()
    }

    /// Returns the folders where the gateway keeps something: its data folder, and of a tier those of nodes and bus too.
    pub(crate) fn folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        self.tier.as_ref().map_or_else(|| Ok(vec![self.data()]), Tier::folders)
    }

    /// Backs up what a stopped gateway keeps.
    pub(crate) fn backup(&self) -> anyhow::Result<()> {
        std::fs::create_dir(self.path("backup"))?;
        self.own().iter().try_for_each(|folder| copy(folder, &self.path("backup")))?;
        self.tier.as_ref().map_or(Ok(()), Tier::backup)
    }

    /// Puts the backup in the place of all that a killed gateway kept.
    pub(crate) fn restore(&self) -> anyhow::Result<()> {
        for folder in self.own() {
            std::fs::remove_dir_all(&folder)?;
            let name = folder.file_name().context("a folder")?;
            copy(&self.path("backup").join(name), &folder)?;
        }
        self.tier.as_ref().map_or(Ok(()), Tier::restore)
    }

    /// Returns the folder of each process.
    fn own(&self) -> Vec<PathBuf> {
        self.tier.as_ref().map_or_else(|| vec![self.data()], Tier::own)
    }

    /// Makes a gateway that was stopped say its last words: over a tier what a node journaled when it ended is archived
    /// when it runs again. Returns how many processes were started for it.
    pub(crate) fn last_words(&mut self) -> anyhow::Result<usize> {
        if self.tier.is_none() {
            return Ok(0);
        }
        self.start()?;
        Ok(self.nodes())
    }

    /// Says where the database is: in the data folder, or where its settings say.
    pub(crate) fn store(&self) -> anyhow::Result<StoreUrl> {
        Ok(Place::of(&self.data())?.store().clone())
    }

    fn wardline(&self) -> anyhow::Result<Command> {
        Ok(wardline(&self.program, self.level))
    }

    /// Returns a registry command to the running gateway with the operator's certificate.
    pub(crate) fn operator(&self, words: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.wardline()?;
        command.args(words).args(["--server", &format!("https://localhost:{}", self.grpc)]);
        command.arg("--certs").arg(self.data().join("operator"));
        Ok(command)
    }

    /// Returns a command that works on the data folder itself.
    pub(crate) fn offline(&self, words: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.wardline()?;
        command.args(words);
        Ok(command)
    }

    /// The same with the data folder as its last argument.
    pub(crate) fn on_data(&self, words: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.offline(words)?;
        command.arg("--data-dir").arg(self.data());
        Ok(command)
    }

    /// Returns every event of the audit trail. That it was read is an event of its own, later.
    pub(crate) fn trail(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let told = run(&mut self.on_data(&["audit", "list", "--json", "--limit", "1000000"])?)?;
        told.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Tells the gateway to load its certificates again.
    pub(crate) fn hangup(&self) -> anyhow::Result<()> {
        if let Some(tier) = &self.tier {
            return tier.poke("-HUP");
        }
        self.gateway.as_ref().context("not started")?.poke("-HUP")
    }

    /// Issues a certificate to a device and registers it; returns the folder of its files.
    pub(crate) fn device(&self, device: &str) -> anyhow::Result<PathBuf> {
        let out = self.certs().join(TENANT).join(device);
        let mut command = self.wardline()?;
        command.args(["device", "issue", "--tenant", TENANT, "--device", device, "--data-dir"]);
        run(command.arg(self.data()).arg("--out").arg(&out))?;
        Ok(out)
    }

    /// Issues a certificate to a service; returns the folder of its files.
    pub(crate) fn service(&self, name: &str) -> anyhow::Result<PathBuf> {
        let out = self.path("services").join(name);
        let mut command = self.wardline()?;
        command.args(["service", "issue", "--tenant", TENANT, "--name", name, "--data-dir"]);
        run(command.arg(self.data()).arg("--out").arg(&out))?;
        Ok(out)
    }

    /// Starts the gateway and waits until it serves.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.ready()
    }

    /// Starts the gateway without waiting.
    pub(crate) fn spawn(&mut self) -> anyhow::Result<()> {
        let (level, logs) = (self.level, self.logs());
        if let Some(tier) = &mut self.tier {
            return tier.spawn(|| wardline(&self.program, level), &logs);
        }
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut command = self.wardline()?;
        command.arg("serve").arg("--data-dir").arg(self.data());
        command.args(["--mqtt", &address(self.mqtt)]);
        command.args(["--grpc", &address(self.grpc)]);
        command.args(["--http", &address(self.http)]);
        command.args(["--est", &address(self.est)]);
        let log = logs.first().context("a log")?;
        self.gateway = Some(Process::start("wardline", &mut command, log)?);
        Ok(())
    }

    /// Waits until the gateway serves; fails at once when it has ended.
    pub(crate) fn ready(&mut self) -> anyhow::Result<()> {
        if let Some(tier) = &mut self.tier {
            return tier.ready();
        }
        let http = self.http;
        let gateway = self.gateway.as_mut().context("not started")?;
        let ready = eventually("/readyz", START, || {
            Ok((!gateway.is_running() || get(http, "/readyz").is_ok_and(|(code, _)| code == 200))
                .then_some(()))
        });
        anyhow::ensure!(gateway.is_running(), "the gateway ended:\n{}", gateway.tail());
        ready.with_context(|| gateway.tail())
    }

    /// Checks the archive against its catalog, and the chain of the audit: whole, whatever was killed.
    pub(crate) fn verify(&self) -> anyhow::Result<()> {
        println!(
            "{}",
            run(self.wardline()?.args(["audit", "verify", "--data-dir"]).arg(self.data()))?.trim()
        );
        let told = run(self.wardline()?.args(["archive", "verify", "--data-dir"]).arg(self.data()))?;
        anyhow::ensure!(told.trim_end().ends_with("clean"), "{told}");
        println!("{}", told.trim());
        Ok(())
    }

    /// Kills the gateway as a crash would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(tier) = &mut self.tier {
            return tier.kill();
        }
        self.gateway.take().context("not started")?.kill()
    }

    /// Stops the gateway in order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(tier) = &mut self.tier {
            return tier.stop(STOP);
        }
        self.gateway.take().context("not started")?.stop(STOP)
    }

    /// Counts the rows of a table.
    pub(crate) fn rows(&self, table: &str) -> anyhow::Result<u64> {
        Ok(self.table(table)?.iter().map(|batch| batch.num_rows() as u64).sum())
    }

    /// Returns all committed rows of a table.
    pub(crate) fn table(&self, table: &str) -> anyhow::Result<Vec<RecordBatch>> {
        crate::archive::read(&self.data(), table)
    }

    /// Waits until the frames of `wanted` are in the archive or the quarantine. Returns those of the quarantine.
    pub(crate) fn archived(&self, wanted: &BTreeSet<Position>, limit: Duration) -> anyhow::Result<usize> {
        eventually("everything acknowledged is archived", limit, || {
            let mut found = BTreeSet::new();
            for table in ["numerics", "waveforms", "alarms", "events"] {
                found.extend(rows::positions(&self.table(table)?)?);
            }
            let bad: BTreeSet<_> = rows::positions(&self.table("quarantine")?)?.into_iter().collect();
            let missing = wanted.iter().filter(|p| !found.contains(p) && !bad.contains(p)).count();
            anyhow::ensure!(missing == 0, "{missing} of {} are missing", wanted.len());
            Ok(Some(wanted.intersection(&bad).count()))
        })
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    run(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

fn wardline(program: &Path, level: &str) -> Command {
    let mut command = Command::new(program);
    command.env("WARDLINE_LOG", level);
    command
}

impl Drop for Stand {
    /// With `WARDLINE_E2E_LOGS` set to a folder, the logs are kept there by the name of the test.
    fn drop(&mut self) {
        let Some(kept) = std::env::var_os("WARDLINE_E2E_LOGS").map(PathBuf::from) else { return };
        let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
        for (node, log) in self.logs().iter().enumerate() {
            let to = kept.join(format!("{name}-{}-{node}.log", self.mqtt));
            let _there_may_be_none = std::fs::copy(log, to);
        }
    }
}

/// Asks the system for ports that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

/// Gets a path over plain HTTP from loopback: status and body.
pub(crate) fn get(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let code = text.split(' ').nth(1).context("no status line")?.parse()?;
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((code, body))
}

/// Returns every file below `folder`.
pub(crate) fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let list = if entry.file_type()?.is_dir() { &mut folders } else { &mut found };
            list.push(entry.path());
        }
    }
    Ok(found)
}
