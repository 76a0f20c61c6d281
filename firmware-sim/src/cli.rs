//! The command line: what it takes, and options made of it.

use clap::{Args, Parser, Subcommand};
use firmware_sim::fleet::{FleetOptions, Mqtt, Rate, Shape};
use firmware_sim::synth::parse_duration;
use firmware_sim::{DeviceOptions, Episode, Fault, LinkAddr, SourceOptions, Speed, SynthOptions};
use std::path::PathBuf;
use std::time::Duration;

/// Simulates a bedside monitor, plays a real recording as one, or is a fleet of devices that loads a gateway.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  A synthetic monitor on the link of `wardline-edge`, with 30 s of low oxygen after 20 s:
    firmware-sim device --link tcp://127.0.0.1:7071 --episode desaturation@20s+30s

  A recording of PhysioNet, ten times as fast as life (every sample arrives as it was recorded):
    firmware-sim device --link unix:///run/wardline/link.sock --replay mitdb/100.hea --speed 10

  A clock that is an hour ahead, on a link that flips bits and breaks:
    firmware-sim device --link tcp://127.0.0.1:7071 --fault clock-skew=+1h --fault corrupt=0.01 --fault drop-link=15s

  Two hundred devices that arrive on Monday at 08:00, each acknowledged frame written to a ledger:
    firmware-sim fleet --gateway 127.0.0.1:8883 --certs certs --devices 200 --shape monday-8 --ledger acked.txt

Episodes: KIND[=LEVEL]@START+DURATION; desaturation (to LEVEL %), tachycardia and bradycardia (to LEVEL per
minute), probe_off. Durations: 250ms, 90s, 1.5m, 2h, 1d.";

/// What to be.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Be one device on the link of an edge agent.
    Device(DeviceArgs),
    /// Be many devices that publish straight to a gateway, MQTT over mTLS, and time its acknowledgements.
    Fleet(FleetArgs),
}

/// Options of one device.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Where the agent listens: tcp://HOST:PORT or unix:///PATH.
    #[arg(long, default_value = "tcp://127.0.0.1:7071", env = "FIRMWARE_SIM_LINK")]
    link: LinkAddr,
    /// Name of the device; with the seed it decides the synthetic patient.
    #[arg(long, default_value = "sim-1")]
    device: String,
    /// Play this WFDB record (its .hea file) in place of synthetic signals.
    #[arg(long, value_name = "RECORD.hea", conflicts_with_all = ["episode", "device_alarms"])]
    replay: Option<PathBuf>,
    /// Times the speed of life, or max: as fast as the agent takes it.
    #[arg(long, default_value = "1", value_parser = parse_speed)]
    speed: Speed,
    /// Device time of the first sample, unix seconds. Default: now; faster than life, so that the end is now.
    #[arg(long, value_name = "UNIX_SECONDS", allow_negative_numbers = true)]
    start: Option<f64>,
    /// Stop after so much device time. Default: at the record's end, or on Ctrl-C.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Seed of the synthetic signals: same seed and device, same signals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let something happen: KIND[=LEVEL]@START+DURATION. May be given several times.
    #[arg(long)]
    episode: Vec<Episode>,
    /// Let the device raise its own alarms on low SpO2 and on heart rate, beside the gateway's rules.
    #[arg(long)]
    device_alarms: bool,
    /// How long to wait for the last acknowledgements after Ctrl-C or SIGTERM.
    #[arg(long, default_value = "10s", value_parser = duration)]
    drain: Duration,
    /// Do something wrong: corrupt=SHARE, drop-link[=AFTER], clock-skew=+DURATION. May be given several times.
    #[arg(long)]
    fault: Vec<Fault>,
}

impl DeviceArgs {
    /// Makes the library's options.
    pub(crate) fn options(self) -> DeviceOptions {
        let source = match self.replay {
            Some(record) => SourceOptions::Replay(record),
            None => SourceOptions::Synthetic(SynthOptions {
                seed: self.seed,
                episodes: self.episode,
                device_alarms: self.device_alarms,
            }),
        };
        DeviceOptions {
            source,
            speed: self.speed,
            start_us: self.start.map(|seconds| (seconds * 1e6) as i64),
            duration: self.duration,
            drain: self.drain,
            faults: self.fault.into_iter().collect(),
            ..DeviceOptions::new(self.link, &self.device)
        }
    }
}

/// Options of a fleet.
#[derive(Debug, Args)]
#[command(after_help = SHAPES)]
pub(crate) struct FleetArgs {
    /// The gateway's front, HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:8883")]
    gateway: String,
    /// Name in the gateway's certificate. Default: the host of --gateway.
    #[arg(long)]
    server_name: Option<String>,
    /// Version of MQTT: 3.1.1, or 5, in which devices follow a front that sends them elsewhere.
    #[arg(long, default_value = "3.1.1", value_parser = mqtt)]
    mqtt: Mqtt,
    /// Folder of TENANT/DEVICE/{cert.pem,key.pem,ca.pem}, one for each device, as `wardline device issue` writes.
    #[arg(long, value_name = "DIR")]
    certs: PathBuf,
    /// Use the first so many devices of --certs. Default: all.
    #[arg(long)]
    devices: Option<usize>,
    /// How traffic changes over the run: see below.
    #[arg(long, default_value = "steady")]
    shape: Shape,
    /// Frames per second and device, or max: as many as acknowledgements allow.
    #[arg(long, default_value = "1")]
    rate: Rate,
    /// About how large a frame is, bytes.
    #[arg(long, default_value_t = 200)]
    payload_bytes: usize,
    /// Publishes that a device has in flight.
    #[arg(long, default_value_t = 16)]
    inflight: u16,
    /// How long frames are made.
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// Frames that each device makes, at most. Default: as many as the time allows.
    #[arg(long)]
    frames: Option<u64>,
    /// How long to wait for the last acknowledgements.
    #[arg(long, default_value = "30s", value_parser = duration)]
    drain: Duration,
    /// Append a line TENANT/DEVICE EPOCH LANE SEQ to this file for each frame, as it is acknowledged.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const SHAPES: &str = "\
Shapes, over the length of the run:
  steady         the same all the time
  monday-8       three in ten devices at a third of the rate, then all the others arrive, at three times the rate
  flu-x5         rises to five times in the first third, and stays
  reconnect-all  every connection is cut at one half and at three quarters
  ward-code      in the middle third one device in ten sends ten times as much, every other frame an alarm

Every connect is a whole TLS handshake. A frame is sent until it is acknowledged, with the same epoch, lane and
seq. Exit code 1 when frames are left without an acknowledgement.";

impl FleetArgs {
    /// Makes the library's options.
    pub(crate) fn options(self) -> FleetOptions {
        FleetOptions {
            server_name: self.server_name,
            mqtt: self.mqtt,
            devices: self.devices,
            shape: self.shape,
            rate: self.rate,
            payload_bytes: self.payload_bytes,
            inflight_max: self.inflight,
            duration: Some(self.duration),
            frames_max: self.frames,
            drain: self.drain,
            ledger: self.ledger,
            ..FleetOptions::new(&self.gateway, self.certs)
        }
    }
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if times > 0.0 && times.is_finite() => Ok(Speed::Times(times)),
        _ => Err("a speed is a number above 0, or max".to_owned()),
    }
}

fn mqtt(text: &str) -> Result<Mqtt, String> {
    match text {
        "3.1.1" => Ok(Mqtt::V3),
        "5" => Ok(Mqtt::V5),
        _ => Err("3.1.1 or 5".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration is a number and ms, s, m, h or d, such as 90s".to_owned())
}
