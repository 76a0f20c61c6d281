//! The demo's cast: simulated monitors, each with an agent and a certificate of its own.

use anyhow::Context;
use firmware_sim::synth::{Episode, EpisodeKind};
use firmware_sim::{DeviceError, DeviceOptions, DeviceReport, SourceOptions, SynthOptions, run_device};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardline_edge::{Agent, AgentHandle, AgentOptions};

/// Frames that agents may still owe when the devices have stopped.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
const DESATURATION_START: Duration = Duration::from_secs(3);

/// What the cast is told.
pub(crate) struct CastOptions {
    /// Number of devices.
    pub(crate) devices: usize,
    /// How long they measure.
    pub(crate) duration: Duration,
    /// A WFDB record that the first device plays.
    pub(crate) replay: Option<PathBuf>,
    /// Port of the gateway's MQTT listener on loopback.
    pub(crate) mqtt_port: u16,
    /// Folder with a folder per device, certificates inside.
    pub(crate) dir: PathBuf,
}

/// The running devices and agents.
pub(crate) struct Cast {
    members: Vec<Member>,
    stop: watch::Sender<bool>,
}

struct Member {
    agent: AgentHandle,
    device: JoinHandle<Result<DeviceReport, DeviceError>>,
}

/// Returns the name of the device with this number, from 0.
pub(crate) fn device_name(number: usize) -> String {
    format!("monitor-{}", number + 1)
}

/// Returns the folder of a device's certificates.
pub(crate) fn certs_dir(dir: &Path, device: &str) -> PathBuf {
    dir.join(device).join("certs")
}

impl Cast {
    /// Starts every agent, then every device.
    pub(crate) async fn start(options: &CastOptions) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut members = Vec::with_capacity(options.devices);
        for number in 0..options.devices {
            let name = device_name(number);
            let agent = Agent::start(agent_options(options, &name))
                .await
                .with_context(|| format!("start the agent of {name}"))?;
            let device = tokio::spawn(run_device(device_options(options, number, &agent)?, stopped.clone()));
            members.push(Member { agent, device });
        }
        Ok(Self { members, stop })
    }

    /// Returns frames made and frames acknowledged of the device with this number.
    pub(crate) fn sent_and_acked(&self, number: usize) -> (u64, u64) {
        self.members.get(number).map_or((0, 0), |member| {
            let total = member.agent.stats().total();
            (total.framed, total.acked)
        })
    }

    /// Says whether every device has finished measuring and its agent has taken all.
    pub(crate) fn is_done(&self) -> bool {
        self.members.iter().all(|member| member.device.is_finished())
    }

    /// Waits until the agents owe nothing more; false when one still does after a while.
    pub(crate) async fn drain(&mut self) -> anyhow::Result<bool> {
        let _ = self.stop.send(true);
        let mut complete = true;
        for member in &mut self.members {
            let report =
                (&mut member.device).await.context("a device panicked")?.context("a device failed")?;
            complete &= report.complete && member.agent.wait_until_sent(SEND_TIMEOUT).await;
        }
        Ok(complete)
    }

    /// Stops the agents.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        for member in self.members {
            member.agent.shutdown().await.context("stop an agent")?;
        }
        Ok(())
    }
}

fn agent_options(options: &CastOptions, name: &str) -> AgentOptions {
    let dir = options.dir.join(name);
    let server = wardline_edge::FrontAddr { host: "localhost".to_owned(), port: options.mqtt_port };
    let mut agent = AgentOptions::new(Some(server), certs_dir(&options.dir, name), dir.join("spool"));
    agent.link = wardline_edge::LinkAddr::Tcp(([127, 0, 0, 1], 0).into());
    agent
}

fn device_options(
    options: &CastOptions,
    number: usize,
    agent: &AgentHandle,
) -> anyhow::Result<DeviceOptions> {
    let link = agent.link_addr().to_string().parse().context("address of the device link")?;
    let mut device = DeviceOptions::new(link, &device_name(number));
    device.duration = Some(options.duration);
    device.source = match &options.replay {
        Some(record) if number == 0 => SourceOptions::Replay(record.clone()),
        _ => SourceOptions::Synthetic(SynthOptions {
            seed: 1,
            episodes: episodes(options, number),
            device_alarms: false,
        }),
    };
    Ok(device)
}

/// One desaturation, on the last device, over early enough that its alert ends within the demo.
fn episodes(options: &CastOptions, number: usize) -> Vec<Episode> {
    if number + 1 != options.devices {
        return Vec::new();
    }
    let duration = (options.duration / 2).saturating_sub(DESATURATION_START);
    vec![Episode { kind: EpisodeKind::Desaturation, level: 82.0, start: DESATURATION_START, duration }]
}
