//! What the agent knows of its own clock and of the device's.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use wardline_proto::v1::{Clock, SyncState};

/// systemd-timesyncd makes this file when NTP has set the clock.
const TIMESYNC_MARK: &str = "/run/systemd/timesync/synchronized";

/// How the agent's clock is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockSync {
    /// Ask the system: NTP when systemd-timesyncd says that it has set the clock, else unknown.
    #[default]
    Auto,
    /// Free-running.
    None,
    /// Disciplined by NTP, by other means than systemd-timesyncd.
    Ntp,
}

/// What the operator says about the agent's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClockOptions {
    /// How it is kept.
    pub sync: ClockSync,
    /// Bound on its error, microseconds; 0 when unknown.
    pub uncertainty_us: u32,
}

/// Returns the edge clock, unix microseconds.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The state of both clocks, as frames carry it.
#[derive(Debug, Clone)]
pub(crate) struct ClockState {
    options: ClockOptions,
    device_offset_us: i64,
}

impl ClockState {
    pub(crate) fn new(options: ClockOptions) -> Self {
        Self { options, device_offset_us: 0 }
    }

    /// Takes a coincident reading of both clocks.
    pub(crate) fn coincide(&mut self, edge_now_us: i64, device_now_us: i64) {
        self.device_offset_us = edge_now_us.saturating_sub(device_now_us);
    }

    /// What a frame of the device carries.
    pub(crate) fn of_device(&self) -> Clock {
        Clock { device_offset_us: self.device_offset_us, ..self.of_agent() }
    }

    /// What a frame that the agent itself makes carries: its times are edge times.
    pub(crate) fn of_agent(&self) -> Clock {
        let ClockOptions { sync, uncertainty_us } = self.options;
        Clock { device_offset_us: 0, uncertainty_us, sync_state: sync_state(sync).into() }
    }
}

fn sync_state(sync: ClockSync) -> SyncState {
    match sync {
        ClockSync::None => SyncState::None,
        ClockSync::Ntp => SyncState::Ntp,
        ClockSync::Auto if Path::new(TIMESYNC_MARK).exists() => SyncState::Ntp,
        ClockSync::Auto => SyncState::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_edge_minus_device() {
        let mut clock = ClockState::new(ClockOptions { sync: ClockSync::Ntp, uncertainty_us: 500 });
        clock.coincide(1_000, 1_250);
        let frame = clock.of_device();
        assert_eq!((frame.device_offset_us, frame.uncertainty_us), (-250, 500));
        assert_eq!(frame.sync_state(), SyncState::Ntp);
        assert_eq!(clock.of_agent().device_offset_us, 0);
    }
}
