//! The log on a real disk: append, follow, read, reopen, retain.

use super::{append, read_all, record};
use crate::*;
use std::sync::Arc;

struct OnDisk {
    dir: tempfile::TempDir,
    keys: Arc<Keyring>,
}

impl OnDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keyring::create_or_open(&dir.path().join("keyring.json")).unwrap());
        Self { dir, keys }
    }

    fn options(&self) -> JournalOptions {
        JournalOptions {
            segment_bytes: 64 * 1024,
            total_bytes_max: 1 << 20,
            reserve_bytes: 0,
            tail_bytes_max: 4096,
            ..JournalOptions::for_dir(self.dir.path().join("journal"))
        }
    }

    fn open(&self) -> Result<Journal, OpenError> {
        let options = self.options();
        Journal::open(options.clone(), Arc::new(DiskStorage::new(options.dir)), self.keys.clone())
    }
}

#[test]
fn what_was_appended_is_read_after_a_reopen() {
    let disk = OnDisk::new();
    let journal = disk.open().unwrap();
    let mut last = None;
    for number in 0..300_u32 {
        last = Some(journal.append(record(number.to_le_bytes())).unwrap());
    }
    let durable = last.unwrap().wait(&journal.durable()).unwrap();
    assert_eq!(durable.offset(), Offset::new(299));
    let before = read_all(&journal);
    assert_eq!(before.len(), 300);
    journal.close();
    let journal = disk.open().unwrap();
    assert_eq!(read_all(&journal), before);
    assert_eq!(journal.durable_end(), Offset::new(300));
}

#[test]
fn segments_roll_and_are_dropped_whole() {
    let disk = OnDisk::new();
    let journal = disk.open().unwrap();
    for number in 0..200_u32 {
        let payload = [number.to_le_bytes().as_slice(), &[7; 1000]].concat();
        append(&journal, payload);
    }
    assert!(journal.stats().segments >= 3, "{:?}", journal.stats());
    assert_eq!(read_all(&journal).len(), 200);
    let dropped = journal.retain_from(Offset::new(100)).unwrap();
    assert!(dropped >= 1);
    assert!(journal.start() > Offset::ZERO && journal.start() <= Offset::new(100));
    let first = journal.start();
    assert!(matches!(journal.reader(Offset::ZERO), Err(ReadError::Dropped { start }) if start == first));
    assert_eq!(read_all(&journal).first().unwrap().offset, first);
    drop(journal);
    let journal = disk.open().unwrap();
    assert_eq!(journal.start(), first);
    assert_eq!(read_all(&journal).last().unwrap().offset, Offset::new(199));
}

#[test]
fn a_second_process_is_kept_out() {
    let disk = OnDisk::new();
    let journal = disk.open().unwrap();
    assert!(matches!(disk.open(), Err(OpenError::Locked)));
    drop(journal);
    disk.open().unwrap();
}

#[test]
fn payloads_are_not_on_disk_in_the_clear() {
    let disk = OnDisk::new();
    let journal = disk.open().unwrap();
    journal.append(record(*b"a very recognisable payload")).unwrap().wait(&journal.durable()).unwrap();
    for file in std::fs::read_dir(disk.options().dir).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"recognisable"));
    }
}

#[tokio::test]
async fn a_ticket_waits_without_blocking() {
    let disk = OnDisk::new();
    let journal = disk.open().unwrap();
    let watch = journal.durable();
    let ticket = journal.append(record(*b"x")).unwrap();
    assert_eq!(ticket.durable(&watch).await.unwrap().offset(), Offset::ZERO);
    assert_eq!(watch.current(), DurableState::Open { end: Offset::new(1) });
}
