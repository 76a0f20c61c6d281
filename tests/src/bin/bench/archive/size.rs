//! What a reading and a sample take in encrypted, merged files, against text; which column takes it; and what other
//! layouts would take.

use super::feed::{DAY_S, Feed};
use super::options::ArchiveSize;
use super::rig::Rig;
use super::text::{Texts, texts};
use super::{folder, layouts, rows, waves};
use crate::options::Setup;
use crate::table::Table as Text;
use anyhow::Context;
use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wardline_archive::Table;
use wardline_store::catalog::FileRow;

/// Rows that are written as text, at most; the rest takes as much each.
const TEXT_ROWS_MAX: usize = 500_000;

/// Measures and prints.
pub(crate) async fn run(setup: &Setup, options: &ArchiveSize) -> anyhow::Result<()> {
    let folder = folder(setup.dir.as_deref())?;
    let mut table = Text::new(
        2,
        &["data", "of", "items", "files", "bytes each", "CSV", "JSON lines", "CSV zstd", "JSON zstd"],
    );
    let synthetic = format!("{} patients, {} days", options.patients, options.days);
    let rig = synthetic_ward(&folder.path().join("synthetic"), options).await?;
    if options.layouts {
        return other_layouts(&rig).await;
    }
    for of in [Table::Numerics, Table::Waveforms] {
        row(&mut table, &rig, &synthetic, of).await?;
    }
    for header in recordings(options)? {
        let name = header.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        eprintln!("recording {name}");
        let (mut feed, seconds) = Feed::recording(&header)?;
        let mut played = Rig::open(&made(&folder.path().join(&name))?).await?;
        // Of two commits, which are merged.
        for until_s in [seconds / 2, seconds + 1] {
            played.fill(&mut feed, until_s)?;
            played.archive().await?;
        }
        played.merge().await?;
        for of in [Table::Numerics, Table::Waveforms] {
            row(&mut table, &played, &format!("recording {name}"), of).await?;
        }
        waves::run(&played, &name).await?;
    }
    println!("{}", table.render());
    for of in [Table::Numerics, Table::Waveforms] {
        columns(&rig, of).await?;
    }
    other_layouts(&rig).await
}

async fn other_layouts(rig: &Rig) -> anyhow::Result<()> {
    let largest = async |of| {
        let files = rig.files(of).await?.into_iter();
        let file = files.max_by_key(|file| file.rows).context("no files")?;
        rows(&rig.reader(), &file)
    };
    layouts::run(&largest(Table::Numerics).await?, &largest(Table::Waveforms).await?)
}

fn made(folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    Ok(folder.to_owned())
}

async fn synthetic_ward(folder: &Path, options: &ArchiveSize) -> anyhow::Result<Rig> {
    let mut rig = Rig::open(&made(folder)?).await?;
    let mut feed = Feed::synthetic(options.patients, options.wave_minutes * 60, options.seed, &[])?;
    for day in 1..=options.days {
        eprintln!("day {day} of {}", options.days);
        rig.fill(&mut feed, day * DAY_S)?;
        rig.archive().await?;
    }
    rig.merge().await?;
    Ok(rig)
}

/// Returns the headers of the recordings, in order of name; none without the folder.
fn recordings(options: &ArchiveSize) -> anyhow::Result<Vec<PathBuf>> {
    let Some(folder) = &options.recordings else {
        eprintln!("no recordings: give --recordings or WARDLINE_RECORDINGS");
        return Ok(Vec::new());
    };
    let mut headers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let plays = path.extension().is_some_and(|e| e == "hea") && Feed::recording(&path).is_ok();
        headers.extend(plays.then_some(path));
    }
    headers.sort();
    Ok(headers)
}

async fn row(table: &mut Text, rig: &Rig, data: &str, of: Table) -> anyhow::Result<()> {
    let files = rig.files(of).await?;
    if files.is_empty() {
        return Ok(());
    }
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let items = items(rig, &files, of)?;
    let (text, text_items) = text(rig, &files, of)?;
    let each = |bytes: u64, items: u64| format!("{:.2}", bytes as f64 / items as f64);
    let name = if of == Table::Numerics { "readings" } else { "samples" };
    let mut cells = vec![data.to_owned(), name.to_owned(), items.to_string(), files.len().to_string()];
    cells.push(each(bytes, items));
    let texts = [text.csv, text.json, text.csv_zstd, text.json_zstd];
    cells.extend(texts.map(|bytes| each(bytes, text_items)));
    table.row(cells);
    Ok(())
}

fn items(rig: &Rig, files: &[FileRow], of: Table) -> anyhow::Result<u64> {
    if of == Table::Numerics {
        return Ok(files.iter().map(|file| file.rows).sum());
    }
    let mut samples = 0;
    for file in files {
        for batch in rig.reader().read(file)? {
            samples += samples_of(&batch?)?;
        }
    }
    Ok(samples)
}

fn samples_of(batch: &arrow_array::RecordBatch) -> anyhow::Result<u64> {
    let lists = batch.column_by_name("samples").and_then(|c| c.as_list_opt::<i32>()).context("samples")?;
    Ok((lists.value_offsets().last().unwrap_or(&0) - lists.value_offsets().first().unwrap_or(&0)) as u64)
}

fn text(rig: &Rig, files: &[FileRow], of: Table) -> anyhow::Result<(Texts, u64)> {
    let reader = rig.reader();
    let (mut left, mut items) = (TEXT_ROWS_MAX, 0);
    let batches = files.iter().flat_map(|file| match reader.read(file) {
        Ok(batches) => batches.map(|batch| Ok(batch?)).collect::<Vec<anyhow::Result<_>>>(),
        Err(error) => vec![Err(error.into())],
    });
    let counted = batches.map_while(|batch| {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        left = left.checked_sub(batch.num_rows())?;
        match if of == Table::Numerics { Ok(batch.num_rows() as u64) } else { samples_of(&batch) } {
            Ok(more) => items += more,
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(batch))
    });
    let texts = texts(counted)?;
    Ok((texts, items))
}

/// Prints what each column takes, and what is neither: footers, indexes, wrapped keys.
async fn columns(rig: &Rig, of: Table) -> anyhow::Result<()> {
    let (files, reader) = (rig.files(of).await?, rig.reader());
    let mut of_column = BTreeMap::<String, u64>::new();
    let mut total = 0;
    for file in &files {
        let options = ArrowReaderOptions::new().with_file_decryption_properties(reader.keys().decryption()?);
        let metadata = ArrowReaderMetadata::load(&reader.place().read(&file.path)?, options)?;
        for column in metadata.metadata().row_groups().iter().flat_map(|group| group.columns()) {
            let bytes = u64::try_from(column.compressed_size())?;
            *of_column.entry(column.column_path().string()).or_default() += bytes;
        }
        total += file.bytes;
    }
    let items = items(rig, &files, of)? as f64;
    let in_columns: u64 = of_column.values().sum();
    let mut by_size: Vec<_> = of_column.into_iter().collect();
    by_size.push(("footer, page index, wrapped keys".into(), total - in_columns));
    by_size.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let mut table = Text::new(1, &["column", "bytes each", "share"]);
    for (name, bytes) in by_size {
        let share = format!("{:.1}%", bytes as f64 * 100.0 / total as f64);
        table.row(vec![name, format!("{:.4}", bytes as f64 / items), share]);
    }
    println!("{of} of the synthetic ward, by column:\n{}", table.render());
    Ok(())
}
