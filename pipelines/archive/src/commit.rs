//! One commit: files written, made durable, then named in one transaction.

use crate::desk::Desk;
use crate::error::ArchiveError;
use crate::file::{Effort, encode};
use crate::notices::Notices;
use crate::pending::{Group, GroupKey, Pending};
use crate::shelf::{Shelf, new_path};
use crate::streams::Counts;
use crate::table::Table;
use crate::worker::{Parts, now_us};
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::{JoinSet, spawn_blocking};
use wardline_journal::Offset;
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;
use wardline_store::catalog::{Commit, FileRow};
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
    let Pending { groups, devices, refusals, heads, notices, replays, told, resends, .. } =
        std::mem::take(&mut desk.pending);
    wardline_journal::abort::at("commit.begin");
    let mut files = Vec::with_capacity(groups.len());
    let mut puts = JoinSet::new();
    for (key, group) in groups.into_files() {
        let (table, file, bytes) = encode_file(parts, key, group).await?;
        while puts.len() >= shelf.puts_max() {
            puts.join_next().await.transpose()?.transpose()?;
        }
        let (shelf, path) = (shelf.clone(), file.path.clone());
        puts.spawn(async move { shelf.put(&path, bytes).await });
        files.push((table, file));
    }
    while let Some(done) = puts.join_next().await {
        done??;
    }
    wardline_journal::abort::at("commit.put");
    shelf.sync(files.iter().map(|(_, file)| file.path.clone()).collect()).await?;
    wardline_journal::abort::at("commit.synced");
    let written = files.iter().map(|(table, file)| (*table, file.rows, file.bytes)).collect();
    let commit = Commit {
        lease,
        from_offset,
        next_offset: desk.next_offset,
        files: files.into_iter().map(|(_, file)| file).collect(),
        streams: desk.streams.changed(),
        audit_heads: heads.into_rows(),
        hours: desk.hours.changed(&desk.streams),
        told,
        replays,
        resends,
        standing: standing(parts, desk.next_offset),
        at_us: now_us(),
    };
    parts.catalog.commit(&commit).await?;
    wardline_journal::abort::at("commit.committed");
    let devices = devices.into_values().collect();
    Ok(Outcome { files: written, devices, refusals, notices })
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
