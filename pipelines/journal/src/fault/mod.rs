//! A disk in memory that fails on demand: what every durability test runs on.
//!
//! It knows three states of a byte, as a real machine does: written (other handles read it), synced (it survives a
//! power loss), and synced *name* (a create, rename or remove survives after [`Storage::sync_dir`]). One seed drives
//! what a power loss keeps, so a failure can be replayed.

mod disk;

use crate::storage::{FileInfo, LogFile, Storage, StorageLock};
use disk::{Content, Disk, FaultFile, dead};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A fault that strikes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A write stores only its first bytes, then fails with an I/O error.
    ShortWrite {
        /// Bytes that are stored.
        bytes: usize,
    },
    /// A data sync fails. As in Linux, the pages count as clean afterwards: later syncs do not write them either.
    Sync,
    /// A sync of the folder fails.
    SyncDir,
    /// A create fails for want of space.
    NoSpace,
    /// A read fails.
    Read,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct FaultStorage {
    disk: Arc<Mutex<Disk>>,
}

impl FaultStorage {
    /// Makes an empty disk with that much space.
    pub fn new(seed: u64, free_bytes: u64) -> Self {
        let disk = Disk {
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            contents: BTreeMap::new(),
            next_content: 0,
            free_bytes,
            generation: 0,
            locked: false,
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
            faults: Vec::new(),
            latency: Duration::ZERO,
            syncs: 0,
        };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Lets `fault` strike once, after that many calls of its kind have succeeded.
    pub fn inject(&self, fault: Fault, after: u64) {
        self.disk().faults.push((fault, after));
    }

    /// Makes every data sync take that long.
    pub fn set_latency(&self, latency: Duration) {
        self.disk().latency = latency;
    }

    /// Sets the free space.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.disk().free_bytes = bytes;
    }

    /// Kills the process: open handles die, the lock goes, everything written stays.
    pub fn kill(&self) {
        let mut disk = self.disk();
        disk.generation += 1;
        disk.locked = false;
        disk.faults.clear();
    }

    /// Cuts the power: as [`kill`](Self::kill), and of what was not synced each sector is kept or lost by chance, and
    /// all unsynced name changes are kept or lost together.
    pub fn lose_power(&self) {
        self.kill();
        let mut disk = self.disk();
        let keep_names = disk.chance();
        if !keep_names {
            disk.names = disk.synced_names.clone();
        }
        let mut contents = std::mem::take(&mut disk.contents);
        for content in contents.values_mut() {
            content.lose_power(|| disk.chance());
        }
        contents.retain(|id, _content| disk.names.values().any(|named| named == id));
        disk.contents = contents;
        disk.synced_names = disk.names.clone();
    }

    /// Flips a bit of a file, durably.
    pub fn flip_bit(&self, name: &str, byte: usize, bit: u8) {
        self.edit(name, |bytes| {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 1 << (bit % 8);
            }
        });
    }

    /// Changes a file's bytes, durably. Makes the file when there is none.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let id = disk.id_or_new(name);
        disk.synced_names.insert(name.to_owned(), id);
        let content = disk.contents.entry(id).or_default();
        change(&mut content.written);
        content.synced.clone_from(&content.written);
        content.dirty.clear();
    }

    /// Returns a file's bytes as they are written now.
    pub fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(name).and_then(|id| disk.contents.get(id)).map(|content| content.written.clone())
    }

    /// Returns a copy of the disk that shares nothing with this one.
    pub fn fork(&self) -> Self {
        let disk = self.disk();
        let fork = Self::new(disk.random, disk.free_bytes);
        let mut copy = fork.disk();
        copy.names = disk.names.clone();
        copy.synced_names = disk.synced_names.clone();
        copy.contents = disk.contents.clone();
        copy.next_content = disk.next_content;
        drop(copy);
        fork
    }

    /// Returns how many data syncs succeeded.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, id: u64, generation: u64) -> Box<dyn LogFile> {
        Box::new(FaultFile { disk: self.disk.clone(), id, generation })
    }
}

struct HeldLock {
    disk: Arc<Mutex<Disk>>,
    generation: u64,
}

impl StorageLock for HeldLock {}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.generation == self.generation {
            disk.locked = false;
        }
    }
}

/// The storage as one process sees it; [`FaultStorage::process`] makes one per life.
struct Process {
    storage: FaultStorage,
    generation: u64,
}

impl FaultStorage {
    /// Returns the disk for one process: after a [`kill`](Self::kill) every call of an earlier one fails.
    pub fn process(&self) -> Arc<dyn Storage> {
        let generation = self.disk().generation;
        Arc::new(Process { storage: self.clone(), generation })
    }
}

impl Process {
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.storage.disk();
        if disk.generation == self.generation { Ok(disk) } else { Err(dead()) }
    }
}

impl Storage for Process {
    fn lock(&self) -> io::Result<Box<dyn StorageLock>> {
        let mut disk = self.disk()?;
        if std::mem::replace(&mut disk.locked, true) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let disk = self.storage.disk.clone();
        Ok(Box::new(HeldLock { disk, generation: self.generation }))
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let disk = self.disk()?;
        let info = |(name, id): (&String, &u64)| FileInfo {
            name: name.clone(),
            bytes: disk.contents.get(id).map_or(0, |content| content.written.len() as u64),
        };
        Ok(disk.names.iter().map(info).collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn LogFile>> {
        let mut disk = self.disk()?;
        if disk.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if disk.strike(|f| f == Fault::NoSpace).is_some() || disk.free_bytes < bytes {
            return Err(ErrorKind::StorageFull.into());
        }
        disk.free_bytes -= bytes;
        let id = disk.id_or_new(name);
        let zeros = vec![0; bytes as usize];
        disk.contents.insert(id, Content { written: zeros.clone(), synced: zeros, dirty: Vec::new() });
        drop(disk);
        Ok(self.storage.handle(id, self.generation))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let id = *self.disk()?.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(self.storage.handle(id, self.generation))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk()?;
        let id = disk.names.remove(from).ok_or(ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk()?;
        let id = disk.names.remove(name).ok_or(ErrorKind::NotFound)?;
        disk.free_bytes += disk.contents.get(&id).map_or(0, |content| content.written.len() as u64);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk()?;
        if disk.strike(|f| f == Fault::SyncDir).is_some() {
            return Err(io::Error::other("injected: folder sync"));
        }
        disk.synced_names = disk.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.disk()?.free_bytes)
    }
}
