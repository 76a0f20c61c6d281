//! One bare fdatasync of the same disk, in the same run.

use crate::lab::Lab;
use hdrhistogram::Histogram;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

/// One sync writes this much: a small batch.
const WRITE_BYTES: usize = 4 * 1024;
/// The file is written through once before, so that a sync writes data and no allocation.
const FILE_BYTES: usize = 4 * 1024 * 1024;

/// A preallocated file that is written and synced as the journal does it.
pub(crate) struct Disk {
    file: File,
    path: PathBuf,
    at: usize,
}

impl Disk {
    /// Makes the file.
    pub(crate) fn create(lab: &Lab) -> anyhow::Result<Self> {
        let path = lab.path("sync");
        let file = File::create(&path)?;
        file.write_all_at(&vec![0; FILE_BYTES], 0)?;
        file.sync_all()?;
        Ok(Self { file, path, at: 0 })
    }

    /// Times `count` writes with a sync each; microseconds.
    pub(crate) fn sync(&mut self, count: usize) -> anyhow::Result<Histogram<u64>> {
        let mut times_us = Histogram::new(3)?;
        for _ in 0..count {
            let start = Instant::now();
            self.file.write_all_at(&[1; WRITE_BYTES], self.at as u64)?;
            self.file.sync_data()?;
            times_us.record(start.elapsed().as_micros().max(1) as u64)?;
            self.at = (self.at + WRITE_BYTES) % FILE_BYTES;
        }
        Ok(times_us)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The folder goes with the lab anyway.
        let _ = std::fs::remove_file(&self.path);
    }
}
