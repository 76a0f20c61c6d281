//! Tests of the whole log. Most run on a disk in memory, which can lose power at any call.

mod basic;
mod bounds;
mod crash;
mod faults;
mod golden;
mod keys;
mod later;
mod model;
mod nonces;
mod pacing;
mod scan;

use crate::fault::FaultStorage;
use crate::*;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Space of the test disks, bytes.
const DISK_BYTES: u64 = 8 << 20;

fn keyring() -> Arc<Keyring> {
    static KEYRING: OnceLock<Arc<Keyring>> = OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(Keyring::create_or_open(&dir.path().join("keyring.json")).unwrap())
    };
    KEYRING.get_or_init(make).clone()
}

fn small() -> JournalOptions {
    JournalOptions {
        segment_bytes: 16 * 1024,
        total_bytes_max: 1 << 20,
        reserve_bytes: 0,
        tail_bytes_max: 1024,
        ..JournalOptions::for_dir("unused")
    }
}

fn open_with(disk: &FaultStorage, options: JournalOptions) -> Result<Journal, OpenError> {
    Journal::open(options, disk.process(), keyring())
}

fn open(disk: &FaultStorage) -> Result<Journal, OpenError> {
    open_with(disk, small())
}

fn record(payload: impl Into<Vec<u8>>) -> Record {
    record_of(Class::Telemetry, payload)
}

fn record_of(class: Class, payload: impl Into<Vec<u8>>) -> Record {
    Record { partition: PartitionId::new(3).unwrap(), class, payload: payload.into().into() }
}

/// Appends and waits. On a loaded machine the next segment may not be made yet: then the log is full for a moment.
fn append(journal: &Journal, payload: impl Into<Vec<u8>>) -> Durable {
    let mut record = Some(record(payload));
    let mut ticket = None;
    eventually("there is room again", || {
        match record.take().map(|record| journal.append(record)) {
            Some(Err(AppendError::Full(back))) => record = Some(back),
            other => ticket = other,
        }
        ticket.is_some()
    });
    ticket.unwrap().unwrap().wait(&journal.durable()).unwrap()
}

fn read_from(journal: &Journal, from: Offset) -> Result<Vec<Entry>, ReadError> {
    let mut reader = journal.reader(from)?;
    let mut all = Vec::new();
    loop {
        let entries = reader.next_batch(1000)?;
        if entries.is_empty() {
            return Ok(all);
        }
        all.extend(entries);
    }
}

fn read_all(journal: &Journal) -> Vec<Entry> {
    read_from(journal, journal.start()).unwrap()
}

fn payloads(journal: &Journal) -> Vec<Vec<u8>> {
    read_all(journal).into_iter().map(|entry| entry.payload.to_vec()).collect()
}

/// Waits for something that another thread does; the test fails when it does not come.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
