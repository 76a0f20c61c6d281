//! What was acknowledged, one line per frame, written as the acknowledgement comes.
//!
//! ```text
//! TENANT/DEVICE EPOCH LANE SEQ\n        LANE one of alarm, numerics
//! ```
//! Lines are handed to the operating system before the fleet goes on; a process that is killed loses none.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use wardline_proto::DeviceKey;
use wardline_proto::frame::FrameHeader;
use wardline_proto::v1::Lane;

/// An open ledger.
#[derive(Debug)]
pub(super) struct Ledger(Mutex<File>);

impl Ledger {
    /// Opens `path` and appends to it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(File::options().create(true).append(true).open(path)?)))
    }

    /// Writes the frames that one read of a socket acknowledged.
    pub(super) fn acked(&self, device: &DeviceKey, frames: &[FrameHeader]) -> io::Result<()> {
        let mut lines = String::new();
        for frame in frames {
            let _ = writeln!(lines, "{device} {} {} {}", frame.epoch, lane_name(frame.lane), frame.seq);
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(lines.as_bytes())
    }
}

fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Alarm => "alarm",
        Lane::Numerics => "numerics",
        Lane::Waveforms => "waveforms",
        Lane::Events => "events",
        Lane::Unspecified => "unspecified",
    }
}
