//! How many nodes a number of devices takes, by the measured figures alone.

use super::figures::Figures;
use wardline_proto::limits::PARTITIONS;

/// A cluster for so many devices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Devices.
    pub(crate) devices: usize,
    /// Fronts; one more than the load needs, at least two.
    pub(crate) fronts: usize,
    /// Workers of archive and alarms; likewise.
    pub(crate) workers: usize,
    /// Partitions, fixed when the cluster is made.
    pub(crate) partitions: usize,
}

/// Partitions per worker, so that a lost one's are spread.
const PARTITIONS_PER_WORKER: usize = 8;

impl Plan {
    /// Makes the smallest cluster that stands the loss of one node of each kind at the steady load.
    pub(crate) fn new(figures: &Figures, devices: usize) -> Self {
        let frames = devices as f64 * figures.frames_per_second;
        let budget_us = figures.cores * figures.headroom * 1e6;
        let mut fronts = 1;
        while {
            let each = frames / fronts as f64;
            each * figures.front_us(each) > budget_us || devices as f64 / fronts as f64 > figures.sessions_max
        } {
            fronts += 1;
        }
        let workers = (frames * figures.worker_us() / budget_us).ceil().max(1.0) as usize;
        let workers = workers + 1;
        Self {
            devices,
            fronts: fronts + 1,
            workers,
            partitions: (workers * PARTITIONS_PER_WORKER).next_power_of_two().min(PARTITIONS.into()),
        }
    }

    /// Returns frames a second of all devices.
    pub(crate) fn frames(&self, figures: &Figures) -> f64 {
        self.devices as f64 * figures.frames_per_second
    }

    /// Returns the cores that the steady load takes: of the fronts, of the workers.
    pub(crate) fn busy(&self, figures: &Figures) -> (f64, f64) {
        let frames = self.frames(figures);
        let each = frames / self.fronts as f64;
        (frames * figures.front_us(each) / 1e6, frames * figures.worker_us() / 1e6)
    }
}
