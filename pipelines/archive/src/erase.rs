//! What was erased leaves the files: each that holds a row of the erase list is written again without it.
//!
//! ```text
//! asked for in SQL, filtered out of every read -> the list is known here, and nothing new of it becomes a row
//!     -> each file of the devices: read, verify, strike -> the new file, durable
//!     -> one transaction: the new file in, the old one retired, rows and frames counted
//!     -> after a grace, for readers that listed the old ones: remove them
//! ```
//! A crash leaves a file that no commit names, which is swept, or files to look at again: one that was written again
//! holds nothing to strike. Rows that stay keep their order and values. Small files are not merged meanwhile.

use crate::erased::{Erased, told};
use crate::error::ArchiveError;
use crate::file::{Effort, encode};
use crate::files::Files;
use crate::hours::hour_of_publish;
use crate::keys::ArchiveKeys;
use crate::read::{Columns, rows_of};
use crate::shelf::{Shelf, new_path};
use crate::streams::{outside, stream_of};
use crate::table::{Day, Table};
use crate::worker::{Parts, now_us};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use wardline_journal::KeyError;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::Lane;
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::catalog::{FileRow, StreamId};
use wardline_store::erasure::{ErasedFile, ErasedFrames, Erasure};

/// Tables that hold rows of subjects.
const TABLES: [Table; 5] =
    [Table::Numerics, Table::Waveforms, Table::Alarms, Table::Events, Table::Quarantine];
/// Frames outside any lane that are remembered as counted; past it one that has rows in two tables counts twice.
const FRAMES_MAX: usize = 1_000_000;
/// Why an erasure does not go on.
const HELD: &str = "legal hold";

/// Erasures under way: the files that are still to be looked at.
#[derive(Debug)]
pub(crate) struct Job {
    /// Name and tenant.
    erasures: Vec<(String, String)>,
    files: Vec<FileRow>,
    counted: Counted,
    replayed: Arc<HashSet<u64>>,
    /// Paths of files that do not read, by tenant: one tenant's damage neither stops another nor is told to it.
    unreadable: BTreeMap<String, Vec<String>>,
    held: BTreeSet<String>,
}

/// Frames without a lane that were counted: their rows may be in several tables.
type Counted = HashSet<u64>;

/// Returns the erasures that are open here, of those that `list` has whole.
pub(crate) async fn due(parts: &Parts, list: &Erased) -> Result<Vec<Erasure>, ArchiveError> {
    let mut open = parts.store.erasures(None).await?;
    // What was asked for since the list was read is in no row that it strikes: it has the next turn. Among other
    // workers each has the files of its own partitions, and the last one ends the erasure.
    let here = parts.catalog.erased_here().await?;
    let is_due = |erasure: &Erasure| list.has(erasure) && !here.contains(&erasure.erasure_id);
    open.retain(|erasure| erasure.rewritten_at_us.is_none() && is_due(erasure));
    let holds = parts.store.holds().await?;
    // By a list that holds a tenant, what arrives of it is kept, though the hold is gone by now.
    let is_held = |erasure: &Erasure| {
        list.held().contains(&erasure.tenant) || holds.iter().any(|hold| hold.tenant == erasure.tenant)
    };
    for erasure in open.iter().filter(|erasure| is_held(erasure)) {
        parts.catalog.tell_erasing(&erasure.erasure_id, 0, HELD).await?;
    }
    open.retain(|erasure| !is_held(erasure));
    Ok(open)
}

impl Job {
    /// Lists what the files of erasures are that are due. What was taken before their list was known must be committed.
    pub(crate) async fn start(parts: &Parts, open: Vec<Erasure>) -> Result<Self, ArchiveError> {
        let tenants: BTreeSet<String> = open.iter().map(|erasure| erasure.tenant.clone()).collect();
        let places = places(&open);
        let mut files = parts.catalog.files(None).await?;
        files.retain(|file| {
            let is_of = Table::from_name(&file.table).is_some_and(|table| TABLES.contains(&table));
            is_of
                && parts.catalog.owns(file.partition)
                && places.contains(&(file.tenant.clone(), file.partition))
        });
        // Taken from the end: the tables in the order of their names.
        files.sort_by(|a, b| b.path.cmp(&a.path));
        let mut replayed = HashSet::new();
        for tenant in &tenants {
            let done = parts.store.replays(Some(tenant)).await?;
            let is_rows = |replay: &wardline_store::replay::Replay| {
                // Offsets are of a worker's own log: another's frame of the same offset is another frame.
                replay.outcome == Some(wardline_store::replay::Outcome::Replayed)
                    && parts.catalog.owns(replay.frame.partition)
            };
            replayed.extend(done.into_iter().filter(is_rows).map(|replay| replay.frame.offset));
        }
        let job = Self {
            erasures: open.into_iter().map(|erasure| (erasure.erasure_id, erasure.tenant)).collect(),
            files,
            counted: Counted::new(),
            replayed: Arc::new(replayed),
            unreadable: BTreeMap::new(),
            held: BTreeSet::new(),
        };
        job.tell(parts).await?;
        Ok(job)
    }

    /// Ends none of the erasures of tenants that are under legal hold now: what arrives of theirs is kept.
    pub(crate) fn hold(&mut self, tenants: &HashSet<String>) {
        self.held.extend(tenants.iter().cloned());
    }

    /// Looks at the next file, and writes it again when it must. `false` when none is left.
    pub(crate) async fn step(
        &mut self,
        parts: &Parts,
        shelf: &Arc<Shelf>,
        (lease, erased): (u64, &Arc<Erased>),
    ) -> Result<bool, ArchiveError> {
        let Some(file) = self.files.pop() else { return Ok(false) };
        wardline_journal::abort::at("erase.read");
        let looked = Look { file: file.clone(), erased: erased.clone(), keys: parts.keys.clone() };
        let (at, replayed) = (shelf.files().clone(), self.replayed.clone());
        let counted = std::mem::take(&mut self.counted);
        let (struck, counted) = spawn_blocking(move || {
            let mut counted = counted;
            (looked.strike(&at, &replayed, &mut counted), counted)
        })
        .await?;
        self.counted = counted;
        match struck {
            Ok(None) => {}
            Ok(Some(struck)) => self.replace(parts, shelf, lease, struck).await?,
            Err(ArchiveError::Unreadable(path, why)) => {
                tracing::error!(file = path, why, "a file that may hold erased rows does not read");
                self.unreadable.entry(file.tenant).or_default().push(path);
            }
            Err(
                error @ (ArchiveError::FileChanged(_)
                | ArchiveError::OtherColumns(_)
                | ArchiveError::Io(_)
                // The key that it was under, or that it would be written under.
                | ArchiveError::Key(KeyError::Refused(_) | KeyError::Unknown)),
            ) => {
                tracing::error!(%error, "a file that may hold erased rows does not read");
                self.unreadable.entry(file.tenant).or_default().push(file.path);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    async fn replace(
        &mut self,
        parts: &Parts,
        shelf: &Arc<Shelf>,
        lease: u64,
        struck: Struck,
    ) -> Result<(), ArchiveError> {
        let Struck { mut change, bytes } = struck;
        if let (Some(into), Some(bytes)) = (&change.into, bytes) {
            shelf.put(&into.path, bytes).await?;
            wardline_journal::abort::at("erase.put");
            shelf.sync(vec![into.path.clone()]).await?;
        }
        wardline_journal::abort::at("erase.synced");
        change.lease = lease;
        if !parts.catalog.erase_file(&change).await? {
            self.held.insert(change.tenant.clone());
            let unused: Vec<String> = change.into.iter().map(|into| into.path.clone()).collect();
            shelf.remove(unused).await?;
        }
        wardline_journal::abort::at("erase.committed");
        self.tell(parts).await
    }

    /// Ends the erasures, or tells what is in their way. `true`: they are all rewritten.
    pub(crate) async fn end(self, parts: &Parts, lease: u64) -> Result<bool, ArchiveError> {
        wardline_journal::abort::at("erase.end");
        let mut is_done = true;
        for (erasure_id, tenant) in &self.erasures {
            let problem = self.problem(tenant);
            if problem.is_empty() {
                parts.catalog.end_erasing(lease, erasure_id, now_us()).await?;
            } else {
                is_done = false;
                let left = self.unreadable.get(tenant).map_or(0, Vec::len) as u64;
                parts.catalog.tell_erasing(erasure_id, left, &problem).await?;
            }
        }
        Ok(is_done)
    }

    fn problem(&self, tenant: &str) -> String {
        let unreadable = self.unreadable.get(tenant);
        match unreadable.and_then(|paths| Some((paths.len(), paths.first()?))) {
            _ if self.held.contains(tenant) => HELD.to_owned(),
            None => String::new(),
            Some((files, path)) => format!("{files} files do not read, such as {path}"),
        }
    }

    async fn tell(&self, parts: &Parts) -> Result<(), ArchiveError> {
        for (erasure_id, tenant) in &self.erasures {
            let left = self.files.iter().filter(|file| file.tenant == *tenant).count() as u64;
            parts.catalog.tell_erasing(erasure_id, left, &self.problem(tenant)).await?;
        }
        Ok(())
    }
}

/// Tenants and partitions whose files may hold a row of a range.
fn places(open: &[Erasure]) -> BTreeSet<(String, u16)> {
    let ranges = open.iter().flat_map(|erasure| &erasure.ranges);
    let place = |range: &wardline_store::erasure::ErasedRange| {
        let key = DeviceKey {
            tenant: TenantId::new(&range.tenant).ok()?,
            device: DeviceId::new(&range.device).ok()?,
        };
        Some((range.tenant.clone(), key.partition().get()))
    };
    ranges.filter_map(place).collect()
}

/// A file without what was erased.
struct Struck {
    change: ErasedFile,
    bytes: Option<Vec<u8>>,
}

/// A file that is looked at.
struct Look {
    file: FileRow,
    erased: Arc<Erased>,
    keys: Arc<ArchiveKeys>,
}

impl Look {
    /// Leaves out what was erased; none when the file holds nothing of it. Blocks.
    fn strike(
        self,
        at: &Files,
        replayed: &HashSet<u64>,
        counted: &mut Counted,
    ) -> Result<Option<Struck>, ArchiveError> {
        let file = &self.file;
        let Some(table) = Table::from_name(&file.table) else { return Ok(None) };
        let schema = crate::rows::schema(table);
        let rows = rows_of(at, file, &self.keys, &schema)?.collect::<Result<Vec<_>, _>>()?;
        let rows = concat_batches(&schema, &rows)?;
        let Some(taken) = self.erased.taken(table, &rows) else { return Ok(None) };
        let mask: BooleanArray = taken.iter().map(|erasure| Some(erasure.is_none())).collect();
        let kept = filter_record_batch(&rows, &mask)?;
        let mut of = BTreeMap::<String, u64>::new();
        taken.iter().flatten().for_each(|id| *of.entry(id.to_string()).or_default() += 1);
        let gone = Gone { table, rows: &rows, taken: &mask, replayed };
        let frames = gone.frames(counted);
        let (into, bytes) = if kept.num_rows() == 0 {
            (None, None)
        } else {
            let bytes = encode(table, &file.tenant, &kept, (&self.keys, Effort::Merge))?;
            (Some(rewritten(table, file, &kept, &bytes)?), Some(bytes))
        };
        let change = ErasedFile {
            lease: 0,
            from: file.path.clone(),
            into,
            table: file.table.clone(),
            tenant: file.tenant.clone(),
            rows: of.into_iter().collect(),
            frames,
            at_us: now_us(),
        };
        Ok(Some(Struck { change, bytes }))
    }
}

/// Names the file of the rows that stay.
fn rewritten(
    table: Table,
    file: &FileRow,
    kept: &RecordBatch,
    bytes: &[u8],
) -> Result<FileRow, ArchiveError> {
    let name = table.time_column();
    let times = kept.column_by_name(name).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or(ArchiveError::Column(name))?.values();
    let day = Day::parse(&file.day).ok_or_else(|| ArchiveError::FileChanged(file.path.clone()))?;
    Ok(FileRow {
        path: new_path(table, &file.tenant, day, file.partition)?,
        rows: kept.num_rows() as u64,
        bytes: bytes.len() as u64,
        sha256: digest(&SHA256, bytes).as_ref().to_vec(),
        time_min_us: times.iter().copied().min().unwrap_or_default(),
        time_max_us: times.iter().copied().max().unwrap_or_default(),
        ..file.clone()
    })
}

/// The rows of a file, and which of them go.
struct Gone<'a> {
    table: Table,
    rows: &'a RecordBatch,
    /// True: it stays.
    taken: &'a BooleanArray,
    replayed: &'a HashSet<u64>,
}

impl Gone<'_> {
    /// Counts the frames of which the file has no row any more.
    fn frames(&self, counted: &mut Counted) -> Vec<ErasedFrames> {
        let columns = Columns(self.rows);
        let offset = |row| columns.number("journal_offset", row);
        let stay: HashSet<u64> =
            (0..self.rows.num_rows()).filter(|row| self.taken.value(*row)).map(offset).collect();
        let (mut seen, mut frames) = (HashSet::new(), BTreeMap::<(StreamId, i64), ErasedFrames>::new());
        for row in (0..self.rows.num_rows()).filter(|row| !self.taken.value(*row)) {
            let at = offset(row);
            if stay.contains(&at) || !seen.insert(at) {
                continue;
            }
            let has_lane = columns.term("lane", row).is_some();
            if !has_lane && self.table != Table::Quarantine {
                let is_new = counted.insert(at);
                if !is_new {
                    continue;
                }
                if counted.len() > FRAMES_MAX {
                    counted.clear();
                }
            }
            let Some((id, hour_us)) = self.hour(&columns, row) else { continue };
            let of = frames.entry((id.clone(), hour_us)).or_insert(ErasedFrames {
                id,
                hour_us,
                archived: 0,
                quarantined: 0,
            });
            match self.table {
                // Its rows are counted where they are.
                Table::Quarantine if self.replayed.contains(&at) => {}
                Table::Quarantine => of.quarantined += 1,
                _ => of.archived += 1,
            }
        }
        frames.into_values().filter(|of| of.archived + of.quarantined > 0).collect()
    }

    /// Returns the stream and hour in which a row's frame was counted when it came.
    fn hour(&self, columns: &Columns<'_>, row: usize) -> Option<(StreamId, i64)> {
        let key = DeviceKey {
            tenant: TenantId::new(columns.term("tenant", row)?).ok()?,
            device: DeviceId::new(columns.term("device", row)?).ok()?,
        };
        let ingest_us = columns.time("ingest_time", row);
        let sent_at_us = if self.table == Table::Quarantine {
            let payload = columns.bytes("payload", row).into();
            told(&payload, columns.term("format", row) == Some("json"), ingest_us).sent_at_us
        } else {
            columns.column("edge_time", row).is_some().then(|| columns.time("edge_time", row))
        };
        let is_outside = self.table == Table::Quarantine
            && columns.term("reason", row) == Some(Refusal::StreamFragmented.code());
        let lane = columns.term("lane", row).and_then(crate::rows::lane_of_name).filter(|_| !is_outside);
        let id = lane.map_or_else(
            || outside(&key),
            |lane: Lane| {
                let (epoch, seq) = (columns.number("epoch", row), columns.number("seq", row));
                stream_of(&key, crate::intake::Position { epoch, seq, lane })
            },
        );
        Some((id, hour_of_publish(sent_at_us, ingest_us)))
    }
}
