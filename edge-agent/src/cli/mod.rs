//! The command line: `enrol`, `run` and `status`.

mod config;
mod enrol;
mod file;

pub(crate) use config::{Config, ConfigError};
pub(crate) use enrol::{EnrolArgs, run as run_enrol};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
What it does:
  Takes a device's messages on --link, makes them durable and sealed in --spool, acknowledges
  them to the device, publishes them to the gateway over mutual TLS, alarms first, and deletes
  them when the gateway has acknowledged. It starts without a gateway, and what waits survives
  a kill. It renews its certificate by itself.

Examples:
  Enrol with a claim that the gateway's operator made:
    wardline-edge enrol --url https://gateway.example:9443 --claim wl1.SECRET.PIN --device monitor-1 --certs certs
  Run the agent; the enrolment has left the addresses in the folder:
    wardline-edge run --certs certs --spool /var/lib/wardline-edge
  Run it with certificates that were made by `wardline device issue`, against one server:
    wardline-edge run --server gateway.example:8883 --certs certs --spool /var/lib/wardline-edge
  Run it from a file, with one value from the environment:
    WARDLINE_EDGE_SERVER=gateway.example:8883 wardline-edge run --config /etc/wardline/edge.toml
  See what waits:
    wardline-edge status --spool /var/lib/wardline-edge
  Give it a simulated monitor:
    firmware-sim device --link tcp://127.0.0.1:7071

Logs go to standard error; RUST_LOG=error|warn|info|debug chooses how much. They hold no readings.
Exit codes: 0 stopped when asked, 1 failed, 64 the configuration is wrong (every error is printed),
75 the gateway could not be asked: try again later.";

/// The agent beside a medical device: spools, seals, sends, deletes only on acknowledgement.
#[derive(Debug, Parser)]
#[command(name = "wardline-edge", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Get an identity from a gateway. Running it again goes on where it stopped.
    Enrol(Box<EnrolArgs>),
    /// Run the agent until it is stopped (SIGTERM or Ctrl-C).
    Run(Box<RunArgs>),
    /// Say what the agent of a spool last reported.
    Status(StatusArgs),
}

/// Every value may also come from the environment (`WARDLINE_EDGE_` and the flag's name, as in
/// `WARDLINE_EDGE_SPOOL_BYTES_MAX`) or from the file; a flag wins over the environment, that over the file.
#[derive(Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// TOML file with the same names, such as `spool_bytes_max = 268435456`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The one gateway to use, HOST:PORT; the port is 8883 when left out [default: the fronts of services.json].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// Folder with cert.pem, key.pem and ca.pem. The certificate names the device.
    #[arg(long, value_name = "DIR")]
    pub(crate) certs: Option<String>,
    /// Folder of the spool; one device, one spool.
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<String>,
    /// Where the device connects: tcp://IP:PORT or unix:///PATH [default: tcp://127.0.0.1:7071].
    #[arg(long, value_name = "ADDR")]
    pub(crate) link: Option<String>,
    /// Bytes that may wait; above 80 % new waveforms are dropped, above 90 % new numerics [default: 268435456].
    #[arg(long, value_name = "BYTES")]
    pub(crate) spool_bytes_max: Option<String>,
    /// Hours that a frame stays after its acknowledgement, for a gateway that lost it; counted from when it was taken
    /// once the agent was started again; 0 keeps none [default: 24].
    #[arg(long, value_name = "H")]
    pub(crate) keep_acked_hours: Option<String>,
    /// Bytes that such frames may take, at most a quarter of what may wait [default: 67108864].
    #[arg(long, value_name = "BYTES")]
    pub(crate) keep_acked_bytes_max: Option<String>,
    /// Frames in flight; alarms may use four more [default: 16].
    #[arg(long, value_name = "N")]
    pub(crate) in_flight_max: Option<String>,
    /// MQTT keep-alive in seconds, at least 5 [default: 30].
    #[arg(long, value_name = "S")]
    pub(crate) keep_alive_s: Option<String>,
    /// Seconds without an acknowledgement after which the agent connects anew [default: 20].
    #[arg(long, value_name = "S")]
    pub(crate) ack_timeout_s: Option<String>,
    /// Least delay between connections in milliseconds; the first retry is faster [default: 1000].
    #[arg(long, value_name = "MS")]
    pub(crate) backoff_min_ms: Option<String>,
    /// Greatest delay between connections in milliseconds [default: 60000].
    #[arg(long, value_name = "MS")]
    pub(crate) backoff_max_ms: Option<String>,
    /// How this machine's clock is kept: auto, none or ntp [default: auto].
    #[arg(long, value_name = "HOW")]
    pub(crate) clock_sync: Option<String>,
    /// Bound on this machine's clock error in microseconds, 0 when unknown [default: 0].
    #[arg(long, value_name = "US")]
    pub(crate) clock_uncertainty_us: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Folder of the spool.
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: PathBuf,
    /// Print the status as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
