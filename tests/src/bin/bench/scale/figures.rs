//! What one node was measured to do. Every figure is an option, so that another machine's can be put in.

use clap::Args;

/// Measured figures of one node and of one device.
#[derive(Debug, Clone, Args)]
pub(crate) struct Figures {
    /// CPU of one mTLS connect, microseconds (`bench connections`).
    #[arg(long, default_value_t = 300.0)]
    pub(crate) connect_us: f64,
    /// CPU of one acknowledged publish while few come at a time, microseconds (`bench throughput`, 500x1@2000).
    #[arg(long, default_value_t = 80.0)]
    pub(crate) ack_sparse_us: f64,
    /// The same while many share a sync, microseconds (`bench throughput`, 500x1 at full speed).
    #[arg(long, default_value_t = 14.5)]
    pub(crate) ack_dense_us: f64,
    /// Publishes a second from which the second figure holds; between 2,000 and it the cost falls evenly.
    #[arg(long, default_value_t = 60_000.0)]
    pub(crate) dense_from: f64,
    /// Memory of a session, KiB (`bench connections`).
    #[arg(long, default_value_t = 13.9)]
    pub(crate) session_kib: f64,
    /// CPU of a front for one frame on its way to the bus, microseconds (`bench scaling`, less the second figure).
    #[arg(long, default_value_t = 16.0)]
    pub(crate) relay_us: f64,
    /// CPU of an archive worker for one frame, from the bus to the commit, microseconds (`bench scaling`).
    #[arg(long, default_value_t = 25.0)]
    pub(crate) archive_us: f64,
    /// CPU of an alarm engine for one frame, from the bus to the commit, microseconds (`bench scaling`).
    #[arg(long, default_value_t = 14.5)]
    pub(crate) alert_us: f64,
    /// Bytes of a frame in a front's log.
    #[arg(long, default_value_t = 320.0)]
    pub(crate) frame_bytes: f64,
    /// Bytes of a frame in the archive, merged: four readings of 1.94 bytes.
    #[arg(long, default_value_t = 7.8)]
    pub(crate) archived_bytes: f64,
    /// Frames that a device sends a second.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) frames_per_second: f64,
    /// Cores of a node.
    #[arg(long, default_value_t = 8.0)]
    pub(crate) cores: f64,
    /// Part of a node's cores that the steady load may take; the rest is for reconnects and failures.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) headroom: f64,
    /// Most sessions that a front is given.
    #[arg(long, default_value_t = 50_000.0)]
    pub(crate) sessions_max: f64,
    /// Disk of a front's log, GiB.
    #[arg(long, default_value_t = 200.0)]
    pub(crate) log_gib: f64,
    /// Seconds until a dead worker's partitions are another's: the lease, and loading the engine's state.
    #[arg(long, default_value_t = 12.0)]
    pub(crate) takeover_s: f64,
    /// Connects a second that a front admits, and how many at once after a pause.
    #[arg(long, default_value_t = 2_000.0)]
    pub(crate) admitted_per_second: f64,
    /// See `admitted_per_second`.
    #[arg(long, default_value_t = 20_000.0)]
    pub(crate) admitted_burst: f64,
}

impl Figures {
    /// Returns the CPU of one publish on a front that takes so many a second, from the device to the bus, microseconds.
    pub(crate) fn front_us(&self, per_second: f64) -> f64 {
        const SPARSE: f64 = 2_000.0;
        let span = (self.dense_from / SPARSE).ln();
        let part = ((per_second.max(SPARSE) / SPARSE).ln() / span).min(1.0);
        self.ack_sparse_us + (self.ack_dense_us - self.ack_sparse_us) * part + self.relay_us
    }

    /// Returns the CPU of a worker for one frame, microseconds.
    pub(crate) fn worker_us(&self) -> f64 {
        self.archive_us + self.alert_us
    }
}
