//! A local folder of files, held by one worker.

use crate::error::ArchiveError;
use crate::shelf::is_own_form;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutMode, PutPayload};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) const LOCK: &str = ".lock";
/// Depth of the folders: table, tenant, day, partition.
const DEPTH_MAX: usize = 4;

/// The folder and its lock.
///
/// Blocking work that removes files keeps the shelf, and with it the lock: a worker that was dropped in the middle
/// cannot sweep beside its successor.
#[derive(Debug)]
pub(super) struct FolderShelf {
    root: PathBuf,
    store: LocalFileSystem,
    _lock: File,
}

impl FolderShelf {
    /// Opens the folder, made when it is missing, and locks it, unless it is shared with other workers: leases decide
    /// who commits then, and a lock would be held by whoever hangs.
    pub(super) fn open(root: &Path, is_shared: bool) -> Result<Self, ArchiveError> {
        fs::create_dir_all(root)?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        let lock = File::options().create(true).append(true).open(root.join(LOCK))?;
        if !is_shared {
            lock.try_lock().map_err(io::Error::from)?;
        }
        Ok(Self { root: root.to_owned(), store: LocalFileSystem::new_with_prefix(root)?, _lock: lock })
    }

    /// Writes a new file. It is durable after [`sync`](Self::sync) only.
    pub(super) async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        let payload = PutPayload::from(bytes);
        self.store.put_opts(&ObjectPath::from(path), payload, PutMode::Create.into()).await?;
        Ok(())
    }

    /// Makes files, and the folders that name them, durable. Blocks.
    pub(super) fn sync<'a>(&self, paths: impl Iterator<Item = &'a str>) -> io::Result<()> {
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

    /// Removes files; one that is gone already is no error. Blocks.
    pub(super) fn remove(&self, paths: &[String]) -> io::Result<()> {
        for path in paths {
            match fs::remove_file(self.root.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _removed_or_gone => {}
            }
        }
        Ok(())
    }

    /// Lists the paths of all files of ours, also of puts that were cut short. Blocks.
    pub(super) fn list(&self) -> io::Result<Vec<String>> {
        let name = |path: PathBuf| path.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned);
        let mut names: Vec<String> = files_below(&self.root)?.into_iter().filter_map(name).collect();
        names.retain(|name| is_own_form(of_put(name)));
        Ok(names)
    }

    /// Removes files that are neither in `committed` nor in `retired`. Returns how many, and how many committed ones
    /// are missing. Blocks.
    pub(super) fn sweep(
        &self,
        committed: &BTreeSet<String>,
        retired: &BTreeSet<String>,
    ) -> io::Result<(u64, u64)> {
        let found = files_below(&self.root)?;
        let name = |path: &Path| path.strip_prefix(&self.root).ok().and_then(Path::to_str).map(str::to_owned);
        let (mut removed, mut present) = (0, 0);
        for path in found {
            let name = name(&path).unwrap_or_default();
            if committed.contains(&name) {
                present += 1;
            } else if is_own_form(of_put(&name)) && !retired.contains(&name) {
                fs::remove_file(&path)?;
                removed += 1;
            }
        }
        Ok((removed, committed.len() as u64 - present))
    }
}

/// Returns the file that a put was cut short of: until it is whole, a number stands behind its name.
fn of_put(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once('#').filter(|(_, number)| is_number(number)).map_or(name, |(file, _)| file)
}

/// Lists every file below a root but the lock. Blocks.
pub(crate) fn files_below(root: &Path) -> io::Result<Vec<PathBuf>> {
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
