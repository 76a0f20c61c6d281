//! What the kernel says about a process.

use anyhow::Context;
use std::time::Duration;

/// `/proc` counts CPU time in these, on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Returns the CPU time that a process and its ended threads have used, user and system.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the server has ended")?;
    let ticks = ticks(&stat).context("/proc/PID/stat")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Sums utime and stime: fields 14 and 15. The second field is a name in parentheses that may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Returns the resident memory of a process, bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

/// Returns the most resident memory that a process ever had, bytes.
pub(crate) fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the server has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("no {name}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 31 0 0 20 0 4 0 100 0 0";
        assert_eq!(ticks(stat), Some(281));
    }

    #[test]
    fn this_process_uses_something() {
        let pid = std::process::id();
        let resident = resident_bytes(pid).unwrap();
        assert!(resident > 0 && peak_bytes(pid).unwrap() >= resident / 2);
        cpu(pid).unwrap();
    }
}
