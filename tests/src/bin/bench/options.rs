//! The command line.

use crate::archive::options::{ArchiveQuery, ArchiveSize, ArchiveWrite};
use crate::scale::Scale;
use crate::server::Kind;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Measures wardline's front beside mosquitto and rumqttd; without a subcommand, publish throughput.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) setup: Setup,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Bench {
    /// Returns what to run, with `--quick` applied.
    pub(crate) fn command(&self) -> Command {
        let command = self.command.clone().unwrap_or_default();
        if self.setup.quick { command.quick() } else { command }
    }
}

/// What every measurement shares.
#[derive(Debug, Clone, Args)]
pub(crate) struct Setup {
    /// A tenth of everything: to see that it runs.
    #[arg(long, global = true)]
    pub(crate) quick: bool,
    /// Where data folders are made; its disk is the one that is measured. Default: the system's temporary folder.
    #[arg(long, global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Servers to measure.
    #[arg(long, global = true, value_enum, value_delimiter = ',',
        default_values_t = [Kind::Wardline, Kind::Mosquitto, Kind::Rumqttd])]
    pub(crate) servers: Vec<Kind>,
    /// Roles of the gateway in the throughput and connection measurements; the crash test runs all of them.
    #[arg(long, global = true, default_value = "front")]
    pub(crate) roles: String,
    /// Use the binaries that lie beside this one as they are.
    #[arg(long, global = true)]
    pub(crate) no_build: bool,
}

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// CPU per acknowledged publish, publishes per second, time to acknowledgement.
    Throughput(Throughput),
    /// Publish, kill -9, restart, count what is left.
    Crash(Crash),
    /// CPU per connect, memory per idle session, the idle agent.
    Connections(Connections),
    /// Time to cut revoked sessions, and what a large revoked set costs a handshake. Not part of `all`.
    Revocation(Revocation),
    /// From an alarm's timestamp to a subscriber, at a steady load and in a surge. Not part of `all`.
    Alarms(Alarms),
    /// Many subscribers, without and with one that takes nothing. Not part of `all`.
    Subscribers(Subscribers),
    /// Bytes of a reading and a sample in the archive, by column, and what other layouts take. Not part of `all`.
    ArchiveSize(ArchiveSize),
    /// CPU of the archive worker a reading, against the bare Parquet writer. Not part of `all`.
    ArchiveWrite(ArchiveWrite),
    /// Five questions to `wardline-query serve` against DuckDB on plain Parquet. Not part of `all`.
    Query(ArchiveQuery),
    /// Nodes, reconnects and failures at up to a million devices: a model of the measured figures. Not part of `all`.
    Scale(Box<Scale>),
    /// Acknowledgements by policy, over JetStream and Fluvio. Not part of `all`.
    #[cfg(feature = "cluster")]
    Tier(crate::tier::TierOptions),
    /// One and two fronts and workers, and partitions that move. Not part of `all`.
    #[cfg(feature = "cluster")]
    Scaling(crate::tier::Scaling),
    /// The first three.
    All(All),
    /// A bare TLS server, started by the measurement itself.
    #[command(hide = true)]
    Reference(Reference),
}

impl Default for Command {
    fn default() -> Self {
        let defaults = Bench::parse_from(["bench", "throughput"]);
        defaults.command.unwrap_or(Self::Crash(Crash { crash_messages: 10_000 }))
    }
}

impl Command {
    fn quick(mut self) -> Self {
        match &mut self {
            Self::Throughput(options) => options.quick(),
            Self::Crash(options) => options.quick(),
            Self::Connections(options) => options.quick(),
            Self::All(all) => {
                all.throughput.quick();
                all.crash.quick();
                all.connections.quick();
            }
            Self::Revocation(options) => options.quick(),
            Self::Alarms(options) => options.quick(),
            Self::Subscribers(options) => options.quick(),
            Self::ArchiveSize(options) => options.quick(),
            Self::ArchiveWrite(options) => options.quick(),
            Self::Query(options) => options.quick(),
            Self::Scale(_) | Self::Reference(_) => {}
            #[cfg(feature = "cluster")]
            Self::Tier(options) => options.quick(),
            #[cfg(feature = "cluster")]
            Self::Scaling(options) => options.quick(),
        }
        self
    }
}

/// Options of `throughput`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Throughput {
    /// Rounds; the servers alternate within each.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Scenarios, CONNECTIONSxWINDOW: as fast as it goes; or CONNECTIONSx1@RATE: so many publishes a second.
    #[arg(long, value_delimiter = ',', default_values = ["50x16", "500x1", "500x1@2000"])]
    pub(crate) load: Vec<Shape>,
    /// Payload sizes, bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [200, 1024])]
    pub(crate) payload: Vec<usize>,
    /// Publishes in a round; default 100,000, and 40,000 with a window of 1.
    #[arg(long)]
    pub(crate) messages: Option<usize>,
}

impl Throughput {
    fn quick(&mut self) {
        self.rounds = self.rounds.min(2);
        self.messages = Some(self.messages.unwrap_or(10_000));
    }
}

/// How many connections, how many publishes in flight on each, and how many a second over all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) window: u16,
    /// `None`: as many as are acknowledged.
    pub(crate) per_second: Option<u32>,
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (shape, rate) = text.split_once('@').map_or((text, None), |(shape, rate)| (shape, Some(rate)));
        let parsed = shape.split_once('x').and_then(|(c, w)| Some((c.parse().ok()?, w.parse().ok()?)));
        match (parsed, rate.map(str::parse)) {
            (Some((connections @ 1.., window @ 1..=64)), None) => {
                Ok(Self { connections, window, per_second: None })
            }
            (Some((connections @ 1.., 1)), Some(Ok(rate @ 1..))) => {
                Ok(Self { connections, window: 1, per_second: Some(rate) })
            }
            _ => Err(format!(
                "{text} is neither CONNECTIONSxWINDOW with a window of 1 to 64 nor CONNECTIONSx1@RATE"
            )),
        }
    }
}

/// Options of `crash`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Crash {
    /// Publishes to acknowledge before the kill.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) crash_messages: usize,
}

impl Crash {
    fn quick(&mut self) {
        self.crash_messages = self.crash_messages.min(1_000);
    }
}

/// Options of `connections`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connections {
    /// Connects, one full handshake each.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) connects: usize,
    /// Idle sessions.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) sessions: usize,
}

impl Connections {
    fn quick(&mut self) {
        self.connects = self.connects.min(200);
        self.sessions = self.sessions.min(200);
    }
}

/// Options of `revocation`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Revocation {
    /// Live sessions; every other one is revoked.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sessions: usize,
    /// Revoked certificates in the registry while handshakes are measured.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) revoked: i64,
    /// Connects with and without them.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) connects: usize,
}

impl Revocation {
    fn quick(&mut self) {
        self.sessions = self.sessions.min(100);
        self.connects = self.connects.min(200);
    }
}

/// Options of `alarms`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Alarms {
    /// Sessions that publish readings.
    #[arg(long, default_value_t = 500)]
    pub(crate) sessions: usize,
    /// Frames a second that they publish together before the surge.
    #[arg(long, default_value_t = 500)]
    pub(crate) rate: u32,
    /// Devices that raise and end alarms.
    #[arg(long, default_value_t = 100)]
    pub(crate) alarming: usize,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
}

impl Alarms {
    fn quick(&mut self) {
        self.sessions = self.sessions.min(50);
        self.rate = self.rate.min(50);
        self.alarming = self.alarming.min(10);
        self.seconds = self.seconds.min(6);
    }
}

/// Options of `subscribers`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Subscribers {
    /// Subscribers that take what comes.
    #[arg(long, default_value_t = 499)]
    pub(crate) subscribers: usize,
    /// Devices that raise and end alarms.
    #[arg(long, default_value_t = 10)]
    pub(crate) alarming: usize,
    /// Rounds of each kind, in turns.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of each round.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
}

impl Subscribers {
    fn quick(&mut self) {
        self.subscribers = self.subscribers.min(50);
        self.rounds = self.rounds.min(2);
        self.seconds = self.seconds.min(3);
    }
}

/// Options of `all`.
#[derive(Debug, Clone, Args)]
pub(crate) struct All {
    #[command(flatten)]
    pub(crate) throughput: Throughput,
    #[command(flatten)]
    pub(crate) crash: Crash,
    #[command(flatten)]
    pub(crate) connections: Connections,
}

/// Options of the bare TLS server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reference {
    /// Loopback port.
    #[arg(long)]
    pub(crate) port: u16,
    /// Folder with `ca.pem`, `server.pem` and `server.key`.
    #[arg(long)]
    pub(crate) pki: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        <Bench as CommandFactory>::command().debug_assert();
        assert!(matches!(Command::default(), Command::Throughput(options) if options.rounds == 5));
    }

    #[test]
    fn a_shape_is_two_positive_numbers() {
        assert_eq!("50x16".parse(), Ok(Shape { connections: 50, window: 16, per_second: None }));
        assert_eq!("9x1@70".parse(), Ok(Shape { connections: 9, window: 1, per_second: Some(70) }));
        for bad in ["50", "0x1", "1x0", "1x65", "x", "5x2@70", "5x1@0", "5x1@"] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }
}
