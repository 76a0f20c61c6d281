//! The disk as the journal sees it: one folder, a few calls, each with its durability spelled out.
//!
//! [`DiskStorage`] is the real one; [`crate::fault::FaultStorage`] is a disk in memory that fails on demand.

use crate::zeros;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file in the storage's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name.
    pub name: String,
    /// Its length, bytes.
    pub bytes: u64,
}

/// Holds the folder's lock until it is dropped.
pub trait StorageLock: Send + Sync {}

/// One folder of files.
pub trait Storage: Send + Sync + 'static {
    /// Makes the folder when there is none, and takes its lock. `WouldBlock` when someone else has it.
    fn lock(&self) -> io::Result<Box<dyn StorageLock>>;
    /// Lists the files.
    fn list(&self) -> io::Result<Vec<FileInfo>>;
    /// Makes a new file of `bytes` zeros whose blocks are allocated and synced, so that later writes inside need no
    /// space and a data sync no change of size. Leaves no file behind when it fails. The *name* is durable after
    /// [`sync_dir`](Self::sync_dir).
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn LogFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Renames, replacing the target. Durable after [`sync_dir`](Self::sync_dir).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable after [`sync_dir`](Self::sync_dir).
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creates, renames and removes durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Returns the bytes that an unprivileged writer may still use.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Positions are explicit, so that readers and the writer share nothing.
pub trait LogFile: Send + Sync {
    /// Returns the length, bytes.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads at a position; fewer bytes than asked for, or none, at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all bytes. Not durable before [`sync_data`](Self::sync_data).
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Makes what was written durable (`fdatasync`). After an error nothing is known about any earlier write.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
}

/// A folder on a local disk.
#[derive(Debug, Clone)]
pub struct DiskStorage {
    dir: PathBuf,
}

impl DiskStorage {
    /// Names the folder; it is made when the journal is opened.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
}

struct DiskLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl StorageLock for DiskLock {}

impl Storage for DiskStorage {
    fn lock(&self) -> io::Result<Box<dyn StorageLock>> {
        fs::create_dir_all(&self.dir)?;
        if let Some(parent) = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        let file = private_file(&self.dir.join("lock"))?;
        if fs4::fs_std::FileExt::try_lock_exclusive(&file)? {
            Ok(Box::new(DiskLock(file)))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push(FileInfo { name, bytes: metadata.len() });
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn LogFile>> {
        let path = self.dir.join(name);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = zeros::fill(&path, &file, bytes) {
            drop(file);
            fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.dir.join(name))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        fs4::available_space(&self.dir)
    }
}

impl LogFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

/// Opens or makes a file that only its owner can read.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Replaces a file by `bytes`, durably: beside it, sync, rename, sync the folder. Mode 0600.
pub(crate) fn durable_replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    crate::abort::at("replace.begin");
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _gone => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    crate::abort::at("replace.beside");
    fs::rename(&beside, path)?;
    crate::abort::at("replace.renamed");
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}
