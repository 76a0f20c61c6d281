//! CPU time, finer than the ticks of `/proc/PID/stat`.

use anyhow::Context;
use std::time::Duration;

/// Returns the CPU time of the calling thread.
pub(crate) fn thread_cpu() -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("schedstat")?;
    let nanos = text.split_whitespace().next().context("schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}
