//! Where the worker puts files: durably, under names that nobody guesses; what no commit names is swept.

mod bucket;
mod folder;

pub(crate) use bucket::CLOCK;
pub(crate) use folder::{LOCK, files_below};

use crate::error::ArchiveError;
use crate::files::Files;
use crate::options::ArchiveOptions;
use crate::table::{Day, Table};
use crate::tenant::SYSTEM;
use bucket::BucketShelf;
use folder::FolderShelf;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use wardline_journal::KeyError;
use wardline_proto::TenantId;
use wardline_store::catalog::Catalog;

const NAME_BYTES: usize = 16;
const TABLE_END: &str = ".parquet";
/// Stands in the place of a table where records are held back.
const HELD: &str = "held";
const HELD_END: &str = ".sealed";
/// Puts to a bucket that are under way at once: each waits for an answer.
const PUTS_MAX: usize = 8;

/// The place of the files, held by one worker.
#[derive(Debug)]
pub(crate) struct Shelf {
    files: Files,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder(FolderShelf),
    Bucket(BucketShelf),
}

impl Shelf {
    /// Opens the place: locks a folder, marks a bucket. To be called before the lease is taken.
    pub(crate) async fn open(options: &ArchiveOptions, catalog: &Catalog) -> Result<Self, ArchiveError> {
        let files = Files::of(options)?;
        let kind = match &files {
            Files::Folder(root) => Kind::Folder(FolderShelf::open(root, catalog.share().is_some())?),
            Files::Bucket(bucket) => Kind::Bucket(BucketShelf::open(bucket.clone(), catalog).await?),
        };
        Ok(Self { files, kind })
    }

    /// Returns the files, to read.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Returns how many puts may be under way at once.
    pub(crate) fn puts_max(&self) -> usize {
        match self.kind {
            Kind::Folder(_) => 1,
            Kind::Bucket(_) => PUTS_MAX,
        }
    }

    /// Writes a new file. It is durable after [`sync`](Self::sync) only.
    pub(crate) async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        match &self.kind {
            Kind::Folder(folder) => folder.put(path, bytes).await,
            Kind::Bucket(bucket) => bucket.put(path, bytes).await,
        }
    }

    /// Makes files, and what names them, durable.
    pub(crate) async fn sync(self: &Arc<Self>, paths: Vec<String>) -> Result<(), ArchiveError> {
        self.on_disk(move |folder| folder.sync(paths.iter().map(String::as_str))).await.map(drop)
    }

    /// Removes files; one that is gone already is no error.
    pub(crate) async fn remove(self: &Arc<Self>, paths: Vec<String>) -> Result<(), ArchiveError> {
        if let Kind::Bucket(bucket) = &self.kind {
            return bucket.remove(&paths).await;
        }
        self.on_disk(move |folder| folder.remove(&paths)).await.map(drop)
    }

    /// Lists the paths of all files of ours, by the form of their names.
    pub(crate) async fn list(self: &Arc<Self>) -> Result<Vec<String>, ArchiveError> {
        if let Kind::Bucket(bucket) = &self.kind {
            return bucket.list().await;
        }
        Ok(self.on_disk(FolderShelf::list).await?.unwrap_or_default())
    }

    /// Removes files of ours, by the form of their names, that are neither in `committed` nor in `retired`, both read after the lease was taken. Returns how
    /// many, and how many committed ones are missing.
    pub(crate) async fn sweep(
        self: &Arc<Self>,
        committed: BTreeSet<String>,
        retired: BTreeSet<String>,
    ) -> Result<(u64, u64), ArchiveError> {
        if let Kind::Bucket(bucket) = &self.kind {
            return bucket.sweep(&committed, &retired).await;
        }
        let swept = self.on_disk(move |folder| folder.sweep(&committed, &retired)).await?;
        Ok(swept.unwrap_or_default())
    }

    /// Blocks on a folder; what a bucket has taken is durable.
    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&FolderShelf) -> std::io::Result<T> + Send + 'static,
    ) -> Result<Option<T>, ArchiveError> {
        let shelf = self.clone();
        let work = move || match &shelf.kind {
            Kind::Folder(folder) => work(folder).map(Some),
            Kind::Bucket(_) => Ok(None),
        };
        Ok(spawn_blocking(work).await??)
    }
}

/// Makes the path of a new file: no patient data, and a name that nobody guesses.
pub(crate) fn new_path(table: Table, tenant: &str, day: Day, partition: u16) -> Result<String, ArchiveError> {
    Ok(format!("{table}/{tenant}/{day}/{partition}/{}{TABLE_END}", new_name()?))
}

/// Makes the path of a new file of records that are held back.
pub(crate) fn new_held_path(tenant: &str, day: Day, partition: u16) -> Result<String, ArchiveError> {
    Ok(format!("{HELD}/{tenant}/{day}/{partition}/{}{HELD_END}", new_name()?))
}

fn new_name() -> Result<String, KeyError> {
    let mut name = [0; NAME_BYTES];
    SystemRandom::new().fill(&mut name).map_err(|_unspecified| KeyError::Random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(name)))
}

/// Says whether a path has exactly the form of [`new_path`] or [`new_held_path`]: a sweep removes nothing else, whatever lies there.
pub(crate) fn is_own_form(path: &str) -> bool {
    let mut parts = path.split('/');
    let mut next = || parts.next().unwrap_or_default();
    let (table, tenant, day, partition, name) = (next(), next(), next(), next(), next());
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let is_name = |name: &str| name.len() == 2 * NAME_BYTES && name.chars().all(is_hex);
    parts.next().is_none()
        && (table == HELD || Table::from_name(table).is_some())
        && (tenant == SYSTEM || TenantId::new(tenant).is_ok())
        && Day::parse(day).is_some()
        && partition.parse::<u16>().is_ok()
        && name.strip_suffix(if table == HELD { HELD_END } else { TABLE_END }).is_some_and(is_name)
}

#[cfg(test)]
mod tests;
