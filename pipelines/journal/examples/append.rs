//! Measures the log on this disk: records and syncs per second, CPU per record, and the bare `fdatasync` beside it.
//!
//! `cargo run --release -p wardline-journal --example append -- [DIR [SECONDS [IN_FLIGHT...]]]`

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, Keyring, Record};
use wardline_proto::PartitionId;

const PAYLOAD_BYTES: usize = 200;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(|| std::env::temp_dir().join("wardline-append"), PathBuf::from);
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let depths: Vec<usize> = arguments.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let depths = if depths.is_empty() { vec![1, 64, 800, 8000] } else { depths };
    fs::create_dir_all(&dir)?;
    println!(
        "{:>9} {:>11} {:>8} {:>10} {:>12} {:>12}",
        "in flight", "records/s", "syncs/s", "us CPU/rec", "wait p50 us", "wait p99 us"
    );
    for depth in depths {
        let cpu = cpu_us()?;
        let bare = bare_syncs(&dir, PAYLOAD_BYTES * depth, Duration::from_secs(2))?;
        let bare_cpu = (cpu_us()? - cpu) as f64 / (bare.len() * depth) as f64;
        measure(&dir, depth, Duration::from_secs(seconds))?;
        println!(
            "{:>9} bare write and fdatasync of as many bytes: {bare_cpu:.2} us CPU/rec, p50 {} us, p99 {} us",
            "",
            percentile(&bare, 50),
            percentile(&bare, 99)
        );
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Keeps `depth` records in flight: appends that many, waits for the last, and again.
fn measure(dir: &Path, depth: usize, duration: Duration) -> Outcome<()> {
    let log = dir.join("log");
    let keyring = Arc::new(Keyring::create_or_open(&dir.join("keyring.json"))?);
    let journal = Journal::open(JournalOptions::for_dir(&log), Arc::new(DiskStorage::new(&log)), keyring)?;
    let (watch, partition) = (journal.durable(), PartitionId::new(0).ok_or("no partition 0")?);
    let payload = vec![0x5a_u8; PAYLOAD_BYTES];
    let mut waits = Vec::new();
    let (cpu, started, before) = (cpu_us()?, Instant::now(), journal.stats());
    while started.elapsed() < duration {
        let sent = Instant::now();
        let mut last = None;
        for _ in 0..depth {
            let record = Record { partition, class: Class::Telemetry, payload: payload.clone().into() };
            last = journal.append(record).ok().or(last);
        }
        if let Some(ticket) = last {
            ticket.wait(&watch)?;
        }
        waits.push(sent.elapsed().as_micros() as u64);
        journal.retain_from(journal.durable_end())?;
    }
    let (elapsed, cpu, after) = (started.elapsed().as_secs_f64(), cpu_us()? - cpu, journal.stats());
    waits.sort_unstable();
    let records = (after.records - before.records) as f64;
    println!(
        "{depth:>9} {:>11.0} {:>8.0} {:>10.2} {:>12} {:>12}   refused {}",
        records / elapsed,
        (after.syncs - before.syncs) as f64 / elapsed,
        cpu as f64 / records,
        percentile(&waits, 50),
        percentile(&waits, 99),
        after.refused_full,
    );
    journal.close();
    fs::remove_dir_all(&log)?;
    Ok(())
}

/// Times `write` and `fdatasync` in a preallocated file, microseconds, sorted.
fn bare_syncs(dir: &Path, bytes: usize, duration: Duration) -> Outcome<Vec<u64>> {
    const FILE_BYTES: u64 = 16 << 20;
    let path = dir.join("bare");
    fs::write(&path, vec![0; FILE_BYTES as usize])?;
    let file = fs::OpenOptions::new().write(true).open(&path)?;
    file.sync_all()?;
    let (block, started) = (vec![1; bytes], Instant::now());
    let (mut times, mut position) = (Vec::new(), 0);
    while started.elapsed() < duration {
        let begun = Instant::now();
        file.write_all_at(&block, position)?;
        file.sync_data()?;
        times.push(begun.elapsed().as_micros() as u64);
        position = (position + bytes as u64) % (FILE_BYTES - bytes as u64);
    }
    fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times)
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// CPU time of this process, user and system, microseconds: /proc counts in ticks of 10 ms.
fn cpu_us() -> Outcome<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_comm, rest) = stat.rsplit_once(')').ok_or("unexpected /proc/self/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Ok((fields[11].parse::<u64>()? + fields[12].parse::<u64>()?) * 10_000)
}
