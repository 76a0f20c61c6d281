//! The bus against its engines. One conformance suite, run by every engine: the reference in memory always, a real
//! JetStream of three nodes with the feature `jetstream`, a real Fluvio with the feature `fluvio` and `WARDLINE_FLUVIO`.
//!
//! The reference in memory stands for nothing but itself: it shows that the suite is right and lets the supervision
//! be tested with faults that a real engine shows once a year.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod conformance;
mod feed;
#[cfg(feature = "fluvio")]
mod fluvio;
mod follow;
#[cfg(feature = "jetstream")]
mod jetstream;
mod memory;
#[cfg(feature = "jetstream")]
mod nats;
mod pump;
mod supervision;
#[cfg(feature = "jetstream")]
mod tls;
