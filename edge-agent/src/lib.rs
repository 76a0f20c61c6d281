//! The agent beside the device: spools, seals, sends, deletes only on acknowledgement.
//!
//! ```text
//! device ==link (COBS, CRC)==> [link] --frames--> [sealed spool] --alarms first--> [publisher] ==mTLS MQTT==> gateway
//!    <-- acked_seq when durable --'                    '-- leaves only on PUBACK --'
//! ```
//! What the device was told is durable stays until the gateway has it, through a kill of the agent at any moment,
//! outages and refusals; the spool's own bound drops waveforms and then numerics, and says which. The agent needs
//! no gateway to start. Its identity it gets with a claim, keeps fresh and proves to whichever front it calls
//! ([`enrol`]). It does not interpret readings and takes no commands.
//!
//! **Invariant:** a reading is in plaintext only in memory (SEC-3), and in no log line.

mod agent;
mod clock;
mod keeper;
mod lanes;
mod link;
mod notices;
mod onboard;
mod options;
mod publish;
mod service_manager;
mod spool;
mod stats;
pub mod status;
mod tls;

pub use agent::{Agent, AgentError, AgentHandle};
pub use clock::{ClockOptions, ClockSync};
pub use lanes::{LANES, LaneIndex};
pub use link::{LinkAddr, LinkAddrError};
pub use notices::Notice;
pub use onboard::{
    CertificateStatus, Claim, EdgeError, EdgeKind, EnrolOptions, Enrolled, FrontAddr, Pin, Proof,
    RenewalOptions, device_from_serial_number, enrol,
};
pub use options::{AgentOptions, KEEP_ALIVE_MIN, LINK_PORT_DEFAULT, SERVER_PORT_DEFAULT, SPOOL_BYTES_MIN};
pub use publish::BackoffOptions;
pub use service_manager::{is_ready, is_stopping};
pub use spool::SpoolError;
pub use stats::{AgentStats, LaneStats};
pub use tls::TlsError;
