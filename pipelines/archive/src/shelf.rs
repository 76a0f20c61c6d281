//! Where files lie: put durably under names that nobody guesses, listed, and swept when never committed.

use crate::error::ArchiveError;
use crate::table::{Day, Table};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutMode, PutPayload};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use wardline_journal::KeyError;

const LOCK: &str = ".lock";
const NAME_BYTES: usize = 16;
/// Depth of the folders: table, tenant, day, partition.
const DEPTH_MAX: usize = 4;

/// A local folder of files, held by one worker.
///
/// Blocking work that removes files keeps the shelf, and with it the lock: a worker that was dropped in the middle
/// cannot sweep beside its successor.
#[derive(Debug)]
pub(crate) struct Shelf {
    root: PathBuf,
    store: LocalFileSystem,
    _lock: File,
}

impl Shelf {
    /// Opens the folder, made when it is missing, and locks it.
    pub(crate) fn open(root: &Path) -> Result<Self, ArchiveError> {
        fs::create_dir_all(root)?;
        let lock = File::options().create(true).append(true).open(root.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { root: root.to_owned(), store: LocalFileSystem::new_with_prefix(root)?, _lock: lock })
    }

    /// Writes a new file. It is durable after [`sync`](Self::sync) only.
    pub(crate) async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        let payload = PutPayload::from(bytes);
        self.store.put_opts(&ObjectPath::from(path), payload, PutMode::Create.into()).await?;
        Ok(())
    }

    /// Makes files, and the folders that name them, durable. Blocks.
    pub(crate) fn sync<'a>(&self, paths: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        for path in paths {
            let path = self.root.join(path);
            File::open(&path)?.sync_all()?;
            folders.extend(
                path.ancestors().skip(1).take_while(|a| a.starts_with(&self.root)).map(Path::to_owned),
            );
        }
        folders.iter().rev().try_for_each(|folder| File::open(folder)?.sync_all())
    }

    /// Returns the root of the files.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Removes files; one that is gone already is no error. Blocks.
    pub(crate) fn remove(&self, paths: &[String]) -> io::Result<()> {
        for path in paths {
            match fs::remove_file(self.root.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _removed_or_gone => {}
            }
        }
        Ok(())
    }

    /// Removes files that are neither in `committed` nor in `retired`. Returns how many, and how many committed ones
    /// are missing. Blocks.
    pub(crate) fn sweep(
        &self,
        committed: &BTreeSet<String>,
        retired: &BTreeSet<String>,
    ) -> io::Result<(u64, u64)> {
        let found = files(&self.root)?;
        let name = |path: &Path| path.strip_prefix(&self.root).ok().and_then(Path::to_str).map(str::to_owned);
        let (mut removed, mut present) = (0, 0);
        for path in found {
            let name = name(&path).unwrap_or_default();
            if committed.contains(&name) {
                present += 1;
            } else if !retired.contains(&name) {
                fs::remove_file(&path)?;
                removed += 1;
            }
        }
        Ok((removed, committed.len() as u64 - present))
    }
}

/// Lists every file below a root but the lock. Blocks.
pub(crate) fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    list(root, DEPTH_MAX, &mut found)?;
    found.retain(|path| *path != root.join(LOCK));
    Ok(found)
}

fn list(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            list(&entry.path(), depth - 1, found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Makes the path of a new file: no patient data, and a name that nobody guesses.
pub(crate) fn new_path(table: Table, tenant: &str, day: Day, partition: u16) -> Result<String, ArchiveError> {
    let mut name = [0; NAME_BYTES];
    SystemRandom::new().fill(&mut name).map_err(|_unspecified| KeyError::Random)?;
    let name = u128::from_be_bytes(name);
    Ok(format!("{table}/{tenant}/{day}/{partition}/{name:032x}.parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_committed_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path()).unwrap();
        let paths: Vec<_> =
            (0..2).map(|p| new_path(Table::Audit, "demo", Day::of_micros(0), p).unwrap()).collect();
        for path in &paths {
            shelf.put(path, vec![1]).await.unwrap();
        }
        assert!(shelf.put(&paths[0], vec![2]).await.is_err(), "a file is never overwritten");
        shelf.sync(paths.iter().map(String::as_str)).unwrap();
        assert!(Shelf::open(folder.path()).is_err(), "one worker holds it");
        let committed = BTreeSet::from([paths[0].clone(), "audit/gone".to_owned()]);
        let retired = BTreeSet::from([paths[1].clone()]);
        assert_eq!(shelf.sweep(&committed, &retired).unwrap(), (0, 1), "readers may still need it");
        assert_eq!(shelf.sweep(&committed, &BTreeSet::new()).unwrap(), (1, 1));
        assert!(folder.path().join(&paths[0]).exists() && !folder.path().join(&paths[1]).exists());
    }
}
