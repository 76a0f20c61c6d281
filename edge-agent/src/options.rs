//! Settings of an agent.

use crate::clock::ClockOptions;
use crate::link::LinkAddr;
use crate::onboard::{FrontAddr, RenewalOptions};
use crate::publish::BackoffOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that an agent is told. [`AgentOptions::new`] takes what has no default.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The one gateway to use, whose certificate must carry this name; `None` uses the list of fronts that the
    /// enrolment put into the folder of the certificates.
    pub server: Option<FrontAddr>,
    /// Folder with `cert.pem`, `key.pem` and `ca.pem`. The certificate names the device.
    pub certs_dir: PathBuf,
    /// Folder of the spool. One device, one spool.
    pub spool_dir: PathBuf,
    /// Where the device connects.
    pub link: LinkAddr,
    /// Bytes of frames that may wait for the gateway. Above 80 % new waveforms are dropped, above 90 % new numerics.
    pub spool_bytes_max: u64,
    /// How long a frame stays after its acknowledgement, so that the gateway can ask for it again. Zero keeps none.
    pub keep_acked: Duration,
    /// Bytes of files that such frames may take, and never more than a quarter of [`spool_bytes_max`](Self::spool_bytes_max).
    pub keep_acked_bytes_max: u64,
    /// Frames in flight, at least 1; alarms may use four more.
    pub in_flight_max: u16,
    /// MQTT keep-alive, at least 5 s.
    pub keep_alive: Duration,
    /// Longest time for TCP, TLS and CONNACK together.
    pub connect_timeout: Duration,
    /// A publish that is not answered in this time makes the agent connect anew.
    pub ack_timeout: Duration,
    /// Longest time that a stop waits for answers.
    pub drain_timeout: Duration,
    /// Delays between connections.
    pub backoff: BackoffOptions,
    /// When the certificate and the list of fronts are renewed.
    pub renewal: RenewalOptions,
    /// What is known of the agent's clock.
    pub clock: ClockOptions,
    /// How often acknowledged positions are saved and segments dropped.
    pub save_interval: Duration,
    /// How often `status.json` is written; `None` writes none.
    pub status_interval: Option<Duration>,
}

/// Port of the gateway's MQTT listener.
pub const SERVER_PORT_DEFAULT: u16 = 8883;
/// Port of the device link.
pub const LINK_PORT_DEFAULT: u16 = 7071;
/// Least keep-alive that the MQTT library takes.
pub const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// Least bound of a spool.
pub const SPOOL_BYTES_MIN: u64 = 1024 * 1024;

impl AgentOptions {
    /// Makes options with defaults: half an hour of a busy monitor's waveforms at least, 16 frames in flight.
    pub fn new(
        server: Option<FrontAddr>,
        certs_dir: impl Into<PathBuf>,
        spool_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            server,
            certs_dir: certs_dir.into(),
            spool_dir: spool_dir.into(),
            link: LinkAddr::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, LINK_PORT_DEFAULT))),
            spool_bytes_max: 256 * 1024 * 1024,
            keep_acked: Duration::from_secs(24 * 3_600),
            keep_acked_bytes_max: 64 * 1024 * 1024,
            in_flight_max: 16,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(2),
            backoff: BackoffOptions::default(),
            renewal: RenewalOptions::default(),
            clock: ClockOptions::default(),
            save_interval: Duration::from_secs(1),
            status_interval: Some(Duration::from_secs(2)),
        }
    }
}
