//! What a reading costs the archive worker, from the journal to the commit, against Parquet's own writer given the
//! same rows in the same files.
//!
//! A frame costs something, and a reading in it does: frames of several sizes tell the two apart.

use super::feed::{Feed, TENANT};
use super::options::ArchiveWrite;
use super::rig::Rig;
use super::{folder, rows};
use crate::options::Setup;
use crate::proc::cpu;
use crate::stats::Rounds;
use crate::table::{Table as Text, number};
use arrow_array::RecordBatch;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wardline_archive::layout::{Effort, encode_plain, encode_sealed};
use wardline_archive::read::ARCHIVE_DIR;
use wardline_archive::{ArchiveKeys, ArchiveOptions, Table};
use wardline_journal::{Keyring, Offset};
use wardline_store::Store;

/// Measures and prints.
pub(crate) async fn run(setup: &Setup, options: &ArchiveWrite) -> anyhow::Result<()> {
    let folder = folder(setup.dir.as_deref())?;
    let mut sizes = Vec::new();
    for frame_s in &options.frame_s {
        eprintln!(
            "journaling {} patients, {} minutes, {frame_s} s in a frame",
            options.patients, options.minutes
        );
        sizes.push(Size::fill(&folder.path().join(format!("frames-{frame_s}")), *frame_s, options).await?);
    }
    let keyring = Arc::new(Keyring::create_or_open(&folder.path().join("round.json"))?);
    let keys = ArchiveKeys::new(keyring);
    for round in 1..=options.rounds {
        for size in &mut sizes {
            eprintln!("round {round} of {}, {} s in a frame", options.rounds, size.frame_s);
            size.round(&folder.path().join("round"), &keys).await?;
        }
    }
    report(options, &sizes);
    Ok(())
}

/// Frames of one size, and what was measured of them.
struct Size {
    frame_s: i64,
    rig: Rig,
    end: Offset,
    frames: u64,
    readings: usize,
    files: usize,
    worker: Rounds,
    bare: Rounds,
    sealed: Rounds,
}

impl Size {
    async fn fill(folder: &Path, frame_s: i64, options: &ArchiveWrite) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut rig = Rig::open(folder).await?;
        let mut feed = Feed::synthetic(options.patients, 0, options.seed, &[])?.packed(frame_s);
        rig.fill(&mut feed, options.minutes * 60)?;
        let end = rig.end()?;
        let (worker, bare, sealed) = (Rounds::default(), Rounds::default(), Rounds::default());
        // The first record is number 0, the last one the marker of the end.
        let frames = end.get() - 1;
        Ok(Self { frame_s, rig, end, frames, readings: 0, files: 0, worker, bare, sealed })
    }

    async fn round(&mut self, folder: &Path, keys: &ArchiveKeys) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let store = Store::open(&folder.join("wardline.db")).await?;
        let dir = folder.join(ARCHIVE_DIR);
        let settings = ArchiveOptions { dir: dir.clone(), ..self.rig.options(false) };
        let begun = used()?;
        self.rig.work(settings, &store, async |handle| Ok(handle.flush_to(self.end).await?)).await?;
        self.worker.push((used()? - begun).as_secs_f64());
        let reader = self.rig.reader_of(dir, &store);
        let mut batches = Vec::new();
        for file in reader.files(None).await? {
            if let Some(table) = Table::from_name(&file.table) {
                batches.push((table, rows(&reader, &file)?));
            }
        }
        self.files = batches.len();
        let readings = batches.iter().filter(|(table, _)| *table == Table::Numerics);
        self.readings = readings.map(|(_, rows)| rows.num_rows()).sum();
        self.bare.push(timed(&batches, |table, rows| Ok(encode_plain(table, rows, Effort::Commit)?.len()))?);
        self.sealed.push(timed(&batches, |table, rows| {
            Ok(encode_sealed(table, TENANT, rows, (keys, Effort::Commit))?.len())
        })?);
        std::fs::remove_dir_all(folder)?;
        Ok(())
    }

    /// Returns the frames of a reading.
    fn frames_each(&self) -> f64 {
        self.frames as f64 / self.readings as f64
    }

    /// Returns the CPU time of a reading, nanoseconds.
    fn each_ns(&self, rounds: &Rounds) -> f64 {
        rounds.median() / self.readings as f64 * 1e9
    }
}

fn used() -> anyhow::Result<Duration> {
    cpu(std::process::id())
}

fn timed(
    batches: &[(Table, RecordBatch)],
    encode: impl Fn(Table, &RecordBatch) -> anyhow::Result<usize>,
) -> anyhow::Result<f64> {
    let begun = used()?;
    for (table, rows) in batches {
        encode(*table, rows)?;
    }
    Ok((used()? - begun).as_secs_f64())
}

fn report(options: &ArchiveWrite, sizes: &[Size]) {
    for size in sizes {
        println!(
            "{} readings of {} patients at 1 Hz in {} frames of {} s, {} files; {} rounds, medians",
            size.readings, options.patients, size.frames, size.frame_s, size.files, options.rounds
        );
        let mut table =
            Text::new(1, &["", "CPU s", "ns a reading", "readings per CPU s", "of the bare writer"]);
        for (name, rounds) in [
            ("worker: journal to commit, encrypted", &size.worker),
            ("bare Parquet writer, same rows, same properties", &size.bare),
            ("the same, encrypted", &size.sealed),
        ] {
            let each = size.each_ns(rounds);
            table.row(vec![
                name.to_owned(),
                number(rounds.median()),
                number(each),
                number(1e9 / each),
                format!("{:.2}", size.bare.over(rounds).median()),
            ]);
        }
        println!("{}", table.render());
        let share = (size.sealed.over(&size.bare).median() - 1.0) * 100.0;
        println!("encryption adds {share:.0}% to the bare writer\n");
    }
    if let (Some(small), Some(large)) = (sizes.first(), sizes.last())
        && small.frames_each() > large.frames_each()
    {
        let besides = |size: &Size| size.each_ns(&size.worker) - size.each_ns(&size.sealed);
        let frame = (besides(small) - besides(large)) / (small.frames_each() - large.frames_each());
        let reading = besides(large) - frame * large.frames_each();
        println!(
            "besides writing, a frame costs the worker {frame:.0} ns, and each reading in it {reading:.0} ns: \
             by frames of {} s against those of {} s",
            small.frame_s, large.frame_s
        );
    }
}
