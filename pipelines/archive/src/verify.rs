//! Walks catalog, files, hashes, keys, rows and streams against each other, and names every discrepancy.
//!
//! Works beside a running gateway: it changes nothing. Its view is one listing of the catalog; a file that was
//! replaced while it reads is still there (see the grace of merged files), and streams are read after files are
//! listed, so that what is committed meanwhile is no discrepancy.

mod discrepancy;
mod frames;
mod hours;
mod shredded;

pub use discrepancy::Discrepancy;
pub use shredded::Shredded;

use self::{frames::Frames, hours::Told};
use crate::dedup::Intervals;
use crate::error::ArchiveError;
use crate::read::ArchiveReader;
use crate::table::Table;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch};
use std::collections::{BTreeMap, BTreeSet};
use wardline_journal::KeyError;
use wardline_store::catalog::{FileRow, StreamRow};

/// Discrepancies that are listed; more are counted.
pub const DISCREPANCIES_MAX: usize = 10_000;

/// What a walk found.
#[derive(Debug, Clone, Default)]
pub struct Verification {
    /// Files read.
    pub files: u64,
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Streams known to the catalog.
    pub streams: u64,
    /// Frames that never came, below the greatest position of each stream.
    pub holes: u64,
    /// Rows that were erased and are in files that are not rewritten yet: no reader gets them.
    pub erased: u64,
    /// Files that were replaced and wait to be removed.
    pub retired: u64,
    /// What does not agree, at most [`DISCREPANCIES_MAX`] of it.
    pub discrepancies: Vec<Discrepancy>,
    /// Discrepancies past that bound.
    pub unlisted: u64,
}

impl Verification {
    /// Says whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.unlisted == 0 && !self.discrepancies.iter().any(Discrepancy::is_damage)
    }

    fn say(&mut self, discrepancy: Discrepancy) {
        if self.discrepancies.len() < DISCREPANCIES_MAX {
            self.discrepancies.push(discrepancy);
        } else {
            self.unlisted += 1;
        }
    }
}

/// Names a stream as rows do.
type StreamName = (String, String, u64, String);

/// A walk that can be done file by file, so that the caller can show progress.
#[derive(Debug)]
pub struct Verifier {
    reader: ArchiveReader,
    seen: BTreeMap<StreamName, Intervals>,
    streams: BTreeMap<StreamName, StreamRow>,
    next_offset: u64,
    frames: Frames,
    told: Told,
    files: std::vec::IntoIter<FileRow>,
    known: BTreeSet<String>,
    shredded: Shredded,
    /// Tenants of which nothing is left to be rewritten.
    rewritten: BTreeSet<String>,
    found: Verification,
    /// The key service's word that ended the walk: it says nothing of the files.
    ended: Option<ArchiveError>,
}

impl Verifier {
    /// Lists what the catalog knows.
    pub async fn start(reader: ArchiveReader) -> Result<Self, ArchiveError> {
        let mut found = Verification::default();
        // Before files are listed: what was rewritten then is in none of them.
        let rewritten = reader.rewritten().await?;
        let files = reader.files(None).await?;
        let retired = reader.retired().await?;
        found.retired = retired.len() as u64;
        let (mut seen, mut streams) = (BTreeMap::new(), BTreeMap::new());
        for row in reader.stream_rows().await? {
            found.streams += 1;
            let lane = wardline_proto::v1::Lane::try_from(row.id.lane).ok().and_then(crate::rows::lane_name);
            let name = format!("stream {}/{} epoch {}", row.id.tenant, row.id.device, row.id.epoch);
            let Some(intervals) = Intervals::decode(&row.seen) else {
                found.say(Discrepancy::Catalog(name));
                continue;
            };
            found.holes += intervals.missing().map(|hole| hole.end() - hole.start() + 1).sum::<u64>();
            if let Some(lane) = lane {
                let name = (row.id.tenant.clone(), row.id.device.clone(), row.id.epoch, lane.to_owned());
                if let Some(how) = frames::counted(&row, &intervals) {
                    found.say(Discrepancy::Intervals(frames::name(&name), how));
                }
                streams.insert(name.clone(), row);
                seen.insert(name, intervals);
            }
        }
        let shredded = Shredded::of(&reader.catalog).await?;
        let known = files.iter().map(|file| file.path.clone()).chain(retired).collect();
        // Read last: what was committed meanwhile is behind no file that was listed.
        let next_offset = match reader.catalog.is_cluster().await? {
            // Each partition counts its own.
            true => u64::MAX,
            false => reader.next_offset().await?.unwrap_or(0),
        };
        let (files, frames, told) = (files.into_iter(), Frames::default(), Told::default());
        Ok(Self {
            reader,
            seen,
            streams,
            next_offset,
            frames,
            told,
            files,
            known,
            shredded,
            rewritten,
            found,
            ended: None,
        })
    }

    /// Returns how many files are left.
    pub fn remaining(&self) -> usize {
        self.files.len()
    }

    /// Checks the next file; `false` when none is left. Blocks.
    pub fn step(&mut self) -> bool {
        let Some(file) = self.files.next() else { return false };
        self.found.files += 1;
        self.found.bytes += file.bytes;
        let path = file.path.clone();
        match self.check(&file) {
            Ok(()) => {}
            Err(ArchiveError::FileChanged(path)) => self.found.say(Discrepancy::Changed(path)),
            Err(ArchiveError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                self.found.say(Discrepancy::Missing(path));
            }
            Err(ArchiveError::Parquet(_)) if self.shredded.has(&file) => {
                self.found.say(Discrepancy::Shredded(path));
            }
            Err(error @ ArchiveError::Key(KeyError::Away(_) | KeyError::Refused(_))) => {
                self.ended = Some(error);
                return false;
            }
            Err(error) => self.found.say(Discrepancy::Unreadable(path, error.to_string())),
        }
        true
    }

    /// Looks for stray files and returns what was found. An error when the key service ended the walk.
    pub async fn finish(mut self) -> Result<Verification, ArchiveError> {
        if let Some(error) = self.ended {
            return Err(error);
        }
        // What was replaced since the start, and removed after its grace, is not missing: its rows are in a file that was
        // not listed.
        let now: BTreeSet<_> = self.reader.files(None).await?.into_iter().map(|file| file.path).collect();
        let is_moved =
            |found: &Discrepancy| matches!(found, Discrepancy::Missing(path) if !now.contains(path));
        let moved = self.found.discrepancies.iter().any(is_moved);
        self.compare(!moved).await?;
        self.found.discrepancies.retain(|found| !is_moved(found));
        let present = self.reader.place().list().await?;
        // What was committed or retired since the start is known too.
        self.known.extend(self.reader.files(None).await?.into_iter().map(|file| file.path));
        self.known.extend(self.reader.held_paths().await?);
        self.known.extend(self.reader.retired().await?);
        for path in present.into_iter().filter(|path| !self.known.contains(path)) {
            self.found.say(Discrepancy::Stray(path));
        }
        Ok(self.found)
    }

    /// Compares what was found in files with what is known of each stream. One that goes on meanwhile is left alone; of
    /// rows that were not in all listed files nothing is known.
    async fn compare(&mut self, is_all: bool) -> Result<(), ArchiveError> {
        let whole = !self.found.discrepancies.iter().any(Discrepancy::is_damage) && self.found.unlisted == 0;
        for (name, row) in std::mem::take(&mut self.streams) {
            let now = self.reader.catalog.stream(&row.id).await?;
            let Some(seen) = self.seen.get(&name).filter(|_| now.as_ref() == Some(&row)) else { continue };
            let (told, found) = (&self.told, &mut self.found);
            let mut say = |what| found.say(what);
            told.compare(&self.reader.catalog, (&name, &row, seen), is_all, &mut say).await?;
            // Of a file that does not read nothing was found; what was erased is in no file, or half a frame of it.
            let reads = whole && !self.shredded.is_of(&row.id.tenant);
            let is_less = reads && row.erased == 0 && self.reader.erased().is_empty();
            let frames = self.frames.of(&name);
            let frames =
                frames.filter(|frames| *frames > row.archived || (is_less && *frames < row.archived));
            if let Some(frames) = frames.filter(|_| row.id.epoch > 0) {
                self.found.say(Discrepancy::Frames(frames::name(&name), frames, row.archived));
            }
        }
        Ok(())
    }

    fn check(&mut self, file: &FileRow) -> Result<(), ArchiveError> {
        let Some(table) = Table::from_name(&file.table) else {
            self.found.say(Discrepancy::Catalog(format!("table {} of {}", file.table, file.path)));
            return Ok(());
        };
        let (mut rows, mut times_agree, mut tenants_agree) = (0, true, true);
        let mut batches = self.reader.read(file)?;
        for batch in batches.by_ref() {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            times_agree &= times_are_within(&batch, table, file);
            tenants_agree &= texts(&batch, "tenant")
                .is_none_or(|tenants| tenants.into_iter().all(|t| t == Some(file.tenant.as_str())));
            if table != Table::Audit && table != Table::Quarantine {
                self.positions(&batch, table, file);
            }
        }
        let found = &mut self.found;
        self.frames.end(file, &mut |what| found.say(what));
        if file.offset_first > file.offset_last || (rows > 0 && file.offset_last >= self.next_offset) {
            self.found.say(Discrepancy::Offsets(file.path.clone()));
        }
        self.found.rows += rows;
        let struck = batches.struck();
        if struck > 0 && self.rewritten.contains(&file.tenant) {
            self.found.say(Discrepancy::Unerased(file.path.clone(), struck));
        }
        self.found.erased += struck;
        rows += struck;
        if rows != file.rows {
            self.found.say(Discrepancy::Rows(file.path.clone(), rows, file.rows));
        }
        if !times_agree {
            self.found.say(Discrepancy::Times(file.path.clone()));
        }
        if !tenants_agree {
            self.found.say(Discrepancy::Tenant(file.path.clone()));
        }
        Ok(())
    }

    /// Every row of a stream stands at a position that the catalog has seen.
    fn positions(&mut self, batch: &RecordBatch, table: Table, file: &FileRow) {
        let number = |name| batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<UInt64Type>());
        if table == Table::Completeness {
            return self.told.take_all(batch, file);
        }
        let (Some(epochs), Some(seqs)) = (number("epoch"), number("seq")) else { return };
        let offsets = number("journal_offset");
        let (Some(devices), Some(lanes)) = (texts(batch, "device"), texts(batch, "lane")) else { return };
        let mut last: Option<(StreamName, u64)> = None;
        for (row, (device, lane)) in devices.zip(lanes).enumerate() {
            let offset = offsets.filter(|offsets| offsets.is_valid(row)).map(|offsets| offsets.value(row));
            self.frames.take(file, None, offset);
            let (Some(device), Some(lane)) = (device, lane) else { continue };
            if epochs.is_null(row) || seqs.is_null(row) {
                continue;
            }
            let (epoch, seq) = (epochs.value(row), seqs.value(row));
            // Rows of one frame follow each other.
            if last.as_ref().is_some_and(|(s, q)| *q == seq && s.2 == epoch && s.1 == device && s.3 == lane) {
                continue;
            }
            let name = (file.tenant.clone(), device.to_owned(), epoch, lane.to_owned());
            if !self.seen.get(&name).is_some_and(|seen| seen.contains(seq)) {
                let stream = format!("{}/{device} epoch {epoch} lane {lane}", file.tenant);
                self.found.say(Discrepancy::Unseen(file.path.clone(), stream, seq));
            }
            self.frames.take(file, Some((&name, seq)), None);
            last = Some((name, seq));
        }
    }
}

fn times_are_within(batch: &RecordBatch, table: Table, file: &FileRow) -> bool {
    let column = batch.column_by_name(table.time_column());
    let Some(times) = column.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()) else {
        return false;
    };
    times.iter().flatten().all(|at_us| (file.time_min_us..=file.time_max_us).contains(&at_us))
}

/// Returns the texts of a dictionary column; none when the table has no such column.
fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Option<impl Iterator<Item = Option<&'a str>> + use<'a>> {
    let dictionary = batch.column_by_name(name)?.as_dictionary_opt::<Int32Type>()?;
    let values = dictionary.values().as_string_opt::<i32>()?;
    let text = move |key: Option<i32>| {
        let key = usize::try_from(key?).ok().filter(|key| *key < values.len())?;
        values.is_valid(key).then(|| values.value(key))
    };
    Some(dictionary.keys().iter().map(text))
}
