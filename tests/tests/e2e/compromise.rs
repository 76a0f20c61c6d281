//! What was accepted from a device after it was compromised: exactly those rows.

use crate::archive::block_on;
use crate::frames::{Publisher, frame, heart_rate, now_us, raw_frame};
use crate::process::{eventually, run, run_to_fail};
use crate::stand::{Stand, TENANT};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

const EPOCH: u64 = 1_790_000_000_000_000;
const ARCHIVE: Duration = Duration::from_secs(60);

fn accepted_after(stand: &Stand, device: &str, since: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(crate::process::binary("wardline")?);
    command.args(["device", "accepted-after", "--tenant", TENANT, "--device", device, "--since", since]);
    command.arg("--data-dir").arg(stand.data());
    Ok(command)
}

/// Counts rows by table, and says between which offsets of the journal they lie.
fn counted(stand: &Stand, device: &str, since: &str) -> anyhow::Result<(BTreeMap<String, u64>, u64, u64)> {
    let text = run(accepted_after(stand, device, since)?.arg("--json"))?;
    let (mut rows, mut first, mut last) = (BTreeMap::new(), u64::MAX, 0);
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let count = row["rows"].as_u64().context("rows")?;
        if count > 0 {
            rows.insert(row["table"].as_str().context("table")?.to_owned(), count);
            first = first.min(row["first_offset"].as_u64().context("first_offset")?);
            last = last.max(row["last_offset"].as_u64().context("last_offset")?);
        }
    }
    Ok((rows, first, last))
}

pub(crate) fn utc(micros: i64) -> anyhow::Result<String> {
    let at = std::time::Duration::from_micros(u64::try_from(micros)?);
    let mut date = Command::new("date");
    date.args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ", "-d"]);
    date.arg(format!("@{}.{:09}", at.as_secs(), at.subsec_nanos()));
    Ok(run(&mut date)?.trim().to_owned())
}

#[test]
fn rows_accepted_after_a_compromise_are_counted_exactly() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let (one, other) = (stand.device("mon-1")?, stand.device("mon-2")?);
    stand.start()?;
    let beat = |seq, values: &[f64]| frame(EPOCH, seq, &heart_rate(now_us(), values));
    let since = block_on(async {
        let mut one = Publisher::connect(stand.mqtt, TENANT, "mon-1", &one).await?;
        let mut other = Publisher::connect(stand.mqtt, TENANT, "mon-2", &other).await?;
        for seq in 1..4 {
            one.publish(&beat(seq, &[70.0, 71.0])).await?;
        }
        let since = now_us();
        other.publish(&beat(1, &[60.0])).await?;
        for seq in 4..6 {
            one.publish(&beat(seq, &[70.0, 71.0, 72.0, 73.0])).await?;
        }
        one.publish(&raw_frame(EPOCH, 6, vec![0xff; 9])).await?;
        Ok(since)
    })?;
    eventually("all of it is archived", ARCHIVE, || {
        Ok((stand.rows("numerics")? == 15 && stand.rows("quarantine")? == 1).then_some(()))
    })?;
    stand.stop()?;
    let table = |name: &str, rows| (name.to_owned(), rows);
    let (after, first, last) = counted(&stand, "mon-1", &utc(since)?)?;
    ensure!(after == BTreeMap::from([table("numerics", 8), table("quarantine", 1)]), "{after:?}");
    let (all, begin, end) = counted(&stand, "mon-1", "2026-01-01T00:00:00Z")?;
    ensure!(all == BTreeMap::from([table("numerics", 14), table("quarantine", 1)]), "{all:?}");
    ensure!(begin < first && first < last && last == end, "{begin} {first} {last} {end}");
    let (other, ..) = counted(&stand, "mon-2", &utc(since)?)?;
    ensure!(other == BTreeMap::from([table("numerics", 1)]), "{other:?}");
    let told = run(&mut accepted_after(&stand, "mon-1", &utc(since)?)?)?;
    ensure!(told.ends_with("9 rows accepted from st-mary/mon-1 since then\n"), "{told}");
    let (none, ..) = counted(&stand, "mon-1", &utc(now_us())?)?;
    ensure!(none.is_empty(), "{none:?}");
    let wrong = run_to_fail(&mut accepted_after(&stand, "mon-1", "yesterday")?)?;
    ensure!(wrong.contains("yesterday"), "{wrong}");
    Ok(())
}
