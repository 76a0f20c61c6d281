//! The command line: what it takes, and options made of it.

use clap::{Args, Parser, Subcommand};
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
    firmware-sim device --link tcp://127.0.0.1:7001 --episode desaturation@20s+30s

  A recording of PhysioNet, ten times as fast as life (every sample arrives as it was recorded):
    firmware-sim device --link unix:///run/wardline/link.sock --replay mitdb/100.hea --speed 10

  A clock that is an hour ahead, on a link that flips bits and breaks:
    firmware-sim device --link tcp://127.0.0.1:7001 --fault clock-skew=+1h --fault corrupt=0.01 --fault drop-link=15s

Episodes: KIND[=LEVEL]@START+DURATION; desaturation (to LEVEL %), tachycardia and bradycardia (to LEVEL per
minute), probe_off. Durations: 250ms, 90s, 1.5m, 2h, 1d.";

/// What to be.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Be one device on the link of an edge agent.
    Device(DeviceArgs),
}

/// Options of one device.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Where the agent listens: tcp://HOST:PORT or unix:///PATH.
    #[arg(long, default_value = "tcp://127.0.0.1:7001", env = "FIRMWARE_SIM_LINK")]
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
            faults: self.fault.into_iter().collect(),
            ..DeviceOptions::new(self.link, &self.device)
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

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration is a number and ms, s, m, h or d, such as 90s".to_owned())
}
