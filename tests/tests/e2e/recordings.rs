//! Real recordings through the whole path: device, link, agent, spool, front, journal, archive, and back.

use crate::kill::agent;
use crate::process::{Process, binary, eventually, run};
use crate::records::{self, Recording};
use crate::rows::{self, Block, Reading};
use crate::stand::{Stand, free_ports};
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub(crate) const ARCHIVE: Duration = Duration::from_secs(180);
/// 2026-11-01T00:00:00Z: every record ends in the past.
const START_SECONDS: i64 = 1_793_491_200;
const START_US: i64 = START_SECONDS * 1_000_000;

/// Metrics of the records' signals, written down apart from the simulator's table.
const WAVEFORMS: [(&str, u32); 6] = [
    ("MLII", 131_330),
    ("V5", 131_328),
    ("II", 131_330),
    ("V", 131_328),
    ("PLETH", 150_452),
    ("RESP", 151_780),
];
const NUMERICS: [(&str, u32); 10] = [
    ("HR", 147_842),
    ("ABPSys", 150_033),
    ("ABPDias", 150_034),
    ("ABPMean", 150_035),
    ("PULSE", 149_530),
    ("RESP", 151_562),
    ("SpO2", 150_456),
    ("NBPSys", 150_021),
    ("NBPDias", 150_022),
    ("NBPMean", 150_023),
];

/// Plays a record as the device `mon-1` to its end; the agent goes on delivering its spool.
pub(crate) fn replay(stand: &mut Stand, header: &Path) -> anyhow::Result<Process> {
    let certs = stand.device("mon-1")?;
    stand.start()?;
    let [link] = free_ports()?;
    let agent = agent(stand, &certs, link)?;
    let mut command = Command::new(binary("firmware-sim")?);
    command.args(["device", "--device", "mon-1", "--speed", "max", "--start", &START_SECONDS.to_string()]);
    command.args(["--link", &format!("tcp://127.0.0.1:{link}")]).arg("--replay").arg(header);
    println!("{}", run(&mut command)?.trim());
    Ok(agent)
}

#[test]
fn samples_read_back_equal_the_recording_one_by_one() -> anyhow::Result<()> {
    let Some(folder) = records::folder("samples_read_back_equal_the_recording") else { return Ok(()) };
    for name in ["100", "v102s", "a103l"] {
        let record = records::read(&folder.join(format!("{name}.hea")))?;
        let mut stand = Stand::new()?;
        let _agent = replay(&mut stand, &folder.join(format!("{name}.hea")))?;
        let wanted: usize = record.signals.iter().map(|s| s.samples.len()).sum();
        let blocks = eventually("every sample is archived", ARCHIVE, || {
            let blocks = rows::blocks(&stand.table("waveforms")?)?;
            let found: usize = blocks.iter().map(|b| b.samples.len()).sum();
            ensure!(found >= wanted, "{found} of {wanted} samples");
            Ok(Some(blocks))
        })?;
        compare(&record, &blocks)?;
        println!("{name}: {wanted} samples of {} signals read back equal", record.signals.len());
        stand.stop()?;
    }
    Ok(())
}

/// Compares blocks with the record: each signal whole, in order, contiguous in time, nothing else.
fn compare(record: &Recording, blocks: &[Block]) -> anyhow::Result<()> {
    let mut by_metric: BTreeMap<u32, Vec<&Block>> = BTreeMap::new();
    for block in blocks {
        by_metric.entry(block.mdc_code).or_default().push(block);
    }
    ensure!(by_metric.len() == record.signals.len(), "{} metrics archived", by_metric.len());
    for signal in &record.signals {
        let (_, code) = WAVEFORMS.iter().find(|(name, _)| *name == signal.name).context("a known signal")?;
        let blocks = by_metric.get_mut(code).with_context(|| format!("{} is missing", signal.name))?;
        blocks.sort_by_key(|b| b.start_us);
        let mut at = 0;
        for block in blocks.iter() {
            let due_us = START_US + (at as f64 / record.rate_hz * 1e6).round() as i64;
            ensure!((block.start_us - due_us).abs() <= 1, "{}: block at {at} starts late", signal.name);
            ensure!((block.interval_ns as f64 - 1e9 / record.rate_hz).abs() <= 1.0, "interval");
            let expected =
                signal.samples.get(at..at + block.samples.len()).context("more samples than recorded")?;
            let differs = expected.iter().zip(&block.samples).position(|(a, b)| a != b);
            ensure!(differs.is_none(), "{}: sample {} differs", signal.name, at + differs.unwrap_or(0));
            at += block.samples.len();
        }
        ensure!(at == signal.samples.len(), "{}: {at} of {} samples", signal.name, signal.samples.len());
    }
    Ok(())
}

#[test]
fn gaps_of_a_numerics_recording_stay_gaps() -> anyhow::Result<()> {
    let Some(folder) = records::folder("gaps_of_a_numerics_recording_stay_gaps") else { return Ok(()) };
    let header = folder.join("3975656n.hea");
    let record = records::read(&header)?;
    let expected = present(&record)?;
    let mut stand = Stand::new()?;
    let _agent = replay(&mut stand, &header)?;
    let readings = eventually("every reading is archived", ARCHIVE, || {
        let readings = rows::readings(&stand.table("numerics")?)?;
        ensure!(readings.len() >= expected.len(), "{} of {} readings", readings.len(), expected.len());
        Ok(Some(readings))
    })?;
    let key =
        |r: &Reading| (r.mdc_code, ((r.time_us - START_US) as f64 * record.rate_hz / 1e6).round() as usize);
    let found: BTreeSet<_> = readings.iter().map(key).collect();
    let rows = record.signals.first().context("a signal")?.samples.len();
    println!(
        "3975656n: {} readings of {} rows x {} signals, {} gaps kept",
        readings.len(),
        rows,
        record.signals.len(),
        rows * record.signals.len() - expected.len()
    );
    ensure!(readings.len() == expected.len(), "{} readings, {} recorded", readings.len(), expected.len());
    ensure!(found == expected, "readings stand where the record has none");
    crate::news2::agrees(&readings, |reading| key(reading).1, &header)?;
    crate::news2::agrees_charted(&readings, |reading| key(reading).1, &header)?;
    stand.stop()
}

/// Returns metric and row of every reading that was made: 0 and -32768 mark a missing one.
pub(crate) fn present(record: &Recording) -> anyhow::Result<BTreeSet<(u32, usize)>> {
    let mut present = BTreeSet::new();
    for signal in &record.signals {
        let (_, code) = NUMERICS.iter().find(|(name, _)| *name == signal.name).context("a known signal")?;
        let rows = signal.samples.iter().enumerate().filter(|(_, s)| !matches!(**s, 0 | -32_768));
        present.extend(rows.map(|(row, _)| (*code, row)));
    }
    Ok(present)
}
