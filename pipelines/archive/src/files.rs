//! Where the files of an archive lie: a local folder, or a bucket.

use crate::bucket::{Bucket, BucketError, check_alone};
use crate::error::ArchiveError;
use crate::options::ArchiveOptions;
use crate::requests::wait;
use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use wardline_journal::KeyError;
use wardline_store::catalog::Catalog;

/// Says in a bucket whose files it holds.
pub(crate) const MARK: &str = ".wardline";
/// Name, in the catalog, of the number that the mark repeats. It is no secret.
const ARCHIVE_ID: &str = "archive-id";
const ID_BYTES: usize = 16;

/// The place of an archive's files. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Files {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket of an S3-compatible store.
    Bucket(Arc<Bucket>),
}

impl From<PathBuf> for Files {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl Files {
    /// Returns the place that options name.
    pub fn of(options: &ArchiveOptions) -> Result<Self, ArchiveError> {
        match &options.bucket {
            Some(bucket) => Ok(Self::Bucket(Arc::new(Bucket::open(bucket)?))),
            None => Ok(Self::Folder(options.dir.clone())),
        }
    }

    /// Reads a file whole; [`io::ErrorKind::NotFound`] when it is not there. Blocks.
    pub fn read(&self, path: &str) -> Result<Bytes, ArchiveError> {
        match self {
            Self::Folder(root) => Ok(std::fs::read(root.join(path))?.into()),
            Self::Bucket(bucket) => {
                let (bucket, path) = (bucket.clone(), path.to_owned());
                wait(async move { bucket.get(&path).await })?
            }
        }
    }

    /// Lists the paths of all files, whether a commit names them or not.
    pub(crate) async fn list(&self) -> Result<Vec<String>, ArchiveError> {
        match self {
            Self::Folder(root) => {
                let root = root.clone();
                let name = move |path: &Path| Some(path.strip_prefix(&root).ok()?.to_str()?.to_owned());
                let folder = self.clone();
                let found = spawn_blocking(move || folder.walk()).await??;
                Ok(found.iter().filter_map(|path| name(path)).collect())
            }
            Self::Bucket(bucket) => {
                let listed = bucket.list().await?.into_iter().map(|file| file.path);
                Ok(listed.filter(|path| !path.starts_with('.')).collect())
            }
        }
    }

    fn walk(&self) -> io::Result<Vec<PathBuf>> {
        match self {
            Self::Folder(root) => crate::shelf::files_below(root),
            Self::Bucket(_) => Ok(Vec::new()),
        }
    }

    /// Asks whether a bucket answers and holds the files that `catalog` names; a folder is not asked.
    pub(crate) async fn check(&self, catalog: &Catalog) -> Result<(), ArchiveError> {
        let Self::Bucket(bucket) = self else { return Ok(()) };
        let known = catalog.known_secret(ARCHIVE_ID).await?;
        match bucket.get(MARK).await {
            Ok(mark) if known.is_none_or(|id| mark == mark_of(&id)) => Ok(()),
            Ok(_) => Err(BucketError::NotOurs(bucket.place().to_owned()).into()),
            Err(ArchiveError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Marks a bucket as that of `catalog`, unless it is marked; a mark of another is refused.
pub(crate) async fn claim(bucket: &Bucket, catalog: &Catalog) -> Result<(), ArchiveError> {
    let mut fresh = [0; ID_BYTES];
    SystemRandom::new().fill(&mut fresh).map_err(|_unspecified| KeyError::Random)?;
    let mark = mark_of(&catalog.secret(ARCHIVE_ID, &fresh).await?);
    let found = match bucket.get(MARK).await {
        Err(ArchiveError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            begin(bucket, catalog, mark.clone()).await?;
            bucket.get(MARK).await?
        }
        found => found?,
    };
    let place = || bucket.place().to_owned();
    if found != mark {
        return Err(BucketError::NotOurs(place()).into());
    }
    if !bucket.keeps_names(MARK, mark).await? {
        let why = "it overwrites in spite of If-None-Match: a store with conditional put is needed";
        return Err(BucketError::Refused(place(), why.to_owned()).into());
    }
    Ok(())
}

/// Puts the mark, in a place that is this archive's alone.
async fn begin(bucket: &Bucket, catalog: &Catalog, mark: Bytes) -> Result<(), ArchiveError> {
    match check_alone(bucket, catalog).await {
        Ok(()) => bucket.put_new(MARK, mark).await,
        // Another worker of this archive was first, and what lies there is its own.
        Err(_) if bucket.get(MARK).await.is_ok_and(|found| found == mark) => Ok(()),
        Err(error) => Err(error),
    }
}

fn mark_of(id: &[u8]) -> Bytes {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{\"archive\":\"{hex}\"}}\n").into()
}
