//! A simulated bedside monitor, a player of real recordings, and a fleet of devices as a load generator.
//!
//! - [`run_device`]: one device on its agent's link, synthetic ([`synth`]) or from a WFDB record ([`replay`]).
//! - [`fleet::run_fleet`]: many devices straight to a gateway's front, healthcare traffic shapes, latencies.
//! - [`wfdb::Record`]: reads PhysioNet records exactly, for playing and for comparing an archive with them.
//!
//! **Invariant:** signals depend on seed, device name and the count of seconds alone; clocks are read only in
//! [`device`] and in the fleet.

pub mod device;
pub mod faults;
pub mod fleet;
pub mod link;
pub mod outbox;
pub mod replay;
pub mod source;
pub mod stats;
pub mod synth;
pub mod wfdb;

pub use device::{DeviceError, DeviceOptions, DeviceReport, Speed, run_device};
pub use faults::{Fault, Faults};
pub use fleet::{FleetOptions, FleetReport, run_fleet};
pub use link::LinkAddr;
pub use source::SourceOptions;
pub use stats::DeviceStats;
pub use synth::{Episode, SynthOptions};
