//! `wardline serve`: runs a node until it is told to stop.

use super::EXIT_USAGE;
use crate::node::{Node, NodeOptions, Role, Roles, load_config};
use crate::operate::DataDir;
use anyhow::Context;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs the gateway: MQTT front, archive, alarm engine, gRPC, metrics.
///
/// Settings come from wardline.toml in the data directory, then from these options. SIGHUP loads the server's
/// certificate and the client authorities again; SIGTERM drains; a second one ends at once.
#[derive(Debug, Args)]
pub struct ServeCommand {
    /// Data directory, made by `wardline init`.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Where devices connect [default: [::]:8883].
    #[arg(long, value_name = "ADDR:PORT")]
    mqtt: Option<SocketAddr>,
    /// Where subscribers connect [default: [::]:8443].
    #[arg(long, value_name = "ADDR:PORT")]
    grpc: Option<SocketAddr>,
    /// Where metrics and health are [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Where devices enrol [default: [::]:9443].
    #[arg(long, value_name = "ADDR:PORT")]
    est: Option<SocketAddr>,
    /// What this process does; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Vec<Role>,
    /// The journal with this id is gone for good: a new one may take its place (WL-JRN-003). No gateway may run on it.
    #[arg(long, value_name = "ID")]
    replaces_journal: Option<String>,
}

impl ServeCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let mut options = NodeOptions::new(&self.data_dir);
        if let Err(errors) = load_config(&DataDir::new(&self.data_dir).config(), &mut options) {
            eprintln!("wardline.toml:\n{errors}");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
        options.mqtt = self.mqtt.unwrap_or(options.mqtt);
        options.grpc = self.grpc.unwrap_or(options.grpc);
        options.http = self.http.unwrap_or(options.http);
        options.est = self.est.unwrap_or(options.est);
        options.roles = Roles::new(&self.roles);
        options.replaced_journal = self.replaces_journal;
        let mut signals = Signals::new().context("listen for signals")?;
        let mut node = Node::start(options).await?;
        let addrs = node.addrs();
        println!(
            "wardline serves: mqtt {} grpc {} http {} est {}",
            addrs.mqtt, addrs.grpc, addrs.http, addrs.est
        );
        wardline_edge::is_ready();
        let code = signals.watch(&mut node).await;
        wardline_edge::is_stopping();
        tracing::info!("draining");
        tokio::select! {
            stopped = node.shutdown() => stopped?,
            () = signals.stop() => anyhow::bail!("ended before the drain was complete"),
        }
        Ok(code)
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the reason to stop and returns what the process ends with.
    async fn watch(&mut self, node: &mut Node) -> ExitCode {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return ExitCode::SUCCESS,
                _ = self.interrupt.recv() => return ExitCode::SUCCESS,
                kind = node.failed() => {
                    tracing::error!(?kind, "a part that the gateway needs has ended");
                    return ExitCode::FAILURE;
                }
                // What became of it is told where it is done.
                _ = self.hangup.recv() => drop(node.reload_tls()),
            }
        }
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
