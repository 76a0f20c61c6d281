//! A fleet: N devices with certificates of their own in one process, straight to a gateway's front.
//!
//! ```text
//! per device: shape x rate -> frames numbered per (epoch, lane) -> window -> MQTT QoS 1 over mTLS
//!                                                                  ^ PUBACK -> ledger, counters, latency
//! ```
//! A frame is made once and sent until it is acknowledged, on as many connections as that takes, always with the same
//! epoch, lane and seq: so every line of the ledger can be looked for in the archive, exactly once.
//!
//! The codec is rumqttc's; its event loop is not used, so that an acknowledgement is timed when it is read.

mod certs;
mod frames;
mod front;
mod ledger;
mod pace;
mod report;
mod session;
mod shape;
mod window;
mod wire;

pub use certs::{CertsError, DEVICES_MAX};
pub use pace::{Rate, RateError};
pub use report::{FleetReport, FleetStats, Percentiles};
pub use shape::{Demand, Shape, ShapeError};
pub use wire::Mqtt;

use certs::Credentials;
use frames::Frames;
use front::Front;
use ledger::Ledger;
use pace::Pace;
use session::{Device, Fleet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use wardline_proto::limits::{PAYLOAD_BYTES_MAX, RECEIVE_MAXIMUM};

/// The run of a fleet that is bounded by frames or by shutdown alone.
const RUN_MAX: Duration = Duration::from_secs(365 * 86_400);

/// What a fleet is and does.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// The front, `HOST:PORT`.
    pub gateway: String,
    /// Name in the front's certificate; `None`: the host of `gateway`.
    pub server_name: Option<String>,
    /// The version of MQTT.
    pub mqtt: Mqtt,
    /// Folder of `{tenant}/{device}/{cert.pem,key.pem,ca.pem}`.
    pub certs: PathBuf,
    /// Use the first so many devices of `certs`; `None`: all.
    pub devices: Option<usize>,
    /// How traffic changes over the run.
    pub shape: Shape,
    /// Frames of each device.
    pub rate: Rate,
    /// About how large a frame is, bytes.
    pub payload_bytes: usize,
    /// Publishes that a device has in flight, at most [`RECEIVE_MAXIMUM`].
    pub inflight_max: u16,
    /// How long frames are made; `None`: until `frames_max` or shutdown.
    pub duration: Option<Duration>,
    /// Frames that each device makes; `None`: as many as the time allows.
    pub frames_max: Option<u64>,
    /// How long to wait for the last acknowledgements.
    pub drain: Duration,
    /// Where each acknowledged frame is written: a line `TENANT/DEVICE EPOCH LANE SEQ`, appended as it is acked.
    pub ledger: Option<PathBuf>,
    /// Counters, shared with whoever watches.
    pub stats: Arc<FleetStats>,
}

impl FleetOptions {
    /// Returns a steady fleet of one 200-byte frame per second and device, for a minute.
    pub fn new(gateway: &str, certs: PathBuf) -> Self {
        Self {
            gateway: gateway.to_owned(),
            server_name: None,
            mqtt: Mqtt::default(),
            certs,
            devices: None,
            shape: Shape::Steady,
            rate: Rate::PerSecond(1.0),
            payload_bytes: 200,
            inflight_max: 16,
            duration: Some(Duration::from_secs(60)),
            frames_max: None,
            drain: Duration::from_secs(30),
            ledger: None,
            stats: Arc::default(),
        }
    }
}

/// Says why a fleet could not run.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No usable certificates.
    #[error(transparent)]
    Certs(#[from] CertsError),
    /// The gateway's address has no host that a certificate could name.
    #[error("{0} is not HOST:PORT")]
    Gateway(String),
    /// The payload or the window lies outside the limits of the wire.
    #[error("payloads are at most {PAYLOAD_BYTES_MAX} bytes, and 1 to {RECEIVE_MAXIMUM} are in flight")]
    Limits,
    /// The ledger cannot be written.
    #[error("cannot write the ledger")]
    Ledger(#[source] std::io::Error),
}

/// Runs a fleet until its duration is over, every device made its frames, or `shutdown` turns true (or its sender is
/// gone); then waits for acknowledgements, `drain` at most.
pub async fn run_fleet(
    options: FleetOptions,
    mut shutdown: watch::Receiver<bool>,
) -> Result<FleetReport, FleetError> {
    let sized = options.payload_bytes <= PAYLOAD_BYTES_MAX - 1024;
    if !sized || !(1..=RECEIVE_MAXIMUM).contains(&options.inflight_max) {
        return Err(FleetError::Limits);
    }
    let credentials = certs::load(&options.certs, options.devices)?;
    let ledger = options.ledger.as_deref().map(Ledger::open).transpose().map_err(FleetError::Ledger)?;
    let (devices, run) = (credentials.len(), options.duration.unwrap_or(RUN_MAX));
    let (cut, cuts) = watch::channel(0);
    let (stop, stopped) = watch::channel(false);
    let fleet = Arc::new(Fleet {
        front: Front::new(&options.gateway, options.server_name.as_deref())
            .ok_or_else(|| FleetError::Gateway(options.gateway.clone()))?,
        mqtt: options.mqtt,
        begun: Instant::now(),
        drain: options.drain,
        stats: Arc::clone(&options.stats),
        ledger,
        cuts,
        shutdown: stopped,
    });
    let cutter = async {
        for at in options.shape.cuts() {
            sleep_until(fleet.begun + run.mul_f64(*at)).await;
            cut.send_modify(|cuts| *cuts += 1);
        }
        std::future::pending::<()>().await;
    };
    let stopper = async {
        let _ = shutdown.wait_for(|stop| *stop).await;
        let _ = stop.send(true);
        std::future::pending::<()>().await;
    };
    let tasks = spawn_all(credentials, run, &options, &fleet);
    tokio::select! {
        ended = join_all(tasks) => ended?,
        () = cutter => {}
        () = stopper => {}
    }
    Ok(options.stats.report(options.shape.name(), devices, fleet.begun.elapsed()))
}

/// Starts every device. Dropping the set aborts them; a frame without a PUBACK is then simply not acknowledged.
fn spawn_all(
    credentials: Vec<Credentials>,
    run: Duration,
    options: &FleetOptions,
    fleet: &Arc<Fleet>,
) -> JoinSet<std::io::Result<()>> {
    let epoch = UNIX_EPOCH.elapsed().map_or(1, |d| d.as_micros() as u64);
    let devices = credentials.len();
    let mut tasks = JoinSet::new();
    for (index, credentials) in credentials.into_iter().enumerate() {
        let (shape, rate, left) = (options.shape, options.rate, options.frames_max.unwrap_or(u64::MAX));
        let pace = Pace { shape, rate, run, index, devices, next_due: Duration::ZERO, left };
        let frames = Frames::new(epoch, options.payload_bytes);
        if let Some(device) = Device::new(credentials, pace, frames, (options.mqtt, options.inflight_max)) {
            tasks.spawn(session::run(device, Arc::clone(fleet)));
        }
    }
    tasks
}

async fn join_all(mut tasks: JoinSet<std::io::Result<()>>) -> Result<(), FleetError> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(std::io::Error::other).and_then(|end| end).map_err(FleetError::Ledger)?;
    }
    Ok(())
}
