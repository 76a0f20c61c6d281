//! What fronts have put on the bus and no commit holds, as rows: judged beside the workers, as they will judge it.
//!
//! ```text
//! bus behind the committed positions -> intake -> catalog at one moment: passages, files, streams of all partitions
//!        -> what the moment holds is left out -> profiles, desk -> rows
//! ```
//! A record's name is (partition, log, number), and a commit says of each log which number comes next: by that alone it
//! is decided whether a record is in a file. An offset here is the one that the record gets if its partition is worked
//! on in the order of the bus; another worker may count it otherwise.
//!
//! **Invariant:** the bus is read before the catalog, and of each log without a hole. So a row is in a file or in the
//! tail, never in both and never in none, however the commits of partitions fall.

use super::{BODY_GROWTH, Read, Snapshot, Tail, TailBounds, TailState, is_of, judged, tag_key, wanted};
use crate::ArchiveOptions;
use crate::erased::Erased;
use crate::error::ArchiveError;
use crate::intake::{Arrival, ClockBounds, Content, Intake};
use crate::keys::ArchiveKeys;
use crate::profiles::Profiles;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;
use tokio::task::spawn_blocking;
use wardline_journal::Entry;
use wardline_proto::TenantId;
use wardline_store::Store;
use wardline_store::catalog::Catalog;
use wardline_store::cluster::LogName;
use wardline_store::standings::Standings;

/// A record that came over the bus, opened.
#[derive(Debug, Clone)]
pub struct Carried {
    /// The partition of the bus.
    pub partition: u16,
    /// The log that it is from.
    pub log: LogName,
    /// Its number there.
    pub n: u64,
    /// What the log held.
    pub entry: Entry,
}

/// What was read of the bus.
#[derive(Debug, Default)]
pub struct OnTheWay {
    /// Of each partition in the order in which its worker gets them; of each log without a hole, from what was committed
    /// before the bus was read.
    pub records: Vec<Carried>,
    /// Whether it is all that the bus had.
    pub is_whole: bool,
}

/// A record's name, and what it says; nothing when that is another tenant's.
type Named = ((u16, LogName, u64), Option<Arrival>);

/// Reads the archive of a data directory with what is on the way to it, which is without what was erased: of a tenant,
/// or of all. The bus has been read before.
pub async fn snapshot_over(
    (store, erased, keys): (&Store, &Erased, &ArchiveKeys),
    tenant: Option<&TenantId>,
    bounds: TailBounds,
    on_the_way: OnTheWay,
) -> Result<Snapshot, ArchiveError> {
    let catalog = Catalog::new(store.clone());
    let of_tenant = tenant.cloned();
    let read = spawn_blocking(move || read(on_the_way, of_tenant.as_ref(), bounds));
    let (named, is_cut) = read.await?;
    let moment = catalog.moment(&wanted(named.iter().filter_map(|(_, arrival)| arrival.as_ref()))).await?;
    let Some(tag) = tag_key(&catalog, keys.keyring()).await? else {
        // Nothing was ever archived: what judges records is made by the first worker.
        let tail = Tail { state: TailState::Cluster, ..Tail::default() };
        return Ok(Snapshot { files: moment.files, tail });
    };
    let (mut arrivals, end) = behind(named, &moment.standings);
    Profiles::default().judge(arrivals.iter_mut(), store, Duration::MAX).await?;
    arrivals.iter_mut().for_each(|arrival| erased.prune(&mut arrival.content));
    let read = Read { arrivals, start: 0, end, is_cut };
    judged(tag, moment, (0, read), tenant, bounds).await
}

/// Reads records, all partitions in one order of time, so that what is beyond the bounds is the newest of each.
fn read(on_the_way: OnTheWay, tenant: Option<&TenantId>, bounds: TailBounds) -> (Vec<Named>, bool) {
    let OnTheWay { records, is_whole } = on_the_way;
    let mut intake = Intake::new(ClockBounds::of(&ArchiveOptions::default()));
    let (mut named, mut bytes, mut body_bytes) = (Vec::new(), 0, 0);
    for Carried { partition, log, n, entry } in by_time(records) {
        if named.len() >= bounds.records_max
            || bytes >= bounds.bytes_max
            || body_bytes >= bounds.body_bytes_max
        {
            return (named, true);
        }
        bytes += entry.payload.len();
        let arrival = is_of(&entry.payload, tenant).then(|| intake.read(entry));
        if let Some(Arrival { content: Content::Publish(arrived), .. }) = &arrival {
            body_bytes += arrived.body_bytes * BODY_GROWTH;
        }
        named.push(((partition, log, n), arrival));
    }
    (named, !is_whole)
}

/// Puts the partitions together by time, each in its own order.
fn by_time(records: Vec<Carried>) -> impl Iterator<Item = Carried> {
    let mut reached = BTreeMap::<u16, i64>::new();
    let mut timed: Vec<_> = records
        .into_iter()
        .map(|record| {
            let time_us = reached.entry(record.partition).or_insert(record.entry.time_us);
            // As on a worker's belt: time never falls.
            *time_us = record.entry.time_us.max(*time_us);
            (*time_us, record)
        })
        .collect();
    timed.sort_by_key(|(time_us, _)| *time_us);
    timed.into_iter().map(|(_, record)| record)
}

/// Leaves out what a moment holds, and counts on from where its partitions stand; returns the sum of their ends too.
fn behind(named: Vec<Named>, standings: &Standings) -> (VecDeque<Arrival>, u64) {
    let logs = standings.parts.iter().flat_map(|(partition, standing)| {
        standing.logs.iter().map(|(log, next)| ((*partition, *log), *next))
    });
    let passed: HashMap<(u16, LogName), u64> = logs.collect();
    let mut ends: BTreeMap<u16, u64> =
        standings.parts.iter().map(|(partition, standing)| (*partition, standing.next_offset)).collect();
    let mut arrivals = VecDeque::new();
    for ((partition, log, n), arrival) in named {
        if passed.get(&(partition, log)).is_some_and(|next| n < *next) {
            continue;
        }
        let end = ends.entry(partition).or_default();
        if let Some(arrival) = arrival {
            arrivals.push_back(Arrival { offset: *end, ..arrival });
        }
        *end += 1;
    }
    (arrivals, ends.values().sum())
}
