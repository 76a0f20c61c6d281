//! What the disk in memory holds, and its files.

use super::Fault;
use crate::storage::LogFile;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a power loss keeps or loses as one.
const SECTOR_BYTES: usize = 512;

pub(super) struct Disk {
    pub(super) names: BTreeMap<String, u64>,
    pub(super) synced_names: BTreeMap<String, u64>,
    pub(super) contents: BTreeMap<u64, Content>,
    pub(super) next_content: u64,
    pub(super) free_bytes: u64,
    /// Handles of an earlier one are dead: their process was killed.
    pub(super) generation: u64,
    pub(super) locked: bool,
    pub(super) random: u64,
    pub(super) faults: Vec<(Fault, u64)>,
    pub(super) latency: Duration,
    pub(super) syncs: u64,
}

#[derive(Default, Clone)]
pub(super) struct Content {
    pub(super) written: Vec<u8>,
    pub(super) synced: Vec<u8>,
    /// Ranges written since the last sync.
    pub(super) dirty: Vec<(usize, usize)>,
}

impl Disk {
    /// One bit of a splitmix64 sequence.
    pub(super) fn chance(&mut self) -> bool {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 63 == 1
    }

    /// Returns the fault that strikes this call.
    pub(super) fn strike(&mut self, is_kind: impl Fn(Fault) -> bool) -> Option<Fault> {
        let at = self.faults.iter().position(|(fault, _after)| is_kind(*fault))?;
        if self.faults[at].1 > 0 {
            self.faults[at].1 -= 1;
            return None;
        }
        Some(self.faults.remove(at).0)
    }

    pub(super) fn id_or_new(&mut self, name: &str) -> u64 {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        self.next_content += 1;
        self.names.insert(name.to_owned(), self.next_content);
        self.next_content
    }
}

impl Content {
    pub(super) fn lose_power(&mut self, mut keeps: impl FnMut() -> bool) {
        let mut survived = std::mem::take(&mut self.synced);
        // A cut of the file that was not synced is lost with the rest.
        if survived.len() < self.written.len() {
            survived.resize(self.written.len(), 0);
        }
        for (start, end) in self.dirty.drain(..) {
            let mut at = start;
            while at < end {
                let sector_end = end.min((at / SECTOR_BYTES + 1) * SECTOR_BYTES);
                if keeps() {
                    if let Some(bytes) = self.written.get(at..sector_end) {
                        survived[at..sector_end].copy_from_slice(bytes);
                    }
                }
                at = sector_end;
            }
        }
        self.written.clone_from(&survived);
        self.synced = survived;
    }
}

pub(super) struct FaultFile {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) id: u64,
    pub(super) generation: u64,
}

impl FaultFile {
    fn with<T>(&self, then: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.generation == self.generation { then(&mut disk) } else { Err(dead()) }
    }

    fn with_content<T>(&self, then: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        self.with(|disk| Ok(then(disk.contents.entry(self.id).or_default())))
    }
}

impl LogFile for FaultFile {
    fn bytes(&self) -> io::Result<u64> {
        self.with_content(|content| content.written.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if self.with(|disk| Ok(disk.strike(|f| f == Fault::Read)))?.is_some() {
            return Err(io::Error::other("injected: read"));
        }
        self.with_content(|content| {
            let there = content.written.get(position as usize..).unwrap_or_default();
            let read = there.len().min(buffer.len());
            buffer[..read].copy_from_slice(&there[..read]);
            read
        })
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let struck = self.with(|disk| Ok(disk.strike(|f| matches!(f, Fault::ShortWrite { .. }))))?;
        let stored = match struck {
            Some(Fault::ShortWrite { bytes: stored }) => &bytes[..stored.min(bytes.len())],
            _none => bytes,
        };
        self.with_content(|content| {
            let (start, end) = (position as usize, position as usize + stored.len());
            if content.written.len() < end {
                content.written.resize(end, 0);
            }
            content.written[start..end].copy_from_slice(stored);
            content.dirty.push((start, end));
        })?;
        if struck.is_some() { Err(io::Error::other("injected: short write")) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let latency = self.with(|disk| Ok(disk.latency))?;
        if !latency.is_zero() {
            std::thread::sleep(latency);
        }
        if self.with(|disk| Ok(disk.strike(|f| f == Fault::Sync)))?.is_some() {
            self.with_content(|content| content.dirty.clear())?;
            return Err(io::Error::other("injected: data sync"));
        }
        self.with(|disk| {
            disk.syncs += 1;
            Ok(())
        })?;
        self.with_content(Content::sync)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.with(|disk| {
            let content = disk.contents.entry(self.id).or_default();
            let freed = (content.written.len() as u64).saturating_sub(bytes);
            content.written.resize(bytes as usize, 0);
            disk.free_bytes += freed;
            Ok(())
        })
    }
}

impl Content {
    /// Takes over the dirty ranges and the length.
    fn sync(&mut self) {
        self.synced.resize(self.written.len(), 0);
        for (start, end) in self.dirty.drain(..) {
            let end = end.min(self.written.len());
            if let Some(bytes) = self.written.get(start..end) {
                self.synced[start..end].copy_from_slice(bytes);
            }
        }
    }
}

pub(super) fn dead() -> io::Error {
    io::Error::other("this process was killed")
}
