//! The whole trail of a data directory: archived events, and those that are in the journal alone.
//!
//! Reads only, and beside a running gateway: one listing of the catalog, then the journal's files from the position
//! that the listing ends at. What is written meanwhile is not part of it.

use super::AuditError;
use crate::operate::DataDir;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use wardline_archive::ArchiveError;
use wardline_archive::Table;
use wardline_archive::read::{ArchiveReader, AuditRow, audit_rows, held_audit_rows};
use wardline_archive::verify::Shredded;
use wardline_journal::{Class, DiskStorage, Keyring, Offset, OpenError, scan};
use wardline_proto::PartitionId;
use wardline_proto::v1::JournalRecord;
use wardline_proto::v1::journal_record::Kind;
use wardline_store::catalog::{AuditHead, FileRow, HeldFile};

/// How often a listing is made anew because the journal was trimmed between listing and reading.
const LISTINGS_MAX: u32 = 5;
/// Events of the journal's tail that are held in memory; a tail with more is read as far as this.
const TAIL_EVENTS_MAX: usize = 2_000_000;

/// Whether the journal's tail was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Every event behind the archived ones is part of the trail.
    Read,
    /// There is no journal here.
    None,
    /// Only this many events of it.
    Cut(usize),
    /// It cannot be read; why.
    Unreadable(String),
}

/// The events of a data directory at one moment.
pub struct Trail {
    reader: ArchiveReader,
    position: u64,
    /// Which files are under keys that were destroyed.
    shredded: Shredded,
    /// How far the catalog says that each chain is archived.
    pub heads: Vec<AuditHead>,
    /// Files of the table `audit`, and those of records that are held back, in the order of the journal.
    pub files: Vec<FileRow>,
    /// Of those the ones of held records, by path.
    held: BTreeMap<String, HeldFile>,
    /// Events that are in the journal alone, in its order.
    pub newest: Vec<AuditRow>,
    /// Whether these are all.
    pub tail: Tail,
}

impl Trail {
    /// Lists the archive and reads the journal's tail.
    pub async fn open(data_dir: &Path) -> Result<Self, AuditError> {
        let data = DataDir::new(data_dir);
        let reader = ArchiveReader::open(data_dir).await?;
        let keyring = Arc::new(Keyring::open(&data.keyring()).map_err(ArchiveError::from)?);
        let shredded = reader.shredded_files().await?;
        let mut listings = 0;
        loop {
            listings += 1;
            // In this order: a commit in between adds files, which are left out, and never an event to both parts.
            let heads = reader.audit_heads().await?;
            let elsewhere = reader.audit_offset().await?;
            let position = match elsewhere {
                Some(offset) => offset,
                None => reader.next_offset().await?.unwrap_or_default(),
            };
            let (mut files, mut held) = reader.audit_files().await?;
            // Among several workers what is audited goes through one partition.
            held.retain(|file| elsewhere.is_none() || file.partition == PartitionId::default().get());
            files.extend(held.iter().map(as_listed));
            files.retain(|file| file.offset_first < position);
            files.sort_by_key(|file| file.offset_first);
            let held = held.into_iter().map(|file| (file.path.clone(), file)).collect();
            // The journals are on the machines of the nodes; what is in them alone is not part of this trail.
            if elsewhere.is_some() {
                let (newest, tail) = (Vec::new(), Tail::None);
                return Ok(Self { reader, position, shredded, heads, files, held, newest, tail });
            }
            let (storage, keys) = (DiskStorage::new(data.journal()), keyring.clone());
            let read = spawn_blocking(move || read_tail(&storage, &keys, position)).await;
            let (newest, tail) = match read.map_err(|_panicked| AuditError::Unfinished)? {
                Some(read) => read,
                None if listings < LISTINGS_MAX => continue,
                None => {
                    (Vec::new(), Tail::Unreadable("the journal is trimmed faster than it is read".into()))
                }
            };
            return Ok(Self { reader, position, shredded, heads, files, held, newest, tail });
        }
    }

    /// Says whether a listed file was put in another one's place since: its events are elsewhere now.
    pub async fn is_replaced(&self, path: &str) -> Result<bool, ArchiveError> {
        Ok(self.reader.files(Some(Table::Audit)).await?.iter().all(|file| file.path != path))
    }

    /// Reads the events of one archived file; none when it is the committed one, and sealed under a key that was
    /// destroyed. Blocks.
    pub fn events_of(&self, file: &FileRow) -> Result<Option<Vec<AuditRow>>, ArchiveError> {
        if let Some(held) = self.held.get(&file.path) {
            return held_audit_rows(&self.reader, held).map(Some);
        }
        let mut rows = match audit_rows(&self.reader, file) {
            Err(ArchiveError::Parquet(_)) if self.shredded.has(file) => return Ok(None),
            rows => rows?,
        };
        // A file that was merged since the listing may hold events that were read from the journal.
        rows.retain(|row| row.journal_offset < self.position);
        Ok(Some(rows))
    }
}

/// Lists a file of held records among those of `audit`.
fn as_listed(held: &HeldFile) -> FileRow {
    FileRow {
        path: held.path.clone(),
        table: Table::Audit.name().to_owned(),
        tenant: held.tenant.clone(),
        day: String::new(),
        partition: held.partition,
        rows: held.records.saturating_sub(held.taken),
        bytes: held.bytes,
        sha256: held.sha256.clone(),
        // Of any time: nobody has looked into it.
        time_min_us: i64::MIN,
        time_max_us: i64::MAX,
        offset_first: held.offset_first,
        offset_last: held.offset_last,
    }
}

/// Reads the events of the journal from `position`; none when it was trimmed past that, or is just being.
fn read_tail(storage: &DiskStorage, keys: &Keyring, position: u64) -> Option<(Vec<AuditRow>, Tail)> {
    let (mut rows, mut cut) = (Vec::new(), false);
    let seen = scan(storage, keys, Offset::new(position), |entry| {
        if entry.class != Class::Audit {
            return;
        }
        let record = JournalRecord::decode(entry.payload).unwrap_or_default();
        let Some(Kind::Audit(event)) = record.kind else { return };
        cut |= rows.len() >= TAIL_EVENTS_MAX;
        if !cut {
            rows.push(AuditRow { journal_offset: entry.offset.get(), event });
        }
    });
    let not_found = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    match seen {
        Ok(seen) if seen.start.get() > position => None,
        Ok(_) if cut => Some((rows, Tail::Cut(TAIL_EVENTS_MAX))),
        Ok(_) => Some((rows, Tail::Read)),
        Err(OpenError::Io(error)) if not_found(&error) && position == 0 => Some((Vec::new(), Tail::None)),
        Err(OpenError::Io(error)) if not_found(&error) => None,
        Err(error) => Some((Vec::new(), Tail::Unreadable(error.to_string()))),
    }
}
