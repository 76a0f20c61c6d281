//! The conformance kit: holds a device to its profile on a gateway of its own, and says what it saw.
//!
//! ```text
//! device ==mTLS MQTT==> proxy (delays, swallows, refuses, cuts) ==> gateway --journal--> tail --> seen --> checks
//! ```
//! The proxy sees no plaintext and the checks see what was accepted and durable: the device talks to the gateway that
//! hospitals run, not to a stand-in. `docs/conformance.md` says what each check means.
//!
//! **Invariant:** a judge is a pure function of what was seen; it reads no clock, no file and no socket.

mod check;
mod hello;
mod limits;
mod proxy;
mod report;
mod script;
mod seen;
mod simulate;
mod stage;
mod tail;
#[cfg(test)]
mod tests;

pub use report::Report;
pub use simulate::Fault;

use anyhow::bail;
use limits::{DURATION_MAX, DURATION_MIN};
use script::Script;
use simulate::Simulation;
use stage::Stage;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use wardline_profile::Profile;
use wardline_proto::v1::UpChannel;
use wardline_proto::{DeviceId, topic};

/// What a run is told.
#[derive(Debug, Clone)]
pub struct ConformOptions {
    /// What the device promises.
    pub profile: Profile,
    /// Its id.
    pub device: DeviceId,
    /// Where it connects.
    pub listen: SocketAddr,
    /// Names that the gateway's certificate carries besides those of loopback.
    pub hosts: Vec<String>,
    /// Folder that keeps authority and certificates from run to run; thrown away with the run when none is given.
    pub identity: Option<PathBuf>,
    /// How long it is watched and disturbed; waiting for it to come back is on top.
    pub duration: Duration,
    /// How long to wait for its first session.
    pub wait: Duration,
    /// Simulate a device; one that does something wrong when there is a fault.
    pub simulate: Option<Option<Fault>>,
}

/// Runs the whole script and judges. `say` is told what happens, a line at a time.
pub async fn run(options: &ConformOptions, say: &mut (dyn FnMut(&str) + Send)) -> anyhow::Result<Report> {
    if !(DURATION_MIN..=DURATION_MAX).contains(&options.duration) {
        bail!("a run takes from {} s to {} h", DURATION_MIN.as_secs(), DURATION_MAX.as_secs() / 3600);
    }
    let stage = Stage::open(options).await?;
    introduce(&stage, say);
    let simulation = match options.simulate {
        None => None,
        Some(fault) => Some(Simulation::start(fault, &stage).await?),
    };
    let mut script = Script::new(&stage, options.profile.clone(), options.duration, say)?;
    let ran = tokio::select! {
        ran = script.run(options.wait) => ran,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted: no report")),
    };
    if let Some(simulation) = simulation {
        simulation.stop().await?;
    }
    ran?;
    let (seen, judged) = script.finish().await?;
    let device = stage.key().to_string();
    let simulated = options.simulate.map(|fault| match fault {
        None => "firmware-sim behind the edge agent".to_owned(),
        Some(fault) => format!("a device with the fault {}", fault.name()),
    });
    stage.close().await?;
    Ok(Report::new(device, simulated, &seen, judged))
}

/// Tells the maker where to connect and as whom.
fn introduce(stage: &Stage, say: &mut (dyn FnMut(&str) + Send)) {
    let (key, certs) = (stage.key(), stage.certs().display());
    say(&format!("connect to   mqtts://{}  (MQTT 5 or 3.1.1, TLS 1.3)", stage.proxy().addr()));
    say(&format!("client id    {}  (or empty)", key.device));
    say(&format!("certificate  {certs}/cert.pem, key {certs}/key.pem, trust {certs}/ca.pem"));
    for channel in [UpChannel::Telemetry, UpChannel::Alarm, UpChannel::Event] {
        let topic = topic::up(key, channel).unwrap_or_default();
        say(&format!("publish on   {topic}"));
    }
}
