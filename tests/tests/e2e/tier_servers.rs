//! What the nodes of a tier share: a JetStream of three servers, or a Fluvio; PostgreSQL; SeaweedFS.

use crate::process::run;
use anyhow::Context;
use std::process::Command;

/// The database of a tier, and the server that it is on.
pub(super) struct Database {
    server: String,
    pub(super) name: String,
}

impl Database {
    pub(super) fn of(settings: &str) -> anyhow::Result<Self> {
        let url =
            settings.lines().find_map(|line| line.strip_prefix("url = \"postgres://wardline@localhost/"));
        let (name, query) =
            url.and_then(|url| url.trim_end_matches('"').split_once('?')).context("a database")?;
        Ok(Self { server: format!("postgres://wardline@localhost/postgres?{query}"), name: name.to_owned() })
    }

    /// Names the copy of it.
    pub(super) fn kept(&self) -> String {
        format!("{}_kept", self.name)
    }

    pub(super) fn make_of(&self, from: &str, to: &str) -> anyhow::Result<()> {
        self.ask(&format!("CREATE DATABASE {to} TEMPLATE {from}"))
    }

    pub(super) fn ask(&self, sql: &str) -> anyhow::Result<()> {
        run(Command::new("psql").arg(&self.server).args(["-X", "-q", "-c", sql])).map(drop)
    }
}

#[cfg(not(feature = "cluster"))]
pub(super) use none::{forget, kept, settings, topic, unwritten};
#[cfg(feature = "cluster")]
pub(super) use real::{forget, kept, settings, topic, unwritten};

#[cfg(not(feature = "cluster"))]
mod none {
    use std::path::{Path, PathBuf};

    pub(in super::super) fn topic() -> String {
        String::new()
    }

    pub(in super::super) fn kept(_topic: &str) -> anyhow::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    pub(in super::super) fn forget(_topic: &str) {}

    pub(in super::super) fn unwritten(topic: &str) -> String {
        topic.to_owned()
    }

    /// A program of one machine refuses a section `[cluster]`.
    pub(in super::super) fn settings(
        _folder: &Path,
        _settings: &str,
        _topic: &str,
    ) -> anyhow::Result<String> {
        anyhow::bail!(
            "WARDLINE_E2E=tier needs the feature wardline-tests/cluster: docs/testing.md has the command"
        )
    }
}

#[cfg(feature = "cluster")]
mod real {
    use crate::nats::Nats;
    use anyhow::Context;
    use std::os::unix::process::CommandExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use wardline_archive::testing::{ACCESS_KEY, TestSeaweed};
    use wardline_store::testing::TestPostgres;

    /// Where the servers of that Fluvio keep their logs, for the tests that look into every file.
    const FLUVIO_LOGS: &str = "WARDLINE_CLUSTER_FLUVIO_LOGS";

    /// Names a database, a bucket and a topic, but those that `settings` name.
    pub(in super::super) fn settings(folder: &Path, settings: &str, topic: &str) -> anyhow::Result<String> {
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
        let (engine, servers) = match fluvio() {
            Some(controller) => ("fluvio", vec![controller]),
            None => ("jetstream", nats()?.servers()),
        };
        // There each partition has room for whole segments of 8 MB.
        let (replicas, bytes_max) = if engine == "fluvio" { (2, 100_000_000) } else { (3, 30_000_000) };
        more += &format!("[cluster]\nengine = {engine:?}\nservers = {servers:?}\ntopic = {topic:?}\n");
        Ok(more + &format!("replicas = {replicas}\ntopic_bytes_max = {bytes_max}\n"))
    }

    /// Returns the controller of the Fluvio that takes the place of the servers of the bus, for a program that was built
    /// with that feature.
    fn fluvio() -> Option<String> {
        std::env::var("WARDLINE_CLUSTER_FLUVIO").ok()
    }

    /// Names a topic that no other stand has, also of another run: a Fluvio outlives one.
    pub(in super::super) fn topic() -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        format!("e2e-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Names a topic that nobody has written to, in the place of one that was to be forgotten.
    pub(in super::super) fn unwritten(topic: &str) -> String {
        // There a topic stays.
        if fluvio().is_some() { format!("{topic}-anew") } else { topic.to_owned() }
    }

    /// Returns the folders in which the servers of the bus keep a topic.
    pub(in super::super) fn kept(topic: &str) -> anyhow::Result<Vec<PathBuf>> {
        let kept: Vec<_> = if fluvio().is_some() {
            let logs = std::env::var(FLUVIO_LOGS)
                .with_context(|| format!("{FLUVIO_LOGS}: where its servers keep logs"))?;
            let mut partitions = Vec::new();
            for server in std::fs::read_dir(logs)? {
                for partition in std::fs::read_dir(server?.path())? {
                    partitions.push(partition?.path());
                }
            }
            let own = format!("{topic}-");
            partitions
                .retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&own)));
            partitions
        } else {
            let (_processes, folder) = nats()?.left_behind();
            let servers = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
            let streams = servers.iter().map(|server| server.path().join("jetstream/$G/streams").join(topic));
            streams.filter(|path| path.is_dir()).collect()
        };
        anyhow::ensure!(!kept.is_empty(), "no server of the bus keeps {topic}");
        Ok(kept)
    }

    /// Deletes a topic. One that stays costs the others time, and no test its result.
    pub(in super::super) fn forget(topic: &str) {
        if fluvio().is_some() {
            return;
        }
        let (Ok(nats), topic) = (nats(), topic.to_owned()) else { return };
        let servers = nats.servers();
        let deleted = async move {
            let client = async_nats::connect(servers).await?;
            async_nats::jetstream::new(client).delete_stream(topic).await?;
            anyhow::Ok(())
        };
        // A stand may end within a runtime.
        let _stays = std::thread::spawn(|| crate::archive::block_on(deleted)).join();
    }

    /// The servers of the bus of this process. A shell ends them with it: nothing is dropped then.
    fn nats() -> anyhow::Result<&'static Nats> {
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
        problem.map_or_else(|| Ok(nats), |error| Err(error.into()))
    }
}
