//! `wardline conform`: holds a device to its profile.

use super::profile;
use crate::conform::{self, ConformOptions, Fault};
use anyhow::Context;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use wardline_proto::DeviceId;

/// Holds a device to its profile: watches it, cuts it off, and says what it does.
///
/// Starts a gateway of its own on a data directory that is thrown away, behind a proxy that delays, swallows
/// acknowledgements, refuses and cuts. Exit code 1 when a check that a device must pass has failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wardline conform --profile docs/profiles/bedside-monitor.toml --simulate\n  \
    wardline conform --profile docs/profiles/bedside-monitor.toml --simulate-fault no-spool --report report.md\n  \
    wardline conform --profile monitor.toml --device m-1 --listen 0.0.0.0:8883 --host kit.local --certs-out certs")]
pub struct ConformCommand {
    /// The device's profile.
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// Id of the device; its certificate and its topics carry it.
    #[arg(long, default_value = "device-under-test")]
    device: DeviceId,
    /// Where the device connects.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Names and addresses that the device reaches it by, besides those of loopback.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Folder that keeps the authority, and cert.pem, key.pem and ca.pem in DIR/DEVICE: a device is set up once.
    /// Default: one that is thrown away with the run.
    #[arg(long, value_name = "DIR")]
    certs_out: Option<PathBuf>,
    /// How long the device is watched and disturbed; waiting for it to come back is on top.
    #[arg(long, default_value = "120s", value_parser = parse_duration)]
    duration: Duration,
    /// How long to wait for its first session.
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    wait: Duration,
    /// Write the report here: JSON into a .json file, else Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Look at firmware-sim behind the edge agent; nothing real is connected.
    #[arg(long, conflicts_with = "simulate_fault")]
    simulate: bool,
    /// Look at a simulated device that does one thing wrong.
    #[arg(long, value_name = "NAME", value_enum)]
    simulate_fault: Option<Fault>,
}

impl ConformCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let simulate = match (self.simulate, self.simulate_fault) {
            (_, Some(fault)) => Some(Some(fault)),
            (true, None) => Some(None),
            (false, None) => None,
        };
        let options = ConformOptions {
            profile: profile::load(&self.profile)?,
            device: self.device,
            listen: self.listen,
            hosts: self.hosts,
            identity: self.certs_out,
            duration: self.duration,
            wait: self.wait,
            simulate,
        };
        let report = conform::run(&options, &mut |line| println!("{line}")).await?;
        println!("\n{}", report.table());
        if let Some(path) = &self.report {
            report.write(path).with_context(|| format!("write {}", path.display()))?;
            println!("report in {}", path.display());
        }
        Ok(if report.conforms() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    firmware_sim::synth::parse_duration(text).ok_or_else(|| "a duration is a number and s, m or h".to_owned())
}
