//! A part of a core for a process: a control group with a quota of the processor.
//!
//! What a node can do is then bounded by its part alone, as long as the sum of all that runs leaves cores to spare; so
//! one node and two can be compared on a machine that has too few cores to give each of them one.

use anyhow::{Context, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

/// Where the kernel shows its control groups.
const GROUPS: &str = "/sys/fs/cgroup";
/// In it, with the first version of their interface, those of the processor.
const OF_CPU: &str = "cpu";
/// The time in which a part is used up and given anew; short, so that a process is never away for long.
const PERIOD_US: u64 = 10_000;
const PERCENT: u64 = 100;

/// A group of one process; removed when it is dropped, which is to be after the process has ended.
pub(crate) struct Share(PathBuf);

impl Drop for Share {
    fn drop(&mut self) {
        // Not before its process has ended; an empty group costs nothing.
        let _kept = fs::remove_dir(&self.0);
    }
}

impl Share {
    /// Makes a group that has so many hundredths of a core.
    pub(crate) fn new(name: &str, percent: u32) -> anyhow::Result<Self> {
        Self::below(Path::new(GROUPS), name, percent).with_context(|| {
            format!(
                "no group below {GROUPS} with a quota of the processor: it takes root and the controller `cpu`; \
                 --share 0 gives each node a core of its own instead"
            )
        })
    }

    fn below(groups: &Path, name: &str, percent: u32) -> anyhow::Result<Self> {
        ensure!(percent > 0, "a node with no part of a core would not run");
        let quota_us = u64::from(percent) * PERIOD_US / PERCENT;
        if groups.join("cgroup.controllers").exists() {
            fs::write(groups.join("cgroup.subtree_control"), "+cpu")?;
            let group = Self(groups.join(name));
            fs::create_dir(&group.0)?;
            fs::write(group.0.join("cpu.max"), format!("{quota_us} {PERIOD_US}"))?;
            return Ok(group);
        }
        let group = Self(groups.join(OF_CPU).join(name));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
        fs::write(group.0.join("cpu.cfs_quota_us"), quota_us.to_string())?;
        Ok(group)
    }

    /// Puts a process into it, with all its threads.
    pub(crate) fn take(&self, process: &Child) -> anyhow::Result<()> {
        Ok(fs::write(self.0.join("cgroup.procs"), process.id().to_string())?)
    }
}
