//! Settings of the archive, with their bounds.

use crate::bucket::BucketOptions;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the archive worker.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// Root of the archive's files, unless they lie in a bucket.
    pub dir: PathBuf,
    /// The bucket that they lie in instead.
    pub bucket: Option<BucketOptions>,
    /// Rows wait this long for others before a commit.
    pub flush_interval: Duration,
    /// Rows that wait at most.
    pub flush_rows_max: usize,
    /// Bytes that wait at most, as held in memory.
    pub flush_bytes_max: usize,
    /// Bytes that one read of the journal takes.
    pub read_bytes_max: usize,
    /// A clock this far from the front's makes readings suspect.
    pub clock_bound: Duration,
    /// A device time this far after ingest is no clock error: quarantine.
    pub future_bound: Duration,
    /// Streams kept in memory between commits; others are read from the catalog again.
    pub streams_cached_max: usize,
    /// Epochs that one lane of a device may open; more go to the quarantine.
    pub epochs_max: u64,
    /// A change of the registry's profiles takes effect within this.
    pub profile_poll: Duration,
    /// Between two looks for frames of the quarantine that somebody asked to judge again.
    pub replay_poll: Duration,
    /// Between two looks for what is to be erased.
    pub erasure_poll: Duration,
    /// Between two looks for hours that have come to rest and are not archived.
    pub completeness_interval: Duration,
    /// Between two looks for small files to merge; none: they stay as they are.
    pub compact_interval: Option<Duration>,
    /// Small files of one table, tenant, day and partition that are worth a merge; two of a day that is over.
    pub compact_files_min: usize,
    /// Files in one merge.
    pub compact_files_max: usize,
    /// Rows in one merge.
    pub compact_rows_max: u64,
    /// Bytes of the rows in one merge, as held in memory, where they are twice at once; a file whose rows take half of it
    /// is left as it is.
    pub compact_memory_max: usize,
    /// Bytes of the files in one merge; a file of half of it is left as it is.
    pub compact_bytes: u64,
    /// Replaced files stay this long for readers that listed them.
    pub retired_grace: Duration,
    /// First pause after a storage failure.
    pub retry_min: Duration,
    /// Longest pause between tries.
    pub retry_max: Duration,
    /// A tenant whose keys are refused this long is held back; the others go on.
    pub hold_after: Duration,
    /// First pause before the keys of tenants that are held back are tried again.
    pub hold_retry_min: Duration,
    /// Longest pause between such tries.
    pub hold_retry_max: Duration,
    /// A shutdown waits this long for what is being committed; then it is left to the next start.
    pub drain_max: Duration,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("archive"),
            bucket: None,
            flush_interval: Duration::from_secs(5),
            flush_rows_max: 500_000,
            flush_bytes_max: 64 * 1024 * 1024,
            read_bytes_max: 1024 * 1024,
            clock_bound: Duration::from_secs(120),
            future_bound: Duration::from_secs(24 * 3600),
            streams_cached_max: 16 * 1024,
            epochs_max: 4096,
            profile_poll: Duration::from_secs(2),
            replay_poll: Duration::from_secs(2),
            erasure_poll: Duration::from_secs(2),
            completeness_interval: Duration::from_secs(60),
            compact_interval: Some(Duration::from_secs(20)),
            compact_files_min: 24,
            compact_files_max: 512,
            compact_rows_max: 1_000_000,
            compact_memory_max: 128 * 1024 * 1024,
            compact_bytes: 32 * 1024 * 1024,
            retired_grace: Duration::from_secs(600),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            hold_after: Duration::from_secs(15),
            hold_retry_min: Duration::from_secs(1),
            hold_retry_max: Duration::from_secs(30),
            drain_max: Duration::from_secs(20),
        }
    }
}

impl ArchiveOptions {
    /// Returns the defaults with the archive's files below `dir`.
    pub fn for_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }
}
