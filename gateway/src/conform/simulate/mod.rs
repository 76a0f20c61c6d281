//! A device for the kit to look at when there is none: the simulator behind the edge agent, which keeps its profile,
//! or a small device of our own that does one thing wrong.

mod crook;
mod outbox;

use super::stage::Stage;
use anyhow::Context;
use clap::ValueEnum;
use crook::Crook;
use firmware_sim::synth::{Episode, EpisodeKind};
use firmware_sim::{DeviceError, DeviceOptions, DeviceReport, SourceOptions, SynthOptions, run_device};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardline_edge::{Agent, AgentHandle, AgentOptions, BackoffOptions, ClockOptions, ClockSync, FrontAddr};

/// Every so often the simulated probe comes off, so that an outage has alarms in it.
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_OFF: Duration = Duration::from_secs(1);
/// Enough for the longest run that anybody simulates.
const PROBE_TIMES: u32 = 3600;
const STOP_MAX: Duration = Duration::from_secs(5);

/// What a simulated device does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Nothing: the small device keeps its profile too.
    None,
    /// Saturation as a share of one, in the unit `1`.
    WrongUnit,
    /// A heart rate of 900 now and then.
    OutOfRange,
    /// Every other heart rate is missing: half the cadence.
    WrongCadence,
    /// Sends a measurement that the profile does not have.
    Undeclared,
    /// Publishes under another device's topic now and then.
    WrongTopicDevice,
    /// A clock that is an hour ahead.
    ClockOff,
    /// Keeps nothing: what cannot be sent at once is forgotten.
    NoSpool,
    /// Sends other content again under the same position.
    ResendChanged,
    /// A new epoch with each connection.
    NewEpoch,
    /// Alarms wait behind telemetry.
    AlarmsLast,
    /// Connects again at once, and again.
    NoBackoff,
}

impl Fault {
    /// Returns the name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A simulated device under way.
pub(super) enum Simulation {
    /// The simulator and the agent.
    Agent {
        agent: AgentHandle,
        device: JoinHandle<Result<DeviceReport, DeviceError>>,
        stop: watch::Sender<bool>,
    },
    /// The small device.
    Crook { device: JoinHandle<()>, stop: watch::Sender<bool> },
}

impl Simulation {
    /// Connects a device to the stage.
    pub(super) async fn start(fault: Option<Fault>, stage: &Stage) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let Some(fault) = fault else { return Self::agent(stage, stop, stopped).await };
        let crook = Crook::new(fault, stage, synth())?;
        Ok(Self::Crook { device: tokio::spawn(crook.run(stopped)), stop })
    }

    async fn agent(
        stage: &Stage,
        stop: watch::Sender<bool>,
        stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let server = FrontAddr { host: "localhost".to_owned(), port: stage.proxy().addr().port() };
        let mut options = AgentOptions::new(Some(server), stage.certs(), stage.dir().join("spool"));
        options.link = wardline_edge::LinkAddr::Tcp(([127, 0, 0, 1], 0).into());
        options.clock = ClockOptions { sync: ClockSync::Ntp, uncertainty_us: 10_000 };
        // A short run has no minute to wait for the default's longest delay.
        options.backoff =
            BackoffOptions { delay_min: Duration::from_millis(500), delay_max: Duration::from_secs(2) };
        options.status_interval = None;
        let agent = Agent::start(options).await.context("start the agent")?;
        let link = agent.link_addr().to_string().parse().context("address of the device link")?;
        let mut device = DeviceOptions::new(link, stage.key().device.as_str());
        device.source = SourceOptions::Synthetic(synth());
        Ok(Self::Agent { agent, device: tokio::spawn(run_device(device, stopped)), stop })
    }

    /// Stops the device in order: it sends what it has, then takes leave.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Agent { agent, device, stop } => {
                let _ = stop.send(true);
                device.await.context("the device panicked")?.context("the device failed")?;
                agent.wait_until_sent(STOP_MAX).await;
                agent.shutdown().await.context("stop the agent")?;
            }
            Self::Crook { device, stop } => {
                let _ = stop.send(true);
                device.await.context("the device panicked")?;
            }
        }
        Ok(())
    }
}

/// A monitor whose probe comes off every two seconds.
fn synth() -> SynthOptions {
    let off = |n: u32| Episode {
        kind: EpisodeKind::ProbeOff,
        level: 0.0,
        start: PROBE_EVERY * n + PROBE_OFF,
        duration: PROBE_OFF,
    };
    SynthOptions { seed: 1, episodes: (0..PROBE_TIMES).map(off).collect(), device_alarms: false }
}
