//! Every bound of a conformance run (LIM-1).

use std::time::Duration;

/// Frames that a run keeps; a run that sees more ends with an error that says so.
pub(super) const FRAMES_MAX: usize = 200_000;
/// Ways to break the profile that a run keeps apart.
pub(super) const BROKEN_MAX: usize = 256;
/// Connections that a run keeps; later ones are relayed and counted only.
pub(super) const LINES_MAX: usize = 10_000;
/// Connections that are relayed at the same time.
pub(super) const OPEN_LINES_MAX: usize = 32;
/// Bytes of a server's first flight that are looked at for the TLS version.
pub(super) const HELLO_BYTES_MAX: usize = 2048;
/// Bytes of one read of a relay.
pub(super) const RELAY_BYTES: usize = 16 * 1024;
/// How often the journal and the clock are looked at.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// Journal bytes looked at per step.
pub(super) const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Cuts of a connection; jitter cannot be seen in fewer than three.
pub(super) const CUTS: usize = 3;
/// What every byte waits in the slow step.
pub(super) const DELAY: Duration = Duration::from_millis(150);
/// On top of what the profile allows, before a step gives up waiting.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Shortest run.
pub(super) const DURATION_MIN: Duration = Duration::from_secs(8);
/// Longest run.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
