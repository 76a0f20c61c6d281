//! Fronts and workers over a real bus: what an acknowledgement costs by policy, and what a second of each brings.

mod ground;
mod options;
mod policy;
mod scaling;
mod share;

#[path = "../../../../../pipelines/bus/tests/it/nats.rs"]
#[allow(dead_code, reason = "shared with the suite of the bus")]
mod nats;

pub(crate) use options::{Scaling, TierOptions};
pub(crate) use policy::run as policies;
pub(crate) use scaling::run as scaling;

/// Says what the machine does besides: no figure of it means anything without.
fn load() -> String {
    let told = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{build} build, load {}", told.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
