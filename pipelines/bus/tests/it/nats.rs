//! A JetStream of three real servers on the loopback, each with a folder of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test whose servers do not start has failed"
)]

#[allow(unreachable_pub, reason = "elsewhere it is part of a library")]
#[path = "../../../../tests/src/installed.rs"]
mod installed;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NODES: usize = 3;

struct Node {
    port: u16,
    cluster_port: u16,
    server: Option<Child>,
}

/// The servers. They end, and all that they kept goes, when it is dropped.
pub(crate) struct Nats {
    folder: TempDir,
    nodes: Vec<Node>,
    /// More lines of each server's configuration.
    config: String,
}

/// Finds the server: among what `tests/run` installs, or on the path.
fn program() -> PathBuf {
    installed::program("nats-server").unwrap_or_else(|missing| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
        programs.find(|program| program.is_file()).expect(&missing)
    })
}

impl Nats {
    pub(crate) fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), String::new())
    }

    /// Starts with more configuration, for which files may be in the folder.
    pub(crate) fn start_with(folder: TempDir, config: String) -> Self {
        // All are held until the last is known, so that no two are the same.
        let ports: Vec<_> = (0..NODES * 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = ports.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let node = |pair: &[u16]| Node { port: pair[0], cluster_port: pair[1], server: None };
        let nodes = ports.chunks(2).map(node).collect();
        let mut nats = Self { folder, nodes, config };
        (0..NODES).for_each(|index| nats.start_node(index));
        nats
    }

    /// Returns the addresses that a client is given.
    pub(crate) fn servers(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect()
    }

    #[allow(dead_code, reason = "of suites that share the servers of a run")]
    /// Returns what stays when this is never dropped: processes and a folder.
    pub(crate) fn left_behind(&self) -> (Vec<u32>, PathBuf) {
        let running = self.nodes.iter().filter_map(|node| Some(node.server.as_ref()?.id()));
        (running.collect(), self.folder.path().to_owned())
    }

    /// Starts a server that is not running, on what its folder holds.
    pub(crate) fn start_node(&mut self, index: usize) {
        let store = self.data(index);
        std::fs::create_dir_all(&store).unwrap();
        let routes: Vec<_> =
            self.nodes.iter().map(|n| format!("nats://127.0.0.1:{}", n.cluster_port)).collect();
        let node = &self.nodes[index];
        // The setting that the promise of a committed record rests on: sync before the answer.
        let config = format!(
            "server_name: n{index}\nlisten: 127.0.0.1:{}\n\
             jetstream {{ store_dir: {store:?}, sync_interval: always, max_file_store: 2GB }}\n\
             cluster {{ name: wardline, listen: 127.0.0.1:{}, routes: {routes:?}, no_advertise: true }}\n{}",
            node.port, node.cluster_port, self.config
        );
        let path = self.folder.path().join(format!("n{index}.conf"));
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(self.folder.path().join(format!("n{index}.log"))).unwrap();
        let mut command = Command::new(program());
        command.arg("-c").arg(&path).stdout(Stdio::null()).stderr(log);
        self.nodes[index].server = Some(command.spawn().unwrap());
        println!("nats n{index} started");
    }

    /// Ends a server as a power failure would end its process.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut server = self.nodes[index].server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        println!("nats n{index} killed");
    }

    /// Deletes what a server that is not running has kept.
    pub(crate) fn wipe(&self, index: usize) {
        assert!(self.nodes[index].server.is_none());
        std::fs::remove_dir_all(self.data(index)).unwrap();
        println!("nats n{index} lost its disk");
    }

    /// Finds the server that leads a stream.
    pub(crate) async fn leader(&self, stream: &str) -> usize {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(leader) = self.ask(stream).await {
                return leader;
            }
            assert!(Instant::now() < deadline, "stream {stream} has no leader");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn ask(&self, stream: &str) -> Option<usize> {
        let client = async_nats::connect(self.servers()).await.ok()?;
        let stream = async_nats::jetstream::new(client).get_stream(stream).await.ok()?;
        let leader = stream.cached_info().cluster.as_ref()?.leader.clone()?;
        leader.strip_prefix('n')?.parse().ok()
    }

    fn data(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("data{index}"))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for server in self.nodes.iter_mut().filter_map(|node| node.server.as_mut()) {
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            for index in 0..NODES {
                let log = std::fs::read_to_string(self.folder.path().join(format!("n{index}.log")));
                let log = log.unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(15).collect();
                eprintln!("n{index}: {:#?}", tail);
            }
        }
    }
}
