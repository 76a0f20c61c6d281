//! Small files become large ones, between two commits and by the same worker.
//!
//! ```text
//! choose small files of one table, tenant, day and partition -> read, verify, sort -> one new file, durable
//!        -> one transaction: the new file in, the old ones out of the catalog and among the retired
//!        -> after a grace, for readers that listed the old ones: remove them
//! ```
//! A crash before the transaction leaves a file that no commit names: swept. A crash after it leaves retired files:
//! removed later. Rows change neither in number nor in content; numerics are put in the order of device, time
//! and metric, waveforms in that of device, metric and time, in which they pack best; so late rows lie where
//! they belong.

use crate::error::ArchiveError;
use crate::file::{Effort, encode};
use crate::files::Files;
use crate::keys::ArchiveKeys;
use crate::options::ArchiveOptions;
use crate::order::sorted;
use crate::read::rows_of;
use crate::shelf::{Shelf, new_path};
use crate::table::{Day, Table};
use crate::verify::Shredded;
use crate::worker::{Parts, now_us};
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use ring::digest::{SHA256, digest};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use wardline_journal::KeyError;
use wardline_store::catalog::FileRow;
use wardline_store::retired::Replacement;

/// A file of at least this part of the target is left as it is.
const SMALL_PART: u64 = 2;
/// A file whose rows take at least this part of the memory of a merge likewise.
const LARGE_PART: usize = 2;
/// Memory of a merge of samples: eight million, which take some three seconds.
const SAMPLES_MEMORY_MAX: usize = 32 * 1024 * 1024;
/// A sample takes so many times less in a file than in memory, about.
const SAMPLE_BYTES: u64 = 4;
/// Files that are remembered to be left alone.
const LEFT_MAX: usize = 16 * 1024;

/// What one merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Compacted {
    files: u64,
    rows: u64,
    bytes_before: u64,
    bytes_after: u64,
}

/// Notes a file that stays as it is: it is damaged, or its rows are large in memory.
fn leave(left: &mut BTreeSet<String>, path: String) {
    if left.len() >= LEFT_MAX {
        // They are found again.
        left.clear();
    }
    left.insert(path);
}

/// Merges groups of small files, without those that are to be `left`, until none is worth it or the time is over. `true`:
/// there is more. What is damaged, and a tenant without its keys, stands in nobody's way. Fails as fenced when the lease
/// is lost.
pub(crate) async fn pass(
    parts: &Parts,
    shelf: &Arc<Shelf>,
    lease: u64,
    left: &mut BTreeSet<String>,
    until: Instant,
) -> Result<bool, ArchiveError> {
    // What came after a tenant's keys were destroyed is under newer ones, and is merged.
    let (shredded, mut keyless) = (Shredded::of(&parts.catalog).await?, BTreeSet::new());
    loop {
        let mut files = parts.catalog.files(None).await?;
        files.retain(|file| !left.contains(&file.path) && !keyless.contains(&file.tenant));
        files.retain(|file| !shredded.has(file));
        files.retain(|file| parts.catalog.owns(file.partition));
        let mut goes_on = false;
        for (table, chosen) in worth(&parts.options, files, Day::of_micros(now_us())) {
            let tenant = chosen.first().map(|file| file.tenant.clone()).unwrap_or_default();
            if keyless.contains(&tenant) {
                continue;
            }
            match merge_of(parts, shelf, lease, (table, chosen), left).await {
                Ok(None) => {}
                Ok(Some(done)) => {
                    goes_on = true;
                    parts.metrics.compacted_files.inc_by(done.files);
                    tracing::info!(?done, "small files merged");
                }
                Err(ArchiveError::Key(error @ (KeyError::Refused(_) | KeyError::Away(_)))) => {
                    parts.metrics.compaction_failures.inc();
                    tracing::error!(%error, tenant, "small files of a tenant not merged");
                    keyless.insert(tenant);
                }
                Err(error) => {
                    let Some(path) = damaged(&error) else { return Err(error) };
                    // It stays as it is, as evidence.
                    goes_on = true;
                    leave(left, path.to_owned());
                    parts.metrics.compaction_failures.inc();
                    tracing::error!(%error, tenant, "small files not merged");
                }
            }
            if Instant::now() >= until {
                return Ok(true);
            }
        }
        if !goes_on {
            return Ok(false);
        }
    }
}

/// Returns the file that an error is of.
fn damaged(error: &ArchiveError) -> Option<&str> {
    match error {
        ArchiveError::FileChanged(path)
        | ArchiveError::Unreadable(path, _)
        | ArchiveError::OtherColumns(path) => Some(path),
        _ => None,
    }
}

/// Returns the memory that the rows of one merge take: samples are packed for seconds, and commits wait for it.
fn memory_max(options: &ArchiveOptions, table: Table) -> usize {
    match table {
        Table::Waveforms => options.compact_memory_max.min(SAMPLES_MEMORY_MAX),
        _ => options.compact_memory_max,
    }
}

/// Returns how hard a merge packs: rows that are as large are left alone from then on, and to a day that is over little
/// comes any more.
fn effort((held, memory_max): (usize, usize), (day, today): (&str, &str)) -> Effort {
    match held > memory_max / LARGE_PART || day < today {
        true => Effort::Last,
        false => Effort::Merge,
    }
}

/// Merges files that were chosen.
async fn merge_of(
    parts: &Parts,
    shelf: &Arc<Shelf>,
    lease: u64,
    (table, chosen): (Table, Vec<FileRow>),
    left: &mut BTreeSet<String>,
) -> Result<Option<Compacted>, ArchiveError> {
    let (at, keys, memory_max) =
        (shelf.files().clone(), parts.keys.clone(), memory_max(&parts.options, table));
    let today = Day::of_micros(now_us()).to_string();
    let merge = move || {
        let schema = crate::rows::schema(table);
        let Gathered { files, batches, large, held } = gather(&at, &keys, (table, chosen), memory_max)?;
        if files.len() < 2 {
            return Ok((large, None));
        }
        let rows = concat_batches(&schema, &batches)?;
        drop(batches);
        let rows = sorted(table, rows)?;
        let (tenant, day) = files.first().map_or(("", ""), |file| (&file.tenant, &file.day));
        let effort = effort((held, memory_max), (day, &today));
        let bytes = encode(table, tenant, &rows, (&keys, effort))?;
        let sha256 = digest(&SHA256, &bytes).as_ref().to_vec();
        Ok::<_, ArchiveError>((large, Some((files, rows.num_rows() as u64, bytes, sha256))))
    };
    let (large, merged_rows) = spawn_blocking(merge).await??;
    large.into_iter().for_each(|path| leave(left, path));
    let Some((chosen, rows, bytes, sha256)) = merged_rows else { return Ok(None) };
    let expected: u64 = chosen.iter().map(|file| file.rows).sum();
    if rows != expected {
        return Err(ArchiveError::Compaction { rows, expected });
    }
    let into = merged(table, &chosen, (rows, bytes.len() as u64, sha256))?;
    let done = Compacted {
        files: chosen.len() as u64,
        rows,
        bytes_before: chosen.iter().map(|file| file.bytes).sum(),
        bytes_after: into.bytes,
    };
    wardline_journal::abort::at("merge.read");
    shelf.put(&into.path, bytes).await?;
    wardline_journal::abort::at("merge.put");
    shelf.sync(vec![into.path.clone()]).await?;
    wardline_journal::abort::at("merge.synced");
    let from = chosen.into_iter().map(|file| file.path).collect();
    parts.catalog.replace(&Replacement { lease, from, into, at_us: now_us() }).await?;
    wardline_journal::abort::at("merge.committed");
    Ok(Some(done))
}

/// Removes retired files whose grace is over; returns how many.
pub(crate) async fn remove_retired(parts: &Parts, shelf: &Arc<Shelf>) -> Result<u64, ArchiveError> {
    let grace_us = i64::try_from(parts.options.retired_grace.as_micros()).unwrap_or(i64::MAX);
    let due = parts.catalog.removable(now_us().saturating_sub(grace_us)).await?;
    if due.is_empty() {
        return Ok(0);
    }
    shelf.remove(due.clone()).await?;
    wardline_journal::abort::at("merge.removed");
    parts.catalog.forget_retired(&due).await?;
    Ok(due.len() as u64)
}

/// Chooses groups of small files, those with most first: enough of them, or of a day that is over.
fn worth(options: &ArchiveOptions, files: Vec<FileRow>, today: Day) -> Vec<(Table, Vec<FileRow>)> {
    let mut groups = BTreeMap::<_, Vec<FileRow>>::new();
    let today = today.to_string();
    for file in files.into_iter().filter(|file| is_small(options, file)) {
        // While the day goes on, like is merged with like: a row is written again once a tier, not once a merge.
        let tier = if file.day < today { 0 } else { tier(options, file.rows) };
        let key = (file.table.clone(), file.tenant.clone(), file.day.clone(), file.partition, tier);
        groups.entry(key).or_default().push(file);
    }
    let is_worth =
        |day: &str, count: usize| count >= options.compact_files_min || (day < today.as_str() && count > 1);
    let mut worth: Vec<_> =
        groups.into_iter().filter(|((_, _, day, ..), files)| is_worth(day, files.len())).collect();
    // Of equal ones the last by name, so that readings go before the audit of them.
    worth.reverse();
    worth.sort_by_key(|(_, files)| Reverse(files.len()));
    // A group whose first files are too large together does not stand in the way of the others.
    let group = |((table, ..), files): ((String, _, _, _, _), _)| {
        let chosen = fitting(options, files);
        (chosen.len() > 1).then_some((Table::from_name(&table)?, chosen))
    };
    worth.into_iter().filter_map(group).collect()
}

/// Says whether a file is worth merging with others: of samples little fits into a merge.
fn is_small(options: &ArchiveOptions, file: &FileRow) -> bool {
    let bytes_max = match file.table == Table::Waveforms.name() {
        true => options.compact_bytes.min(SAMPLES_MEMORY_MAX as u64 / SAMPLE_BYTES),
        false => options.compact_bytes,
    };
    file.bytes < bytes_max / SMALL_PART
}

/// Returns how often so many rows went through a merge of as few files as are worth one.
fn tier(options: &ArchiveOptions, rows: u64) -> u32 {
    rows.max(1).ilog((options.compact_files_min as u64).max(2))
}

/// Takes the smallest files while they fit into one.
fn fitting(options: &ArchiveOptions, mut files: Vec<FileRow>) -> Vec<FileRow> {
    files.sort_by_key(|file| file.rows);
    let (mut rows, mut bytes) = (0, 0);
    let within = |file: &FileRow| {
        (rows, bytes) = (rows + file.rows, bytes + file.bytes);
        rows <= options.compact_rows_max && bytes <= options.compact_bytes
    };
    let mut chosen: Vec<_> = files.into_iter().take_while(within).take(options.compact_files_max).collect();
    // What is not sorted stays in the order of the journal.
    chosen.sort_by_key(|file| file.offset_first);
    chosen
}

/// Files of one merge and their rows.
struct Gathered {
    files: Vec<FileRow>,
    batches: Vec<RecordBatch>,
    /// Memory that the rows take.
    held: usize,
    /// Paths of files whose rows are too large in memory: small on the disk says nothing, as of samples that stay equal.
    large: Vec<String>,
}

/// Reads files while their rows fit into memory together. Blocks.
fn gather(
    at: &Files,
    keys: &ArchiveKeys,
    (table, sources): (Table, Vec<FileRow>),
    memory_max: usize,
) -> Result<Gathered, ArchiveError> {
    let files = Vec::with_capacity(sources.len());
    let mut gathered = Gathered { files, batches: Vec::new(), held: 0, large: Vec::new() };
    let schema = crate::rows::schema(table);
    for file in sources {
        let (before, mut own) = (gathered.batches.len(), 0);
        for batch in rows_of(at, &file, keys, &schema)? {
            let batch = batch?;
            own += batch.get_array_memory_size();
            gathered.batches.push(batch);
            if own > memory_max / LARGE_PART || gathered.held + own > memory_max {
                break;
            }
        }
        let is_large = own > memory_max / LARGE_PART;
        if !is_large && gathered.held + own <= memory_max {
            gathered.held += own;
            gathered.files.push(file);
            continue;
        }
        gathered.batches.truncate(before);
        if !is_large {
            break;
        }
        gathered.large.push(file.path);
    }
    Ok(gathered)
}

fn merged(
    table: Table,
    from: &[FileRow],
    (rows, bytes, sha256): (u64, u64, Vec<u8>),
) -> Result<FileRow, ArchiveError> {
    let one = from.first().ok_or(ArchiveError::Compaction { rows, expected: 0 })?;
    let day = Day::parse(&one.day).ok_or_else(|| ArchiveError::FileChanged(one.path.clone()))?;
    let least = |of: fn(&FileRow) -> i64| from.iter().map(of).min().unwrap_or_default();
    Ok(FileRow {
        path: new_path(table, &one.tenant, day, one.partition)?,
        rows,
        bytes,
        sha256,
        time_min_us: least(|file| file.time_min_us),
        time_max_us: from.iter().map(|file| file.time_max_us).max().unwrap_or_default(),
        offset_first: from.iter().map(|file| file.offset_first).min().unwrap_or_default(),
        offset_last: from.iter().map(|file| file.offset_last).max().unwrap_or_default(),
        ..one.clone()
    })
}

#[cfg(test)]
mod tests;
