//! What a fleet was acknowledged, and what the archive holds twice.

use crate::rows::{self, Position};
use crate::stand::{Stand, TENANT};
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads a ledger: `TENANT/DEVICE EPOCH LANE SEQ` a line. A frame is acknowledged once.
pub(crate) fn read_ledger(path: &Path) -> anyhow::Result<BTreeSet<Position>> {
    let text = std::fs::read_to_string(path).context("the fleet wrote no ledger")?;
    let mut acked = BTreeSet::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, epoch, lane, seq] = fields[..] else { anyhow::bail!("ledger line {line:?}") };
        let device = name.strip_prefix(&format!("{TENANT}/")).context("a device of another tenant")?;
        let (epoch, seq) = (epoch.parse()?, seq.parse()?);
        acked.insert(Position { device: device.to_owned(), epoch, lane: lane.to_owned(), seq });
    }
    Ok(acked)
}

/// Counts readings that stand in the archive more than once.
pub(crate) fn doubled(stand: &Stand) -> anyhow::Result<usize> {
    let mut times: BTreeMap<(Position, u32, i64), usize> = BTreeMap::new();
    for reading in rows::readings(&stand.table("numerics")?)? {
        *times.entry((reading.position, reading.mdc_code, reading.time_us)).or_default() += 1;
    }
    Ok(times.values().filter(|count| **count > 1).count())
}
