//! A device, a gateway and certificates for the agent's tests. Real TLS, real sockets, real files.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part of it"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod command;
mod device;
mod est;
mod gateway;
mod pki;

pub use command::Enrolment;
pub use device::Device;
pub use est::{Est, Hold, Signer, State as EstState};
pub use gateway::{Gateway, Reaction, Received, Welcome};
pub use pki::{Life, Pki, serial};

use std::path::Path;
use std::time::Duration;
use wardline_edge::{
    Agent, AgentHandle, AgentOptions, BackoffOptions, EnrolOptions, FrontAddr, LinkAddr, Proof,
};
use wardline_proto::DeviceId;
use wardline_proto::v1::{Body, DeviceAlarm, NumericSeries, WaveformBlock};

/// How long any test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Options with short delays for an agent of `certs`.
pub fn options(certs: &Path, spool: &Path, port: u16) -> AgentOptions {
    let server = FrontAddr { host: "localhost".to_owned(), port };
    let mut options = AgentOptions::new(Some(server), certs, spool);
    options.link = LinkAddr::Tcp(([127, 0, 0, 1], 0).into());
    options.ack_timeout = Duration::from_millis(600);
    options.backoff =
        BackoffOptions { delay_min: Duration::from_millis(40), delay_max: Duration::from_millis(400) };
    options.save_interval = Duration::from_millis(50);
    options
}

/// Enrols m-1 and returns options, with short delays, that go by the list of fronts.
pub async fn enrolled(est: &Est, dir: &Path) -> AgentOptions {
    let enrolment = EnrolOptions {
        url: est.url.clone(),
        proof: Proof::Claim(est.claim().parse().unwrap()),
        device: DeviceId::new("m-1").unwrap(),
        serial_number: None,
        certs_dir: dir.join("certs"),
    };
    wardline_edge::enrol(&enrolment).await.unwrap();
    let mut options = options(&dir.join("certs"), &dir.join("spool"), 1);
    options.server = None;
    options.status_interval = Some(Duration::from_millis(50));
    options.renewal.retry =
        BackoffOptions { delay_min: Duration::from_millis(50), delay_max: Duration::from_millis(300) };
    options
}

/// Starts an agent.
pub async fn start(options: AgentOptions) -> AgentHandle {
    Agent::start(options).await.unwrap()
}

/// Starts a gateway, an agent that calls it, and a device on its link; first comes what has to outlive them: the spool's
/// folder and the certificates.
pub async fn connected() -> ((tempfile::TempDir, Pki), Gateway, AgentHandle, Device) {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    let agent = start(options(&pki.device("m-1"), dir.path(), gateway.addr.port())).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    ((dir, pki), gateway, agent, device)
}

/// Waits until `done`, or fails after [`PATIENCE`].
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let due = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < due, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A numeric reading whose value tells it apart.
pub fn numeric(value: f64) -> Body {
    let series = NumericSeries {
        mdc_code: 150_456,
        ucum_unit: "%".into(),
        start_us: 1,
        time_deltas_us: vec![0],
        values: vec![value],
        statuses: Vec::new(),
    };
    Body { numerics: vec![series], ..Body::default() }
}

/// A waveform block that does not compress.
pub fn waveform(seed: i32, samples: usize) -> Body {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut step = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        state >> 8
    };
    let block = WaveformBlock {
        mdc_code: 131_330,
        ucum_unit: "mV".into(),
        start_us: 1,
        interval_ns: 4_000_000,
        sample_deltas: (0..samples).map(|_| step()).collect(),
        scale: 1.0,
        offset: 0.0,
        gaps: Vec::new(),
    };
    Body { waveforms: vec![block], ..Body::default() }
}

/// A device alarm.
pub fn alarm(condition: &str) -> Body {
    let alarm = DeviceAlarm { condition_id: condition.into(), mdc_code: 196_670, ..DeviceAlarm::default() };
    Body { alarms: vec![alarm], ..Body::default() }
}
