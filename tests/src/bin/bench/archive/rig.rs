//! A data directory that the archive worker fills: journal, database, keyring and archive as the gateway has them.

use super::feed::Feed;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wardline_archive::read::{ARCHIVE_DIR, ArchiveReader, KEYRING};
use wardline_archive::{ArchiveMetrics, ArchiveOptions, ArchiveService, Table};
use wardline_journal::{AppendError, Class, DiskStorage, Journal, JournalOptions, Keyring, Offset, Record};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{AuditEvent, JournalRecord};
use wardline_store::Store;
use wardline_store::catalog::FileRow;

pub(super) const JOURNAL: &str = "bench-journal";
const DATABASE: &str = "wardline.db";
/// The queue of the journal is full: its disk is looked at again after this.
const FULL_PAUSE: Duration = Duration::from_millis(2);
/// Merges that are waited for; there are some hundred groups of files.
const MERGES_MAX: usize = 20_000;

/// The directory, open.
pub(crate) struct Rig {
    folder: PathBuf,
    journal: Journal,
    pub(crate) store: Store,
    keyring: Arc<Keyring>,
    made_s: i64,
}

impl Rig {
    /// Opens a folder; what is missing is made.
    pub(crate) async fn open(folder: &Path) -> anyhow::Result<Self> {
        let keyring = Arc::new(Keyring::create_or_open(&folder.join(KEYRING))?);
        let dir = folder.join(JOURNAL);
        let options = JournalOptions { total_bytes_max: 64 << 30, ..JournalOptions::for_dir(&dir) };
        let journal = Journal::open(options, Arc::new(DiskStorage::new(dir)), keyring.clone())?;
        let store = Store::open(&folder.join(DATABASE)).await?;
        Ok(Self { folder: folder.to_owned(), journal, store, keyring, made_s: 0 })
    }

    /// Journals what a feed makes before a second. Blocks.
    pub(crate) fn fill(&mut self, feed: &mut Feed, until_s: i64) -> anyhow::Result<()> {
        feed.until(self.made_s, until_s, |record| self.append(record).map(drop))?;
        self.made_s = until_s;
        Ok(())
    }

    fn append(&self, mut record: Record) -> anyhow::Result<Offset> {
        loop {
            match self.journal.append(record) {
                Ok(ticket) => return Ok(ticket.offset()),
                Err(AppendError::Full(back)) => record = back,
                Err(error) => bail!(error),
            }
            std::thread::sleep(FULL_PAUSE);
        }
    }

    /// Journals an audit event and returns the offset after it: the end of what there is.
    pub(crate) fn end(&self) -> anyhow::Result<Offset> {
        let event = AuditEvent { action: "marker".into(), outcome: "ok".into(), ..AuditEvent::default() };
        let payload = JournalRecord { ingested_at_us: super::feed::START_US, kind: Some(Kind::Audit(event)) };
        let payload = prost::Message::encode_to_vec(&payload).into();
        Ok(self.append(Record { partition: Default::default(), class: Class::Audit, payload })?.next())
    }

    /// Returns the options of a worker that commits as fast as it reads, and merges when `merges`.
    pub(crate) fn options(&self, merges: bool) -> ArchiveOptions {
        ArchiveOptions {
            flush_interval: Duration::from_secs(600),
            completeness_interval: Duration::from_secs(600),
            compact_interval: merges.then_some(Duration::ZERO),
            ..ArchiveOptions::for_dir(self.folder.join(ARCHIVE_DIR))
        }
    }

    /// Archives what is in the journal, and lets go of it there.
    pub(crate) async fn archive(&self) -> anyhow::Result<()> {
        let end = self.end()?;
        self.work(self.options(false), &self.store, async |handle| Ok(handle.flush_to(end).await?)).await?;
        self.journal.retain_from(end)?;
        Ok(())
    }

    /// Runs a worker with its own database of positions until `until` is done.
    pub(crate) async fn work(
        &self,
        options: ArchiveOptions,
        store: &Store,
        until: impl AsyncFnOnce(&wardline_archive::ArchiveHandle) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let metrics = Arc::new(ArchiveMetrics::default());
        let (journal, keyring) = (self.journal.clone(), self.keyring.clone());
        let service = ArchiveService::new(options, journal, store.clone(), keyring, metrics);
        let handle = service.handle();
        let (stop, shutdown) = watch::channel(false);
        let running = tokio::spawn(service.run(shutdown));
        let done = until(&handle).await;
        stop.send(true).context("the worker has ended")?;
        running.await??;
        done
    }

    /// Merges small files until there is nothing to merge, as the worker does in the course of a day.
    pub(crate) async fn merge(&self) -> anyhow::Result<()> {
        let options = self.options(true);
        let small = options.compact_bytes / 2;
        self.work(options, &self.store, async |handle| {
            for _ in 0..MERGES_MAX {
                if !self.has_small(small).await? {
                    return Ok(());
                }
                handle.flush_to(self.end()?).await?;
            }
            bail!("files are still unmerged")
        })
        .await
    }

    async fn has_small(&self, small: u64) -> anyhow::Result<bool> {
        let mut groups = BTreeMap::<_, usize>::new();
        for table in [Table::Numerics, Table::Waveforms] {
            for file in self.files(table).await?.into_iter().filter(|file| file.bytes < small) {
                *groups.entry((table, file.day, file.partition)).or_default() += 1;
            }
        }
        Ok(groups.values().any(|files| *files > 1))
    }

    /// Returns a reader.
    pub(crate) fn reader(&self) -> ArchiveReader {
        self.reader_of(self.folder.join(ARCHIVE_DIR), &self.store)
    }

    /// Returns a reader of files that another database names.
    pub(crate) fn reader_of(&self, dir: PathBuf, store: &Store) -> ArchiveReader {
        ArchiveReader::new(dir, store.clone(), self.keyring.clone())
    }

    /// Lists a table's committed files.
    pub(crate) async fn files(&self, table: Table) -> anyhow::Result<Vec<FileRow>> {
        Ok(self.reader().files(Some(table)).await?)
    }
}
