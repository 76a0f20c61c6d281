//! No nonce repeats under a data key, and every life has a key of its own (SEC-3).

use super::*;
use crate::format::{BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader, segment_base};
use std::collections::HashSet;

#[test]
fn no_nonce_repeats_under_a_data_key() {
    let disk = FaultStorage::new(5, DISK_BYTES);
    for life in 0..3_u8 {
        let journal = open(&disk).unwrap();
        for _ in 0..60 {
            eventually("room", || journal.append(record(vec![life; 900])).is_ok());
        }
        eventually("durable", || journal.stats().queue_bytes == 0);
        if life == 1 {
            disk.kill();
        }
    }
    let (mut keys, mut nonces) = (HashSet::new(), HashSet::new());
    for file in disk.process().list().unwrap().iter().filter(|file| segment_base(&file.name).is_some()) {
        let bytes = disk.bytes_of(&file.name).unwrap();
        let header = SegmentHeader::decode(&bytes).unwrap();
        keys.insert(header.wrapped.clone());
        let mut at = SEGMENT_HEADER_BYTES;
        while let Ok(batch) = BatchHeader::decode(&bytes[at..]) {
            let nonce = (header.wrapped.clone(), header.nonce_prefix, batch.counter);
            assert!(nonces.insert(nonce), "{} at byte {at}", file.name);
            at += batch.batch_bytes() as usize;
        }
    }
    assert_eq!(keys.len(), 3);
    assert!(nonces.len() > 12, "{} batches over several segments", nonces.len());
}

#[test]
fn a_spare_that_was_left_ready_is_used() {
    let disk = FaultStorage::new(5, DISK_BYTES);
    let journal = open(&disk).unwrap();
    append(&journal, *b"x");
    eventually("a spare", || journal.stats().room_bytes > 16 * 1024);
    disk.kill();
    drop(journal);
    disk.set_free_bytes(0);
    let journal = open(&disk).unwrap();
    assert_eq!(append(&journal, *b"y").offset(), Offset::new(1));
}
