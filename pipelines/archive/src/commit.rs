//! One commit: files written, made durable, then named in one transaction.

use crate::desk::Desk;
use crate::error::ArchiveError;
use crate::file::{Effort, encode};
use crate::held::{HeldRecord, seal};
use crate::notices::Notices;
use crate::pending::{Group, GroupKey, Pending};
use crate::session::holding::probe;
use crate::shelf::{Shelf, new_held_path, new_path};
use crate::streams::Counts;
use crate::table::{Day, Table};
use crate::tenant::SYSTEM;
use crate::worker::{Parts, now_us};
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::{JoinSet, spawn_blocking};
use wardline_journal::{KeyError, Offset};
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;
use wardline_store::catalog::{Commit, FileRow, HeldFile};
use wardline_store::cluster::Standing;

/// What a commit changed.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Table, rows and bytes of each file.
    pub(crate) files: Vec<(Table, u64, u64)>,
    pub(crate) devices: BTreeMap<DeviceKey, Counts>,
    pub(crate) refusals: BTreeMap<Refusal, u64>,
    pub(crate) notices: Notices,
}

/// Commits what the desk has taken. On error nothing is committed, unless the database hid its success; both ways the
/// session ends and the catalog says what holds.
pub(crate) async fn write(
    parts: &Parts,
    shelf: &Arc<Shelf>,
    desk: &mut Desk,
    (lease, from_offset): (u64, u64),
) -> Result<Outcome, ArchiveError> {
    let Pending {
        groups, devices, refusals, heads, notices, replays, told, resends, held, taken_back, ..
    } = std::mem::take(&mut desk.pending);
    wardline_journal::abort::at("commit.begin");
    let mut files = Vec::with_capacity(groups.len());
    let mut puts = Puts { shelf: shelf.clone(), set: JoinSet::new(), paths: Vec::new() };
    let mut groups = groups.into_files();
    while let Some((key, group)) = groups.next() {
        let tenant = key.tenant.clone();
        let (table, file, bytes) = match encode_file(parts, key, group).await {
            Err(ArchiveError::Key(error)) => {
                return Err(refused(parts, (tenant, error), groups.map(|(key, _)| key.tenant)).await);
            }
            encoded => encoded?,
        };
        puts.put(&file.path, bytes).await?;
        files.push((table, file));
    }
    let held = put_held(parts, &mut puts, held).await?;
    puts.finish().await?;
    wardline_journal::abort::at("commit.synced");
    let written = files.iter().map(|(table, file)| (*table, file.rows, file.bytes)).collect();
    let commit = Commit {
        lease,
        from_offset,
        next_offset: desk.next_offset,
        files: files.into_iter().map(|(_, file)| file).collect(),
        streams: desk.changed_streams(),
        audit_heads: heads.into_rows(),
        hours: desk.hours.changed(&desk.streams),
        told,
        replays,
        resends,
        held,
        taken_back,
        standing: standing(parts, desk.next_offset),
        at_us: now_us(),
    };
    parts.catalog.commit(&commit).await?;
    wardline_journal::abort::at("commit.committed");
    let devices = devices.into_iter().flatten().collect();
    Ok(Outcome { files: written, devices, refusals, notices })
}

/// Files on their way to the shelf.
struct Puts {
    shelf: Arc<Shelf>,
    set: JoinSet<Result<(), ArchiveError>>,
    paths: Vec<String>,
}

impl Puts {
    async fn put(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        while self.set.len() >= self.shelf.puts_max() {
            self.set.join_next().await.transpose()?.transpose()?;
        }
        let (shelf, path) = (self.shelf.clone(), path.to_owned());
        self.paths.push(path.clone());
        self.set.spawn(async move { shelf.put(&path, bytes).await });
        Ok(())
    }

    /// Returns when all are durable.
    async fn finish(mut self) -> Result<(), ArchiveError> {
        while let Some(done) = self.set.join_next().await {
            done??;
        }
        wardline_journal::abort::at("commit.put");
        self.shelf.sync(self.paths).await
    }
}

/// Writes the records of tenants that are held back.
async fn put_held(
    parts: &Parts,
    puts: &mut Puts,
    held: BTreeMap<(String, u16), Vec<HeldRecord>>,
) -> Result<Vec<HeldFile>, ArchiveError> {
    let mut files = Vec::with_capacity(held.len());
    if held.is_empty() {
        return Ok(files);
    }
    let sealer = Arc::new(parts.sealer()?);
    for ((tenant, partition), records) in held {
        let day = Day::of_micros(records.first().map_or(0, |record| record.time_us));
        let path = new_held_path(&tenant, day, partition)?;
        let sealer = sealer.clone();
        let work = move || seal(&records, (path, tenant, partition), &sealer);
        let (bytes, file) = spawn_blocking(work).await??;
        puts.put(&file.path, bytes).await?;
        files.push(file);
    }
    Ok(files)
}

/// Says whose keys are refused, when they are a tenant's own: of all for whom files were to be written. A service that is
/// away is away for everybody.
async fn refused(
    parts: &Parts,
    (tenant, error): (String, KeyError),
    others: impl Iterator<Item = String>,
) -> ArchiveError {
    if tenant == SYSTEM || !is_refusal(&error) {
        return error.into();
    }
    let others: BTreeSet<String> = others.filter(|other| other != SYSTEM && *other != tenant).collect();
    let mut tenants = BTreeSet::from([tenant]);
    for other in others {
        if let Ok(Err(error)) = probe(&parts.keys, &other).await
            && is_refusal(&error)
        {
            tenants.insert(other);
        }
    }
    ArchiveError::KeysOf { tenants, error }
}

fn is_refusal(error: &KeyError) -> bool {
    matches!(error, KeyError::Refused(_) | KeyError::Unknown)
}

/// Says what a partition's claim moves to beside the position.
fn standing(parts: &Parts, next_offset: u64) -> Standing {
    let passage = parts.source.passage(Offset::new(next_offset)).unwrap_or_default();
    Standing { next_offset, position: passage.position, logs: passage.logs }
}

async fn encode_file(
    parts: &Parts,
    key: GroupKey,
    group: Group,
) -> Result<(Table, FileRow, Vec<u8>), ArchiveError> {
    let path = new_path(key.table, &key.tenant, key.day, key.partition)?;
    let (table, tenant, keys) = (key.table, key.tenant.clone(), parts.keys.clone());
    let Group { rows, count, time_us, offsets } = group;
    let work = move || {
        let bytes = encode(table, &tenant, &rows.finish(table)?, (&keys, Effort::Commit))?;
        let sha256 = digest(&SHA256, &bytes).as_ref().to_vec();
        Ok::<_, ArchiveError>((bytes, sha256))
    };
    let (bytes, sha256) = spawn_blocking(work).await??;
    let file = FileRow {
        path,
        table: table.name().to_owned(),
        tenant: key.tenant,
        day: key.day.to_string(),
        partition: key.partition,
        rows: count as u64,
        bytes: bytes.len() as u64,
        sha256,
        time_min_us: time_us.0,
        time_max_us: time_us.1,
        offset_first: offsets.0,
        offset_last: offsets.1,
    };
    Ok((table, file, bytes))
}
