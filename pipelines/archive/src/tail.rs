//! What the journal holds and no commit does, as rows: read beside a running gateway, judged as the archive will.
//!
//! ```text
//! journal from the committed position, durable -> intake -> catalog at one moment: position, files, streams
//!        -> what the moment holds is left out -> profiles, desk -> rows
//! ```
//! **Invariant:** the journal is read before the catalog. So every record of the tail stands at or behind the position
//! of the very moment whose files are listed: a row is in a file or in the tail, never in both, however a commit falls.
//! **Invariant:** what is shown is durable: the file of the last batch is synced before its rows are given.
//!
//! It changes nothing, and it is bounded: a tail that is longer is cut at its new end, and says so. A profile that
//! changed between now and the commit may judge a frame otherwise then.
//!
//! Where several machines take records, what is on the bus takes the journal's place: [`carried`].

pub mod carried;

use crate::ArchiveOptions;
use crate::dedup::Intervals;
use crate::desk::Desk;
use crate::erased::Erased;
use crate::error::ArchiveError;
use crate::intake::{Arrival, ClockBounds, Content, Intake};
use crate::keys::ArchiveKeys;
use crate::profiles::Profiles;
use crate::session::TAG_KEY;
use crate::streams::{Streams, outside, stream_of};
use crate::table::Table;
use arrow_array::RecordBatch;
use prost::Message;
use ring::hmac;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use wardline_journal::{DiskStorage, KeyPurpose, Keyring, Offset, OpenError, Sealer, scan_durable};
use wardline_proto::TenantId;
use wardline_proto::v1::JournalRecord;
use wardline_proto::v1::journal_record::Kind;
use wardline_store::catalog::{Catalog, FileRow, Moment, StreamId};
use wardline_store::hours::HourRow;
use wardline_store::standings::Standings;
use wardline_store::{Store, StoreError};

/// Name of the journal's folder in a data directory.
pub const JOURNAL_DIR: &str = "journal";
/// Name of the file in it that holds its id.
const JOURNAL_ID: &str = "id";
/// How many times what it takes on the wire a body takes in memory, at most: a sample of one byte is four there.
const BODY_GROWTH: usize = 4;
/// A commit that drops what is being read makes it start over, so often.
const TRIES: usize = 4;

/// How much of a tail is read.
#[derive(Debug, Clone, Copy)]
pub struct TailBounds {
    /// Records of the journal.
    pub records_max: usize,
    /// Bytes of their payloads.
    pub bytes_max: usize,
    /// Bytes of what the payloads say, in memory: a compressed one may say thousands of times what it takes.
    pub body_bytes_max: usize,
    /// Bytes of the rows in memory.
    pub row_bytes_max: usize,
}

impl Default for TailBounds {
    fn default() -> Self {
        Self {
            records_max: 200_000,
            bytes_max: 32 << 20,
            body_bytes_max: 128 << 20,
            row_bytes_max: 128 << 20,
        }
    }
}

/// How whole a tail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TailState {
    /// It ends at the journal's durable end; of several machines, where the bus ended when it was asked.
    Whole,
    /// The newest records are not in it: it was longer than its bounds, or the bus had not delivered them in time.
    Cut,
    /// There is no journal of this archive on this machine.
    #[default]
    Elsewhere,
    /// Several machines take records, and nobody here reads the bus that they come over.
    Cluster,
    /// The journal or a key of it does not read.
    Unreadable,
    /// It is whole but for what is held back of tenants whose keys are refused.
    Held,
}

impl TailState {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cut => "cut",
            Self::Elsewhere => "elsewhere",
            Self::Cluster => "cluster",
            Self::Unreadable => "unreadable",
            Self::Held => "held",
        }
    }
}

/// Rows behind the committed position.
#[derive(Debug, Default)]
pub struct Tail {
    /// Whether there is more.
    pub state: TailState,
    /// First offset of it: the committed position.
    pub from: u64,
    /// First offset behind it; of several machines the sum over their partitions.
    pub end: u64,
    /// Of several machines: where the archive of each of their partitions stands before it.
    pub standings: Standings,
    /// Its rows.
    pub rows: BTreeMap<Table, Vec<RecordBatch>>,
    /// What it adds to the hours of streams.
    pub(crate) hours: Vec<HourRow>,
    /// What its streams have seen, with it.
    pub(crate) seen: BTreeMap<StreamId, Intervals>,
}

/// One view of the archive: the files of one commit and what stands behind it.
#[derive(Debug)]
pub struct Snapshot {
    /// Committed files, in order of commit.
    pub files: Arc<Vec<FileRow>>,
    /// What is in none of them.
    pub tail: Tail,
}

/// Reads the archive of a data directory with its tail, which is without what was erased: of a tenant, or of all.
pub async fn snapshot(
    data_dir: &Path,
    (store, erased, keys): (&Store, &Erased, &ArchiveKeys),
    tenant: Option<&TenantId>,
    bounds: TailBounds,
) -> Result<Snapshot, ArchiveError> {
    let catalog = Catalog::new(store.clone());
    let keyring = keys.keyring();
    let mut state = TailState::Elsewhere;
    for _try in 0..TRIES {
        let journal = data_dir.join(JOURNAL_DIR);
        // The origin is looked at last: it is told before a position is.
        let standing = async { Ok((catalog.position().await?, is_origin(store, &journal).await?)) };
        let (is_cluster, (position, is_origin)) = tokio::try_join!(store.is_cluster(), standing)?;
        if is_cluster {
            state = TailState::Cluster;
            break;
        }
        let (Some(from), true) = (position, is_origin) else { break };
        let (keys, tenant_of) = (keyring.clone(), tenant.cloned());
        let read = spawn_blocking(move || read_journal(journal, &keys, from, tenant_of.as_ref(), bounds));
        let read = match read.await? {
            Ok(read) => read,
            // Retention took a segment, or the writer began one: another look.
            Err(OpenError::Io(error)) if error.kind() == ErrorKind::NotFound => {
                state = TailState::Unreadable;
                continue;
            }
            Err(OpenError::Missing { .. }) => {
                state = TailState::Unreadable;
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the journal's tail does not read");
                state = TailState::Unreadable;
                break;
            }
        };
        let moment = catalog.moment(&wanted(&read.arrivals)).await?;
        if moment.is_cluster() {
            state = TailState::Cluster;
            continue;
        }
        let position = moment.next_offset.unwrap_or(from);
        if read.start > position {
            state = TailState::Unreadable;
            continue;
        }
        if read.is_cut && read.end <= position {
            state = TailState::Cut;
            continue;
        }
        let Some(tag) = tag_key(&catalog, keyring.clone()).await? else {
            state = TailState::Unreadable;
            break;
        };
        let mut read = read;
        read.arrivals.retain(|arrival| arrival.offset >= position);
        Profiles::default().judge(read.arrivals.iter_mut(), store, Duration::MAX).await?;
        read.arrivals.iter_mut().for_each(|arrival| erased.prune(&mut arrival.content));
        return judged(tag, moment, (position, read), tenant, bounds).await;
    }
    Ok(Snapshot { files: catalog.listed().await?, tail: Tail { state, ..Tail::default() } })
}

/// Says whether a folder is the journal that the archive's position counts in.
async fn is_origin(store: &Store, journal: &Path) -> Result<bool, StoreError> {
    let known = store.journal_origin().await?;
    let own = journal.join(JOURNAL_ID);
    Ok(journal.is_dir()
        && known.is_none_or(|known| std::fs::read_to_string(own).is_ok_and(|id| id.trim() == known)))
}

/// What was read of the journal.
struct Read {
    arrivals: VecDeque<Arrival>,
    start: u64,
    end: u64,
    is_cut: bool,
}

fn read_journal(
    dir: PathBuf,
    keys: &Keyring,
    from: u64,
    tenant: Option<&TenantId>,
    bounds: TailBounds,
) -> Result<Read, OpenError> {
    let mut intake = Intake::new(ClockBounds::of(&ArchiveOptions::default()));
    let (mut arrivals, mut records, mut bytes, mut is_cut) = (VecDeque::new(), 0, 0, false);
    let mut body_bytes = 0;
    let seen = scan_durable(&DiskStorage::new(dir), keys, Offset::new(from), |entry| {
        records += 1;
        bytes += entry.payload.len();
        if is_of(&entry.payload, tenant) {
            let arrival = intake.read(entry);
            if let Content::Publish(arrived) = &arrival.content {
                body_bytes += arrived.body_bytes * BODY_GROWTH;
            }
            arrivals.push_back(arrival);
        }
        is_cut =
            records >= bounds.records_max || bytes >= bounds.bytes_max || body_bytes >= bounds.body_bytes_max;
        if is_cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(Read { arrivals, start: seen.start.get(), end: seen.end.get(), is_cut })
}

/// Says whether a record may be of a tenant.
fn is_of(payload: &bytes::Bytes, tenant: Option<&TenantId>) -> bool {
    let Some(tenant) = tenant else { return true };
    match JournalRecord::decode(payload.clone()).map(|record| record.kind) {
        Ok(Some(Kind::Publish(publish))) => publish.tenant == tenant.as_str(),
        _ => true,
    }
}

fn wanted<'a>(arrivals: impl IntoIterator<Item = &'a Arrival>) -> Vec<StreamId> {
    let mut ids = BTreeSet::new();
    for arrival in arrivals {
        if let Content::Publish(arrived) = &arrival.content {
            ids.insert(outside(&arrived.key));
            ids.extend(arrived.position.map(|position| stream_of(&arrived.key, position)));
        }
    }
    ids.into_iter().collect()
}

async fn tag_key(catalog: &Catalog, keyring: Arc<Keyring>) -> Result<Option<hmac::Key>, ArchiveError> {
    let Some(sealed) = catalog.known_secret(TAG_KEY).await? else { return Ok(None) };
    let key = Sealer::new(keyring, KeyPurpose::State, None)?.open(TAG_KEY.as_bytes(), &sealed)?;
    Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, &key)))
}

async fn judged(
    tag: hmac::Key,
    moment: Moment,
    (position, read): (u64, Read),
    tenant: Option<&TenantId>,
    bounds: TailBounds,
) -> Result<Snapshot, ArchiveError> {
    let Read { mut arrivals, end, is_cut, .. } = read;
    let standings = moment.standings;
    let is_held = moment.held.iter().any(|held| tenant.is_none_or(|tenant| tenant.as_str() == held));
    // The next commit holds back what comes now of such a tenant, too: an answer must not show it until then alone.
    arrivals.retain(|arrival| match &arrival.content {
        Content::Publish(arrived) => !moment.held.contains(arrived.key.tenant.as_str()),
        _ => true,
    });
    let files = moment.files;
    let mut desk = Desk::new(tag, position);
    desk.streams = Streams::of(&moment.streams, &moment.epochs, ArchiveOptions::default().epochs_max)?;
    let tenant = tenant.cloned();
    let work = move || {
        desk.place(arrivals.iter_mut());
        desk.take(&mut arrivals, |pending| pending.bytes >= bounds.row_bytes_max);
        let is_cut = is_cut || !arrivals.is_empty();
        let end = match arrivals.front() {
            Some(_) if standings.of > 0 => end.saturating_sub(arrivals.len() as u64),
            Some(left) => left.offset,
            None => end,
        };
        let mut tail = Tail { from: position, end, standings, ..Tail::default() };
        tail.state = match (is_cut, is_held) {
            (true, _) => TailState::Cut,
            (false, true) => TailState::Held,
            (false, false) => TailState::Whole,
        };
        let pending = std::mem::take(&mut desk.pending);
        for (key, group) in pending.groups.into_files() {
            if tenant.as_ref().is_none_or(|tenant| tenant.as_str() == key.tenant) {
                tail.rows.entry(key.table).or_default().push(group.rows.finish(key.table)?);
            }
        }
        tail.hours = desk.hours.changed(&desk.streams);
        let states = desk.streams.states();
        tail.seen = states.map(|(id, state)| (id.clone(), state.seen().clone())).collect();
        Ok::<_, ArchiveError>(tail)
    };
    Ok(Snapshot { files, tail: spawn_blocking(work).await?? })
}
