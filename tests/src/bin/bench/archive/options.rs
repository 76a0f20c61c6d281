//! What can be asked of the archive's measurements.

use clap::Args;
use std::path::PathBuf;

/// Options of `archive-size`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArchiveSize {
    /// Synthetic patients.
    #[arg(long, default_value_t = 4)]
    pub(crate) patients: usize,
    /// Days of their readings.
    #[arg(long, default_value_t = 2)]
    pub(crate) days: i64,
    /// Minutes of each day in which their waveforms are kept too.
    #[arg(long, default_value_t = 20)]
    pub(crate) wave_minutes: i64,
    /// Decides all signals.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder of PhysioNet records to measure too.
    #[arg(long, env = "WARDLINE_RECORDINGS")]
    pub(crate) recordings: Option<PathBuf>,
    /// Only what other layouts of the synthetic ward's files take.
    #[arg(long)]
    pub(crate) layouts: bool,
}

impl ArchiveSize {
    pub(crate) fn quick(&mut self) {
        (self.patients, self.days) = (self.patients.min(1), self.days.min(1));
    }
}

/// Options of `archive-write`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArchiveWrite {
    /// Synthetic patients.
    #[arg(long, default_value_t = 8)]
    pub(crate) patients: usize,
    /// Minutes of their readings, four a second and patient.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) minutes: i64,
    /// Rounds; the worker and the bare writer alternate, and so do the sizes of frames.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of readings in a frame, one size after another. An agent sends what a device gives it, body by body, and
    /// the simulated monitor gives a second.
    #[arg(long, value_delimiter = ',', default_value = "1,10,60", value_parser = clap::value_parser!(i64).range(1..=600))]
    pub(crate) frame_s: Vec<i64>,
    /// Decides all signals.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl ArchiveWrite {
    pub(crate) fn quick(&mut self) {
        (self.minutes, self.rounds) = (self.minutes.min(60), self.rounds.min(2));
    }
}

/// Options of `query`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArchiveQuery {
    /// Synthetic patients, half of them in each of two wards.
    #[arg(long, default_value_t = 4)]
    pub(crate) patients: usize,
    /// Days of their readings; growth is from one day to all of them.
    #[arg(long, default_value_t = 10)]
    pub(crate) days: i64,
    /// Minutes of each day in which their waveforms are kept too.
    #[arg(long, default_value_t = 5)]
    pub(crate) wave_minutes: i64,
    /// Times that each question is asked, in turn with DuckDB, after it is warm.
    #[arg(long, default_value_t = 9)]
    pub(crate) rounds: usize,
    /// Keeps the data in this folder, or asks what an earlier run with the same options has kept there.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Decides all signals.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl ArchiveQuery {
    pub(crate) fn quick(&mut self) {
        (self.patients, self.days, self.rounds) =
            (self.patients.min(2), self.days.min(2), self.rounds.min(3));
    }
}
