//! What a reading costs the archive worker, from the journal to the commit, against Parquet's own writer given the
//! same rows in the same files.

use super::feed::Feed;
use super::options::ArchiveWrite;
use super::rig::Rig;
use super::{folder, rows};
use crate::options::Setup;
use crate::proc::cpu;
use crate::stats::Rounds;
use crate::table::{Table as Text, number};
use arrow_array::RecordBatch;
use std::sync::Arc;
use std::time::Duration;
use wardline_archive::layout::{Effort, encode_plain, encode_sealed};
use wardline_archive::read::ARCHIVE_DIR;
use wardline_archive::{ArchiveKeys, ArchiveOptions, Table};
use wardline_journal::Keyring;
use wardline_store::Store;

/// Measures and prints.
pub(crate) async fn run(setup: &Setup, options: &ArchiveWrite) -> anyhow::Result<()> {
    let folder = folder(setup.dir.as_deref())?;
    let mut rig = Rig::open(folder.path()).await?;
    let mut feed = Feed::synthetic(options.patients, 0, options.seed, &[])?;
    eprintln!("journaling {} patients, {} minutes", options.patients, options.minutes);
    rig.fill(&mut feed, options.minutes * 60)?;
    let end = rig.end()?;
    let keyring = Arc::new(Keyring::create_or_open(&folder.path().join("round.json"))?);
    let keys = ArchiveKeys::new(keyring);
    let (mut worker, mut bare, mut sealed) = (Rounds::default(), Rounds::default(), Rounds::default());
    let (mut readings, mut files) = (0, 0);
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let own = folder.path().join(format!("round-{round}"));
        std::fs::create_dir_all(&own)?;
        let store = Store::open(&own.join("wardline.db")).await?;
        let dir = own.join(ARCHIVE_DIR);
        let settings = ArchiveOptions { dir: dir.clone(), ..rig.options(false) };
        let begun = used()?;
        rig.work(settings, &store, async |handle| Ok(handle.flush_to(end).await?)).await?;
        worker.push((used()? - begun).as_secs_f64());
        let reader = rig.reader_of(dir, &store);
        let mut batches = Vec::new();
        for file in reader.files(None).await? {
            if let Some(table) = Table::from_name(&file.table) {
                batches.push((table, rows(&reader, &file)?));
            }
        }
        files = batches.len();
        readings = batches.iter().filter(|(t, _)| *t == Table::Numerics).map(|(_, b)| b.num_rows()).sum();
        bare.push(timed(&batches, |table, rows| Ok(encode_plain(table, rows, Effort::Commit)?.len()))?);
        sealed.push(timed(&batches, |table, rows| {
            Ok(encode_sealed(table, super::feed::TENANT, rows, (&keys, Effort::Commit))?.len())
        })?);
        std::fs::remove_dir_all(own)?;
    }
    report(options, readings, files, [&worker, &bare, &sealed]);
    Ok(())
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

fn report(options: &ArchiveWrite, readings: usize, files: usize, [worker, bare, sealed]: [&Rounds; 3]) {
    println!(
        "{readings} readings of {} patients at 1 Hz, a frame a second each, in {files} files; {} rounds, medians",
        options.patients, options.rounds
    );
    let mut table = Text::new(1, &["", "CPU s", "ns a reading", "readings per CPU s", "of the bare writer"]);
    for (name, rounds) in [
        ("worker: journal to commit, encrypted", worker),
        ("bare Parquet writer, same rows, same properties", bare),
        ("the same, encrypted", sealed),
    ] {
        let each = rounds.median() / readings as f64;
        table.row(vec![
            name.to_owned(),
            number(rounds.median()),
            number(each * 1e9),
            number(1.0 / each),
            format!("{:.2}", bare.over(rounds).median()),
        ]);
    }
    println!("{}", table.render());
    let share = (sealed.over(bare).median() - 1.0) * 100.0;
    println!("encryption adds {share:.0}% to the bare writer\n");
}
