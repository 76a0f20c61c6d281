//! Torn, cut and rotten files.

use super::*;
use crate::format::{
    BATCH_HEADER_BYTES, BATCH_OVERHEAD_BYTES, BatchHeader, FormatError, SEGMENT_HEADER_BYTES,
};

const FIRST: &str = "00000000000000000000.wal";

/// A killed log with one record a batch, and where each batch ends in the file.
fn killed(records: u8) -> (FaultStorage, Vec<usize>) {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let journal = open(&disk).unwrap();
    for number in 0..records {
        append(&journal, vec![number; 20]);
    }
    disk.kill();
    drop(journal);
    let bytes = disk.bytes_of(FIRST).unwrap();
    let mut ends = vec![SEGMENT_HEADER_BYTES];
    for _ in 0..records {
        let at = *ends.last().unwrap();
        ends.push(at + BatchHeader::decode(&bytes[at..]).unwrap().batch_bytes() as usize);
    }
    (disk, ends)
}

fn expect(records: usize) -> Vec<Vec<u8>> {
    (0..records).map(|number| vec![number as u8; 20]).collect()
}

#[test]
fn a_file_cut_at_any_byte_keeps_every_whole_batch() {
    let (disk, ends) = killed(3);
    for cut in SEGMENT_HEADER_BYTES..=ends[3] {
        let disk = disk.fork();
        disk.edit(FIRST, |bytes| bytes.truncate(cut));
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        let journal = open(&disk).unwrap();
        assert_eq!(payloads(&journal), expect(whole), "cut at {cut}");
        assert_eq!(journal.durable_end(), Offset::new(whole as u64));
    }
}

#[test]
fn a_header_cut_short_is_refused_and_left_alone() {
    let (disk, _ends) = killed(2);
    for cut in [0, 1, 8, 100, SEGMENT_HEADER_BYTES - 1] {
        let disk = disk.fork();
        disk.edit(FIRST, |bytes| bytes.truncate(cut));
        assert!(matches!(open(&disk), Err(OpenError::Corrupt { position: 0, .. })), "cut at {cut}");
        assert_eq!(disk.bytes_of(FIRST).unwrap().len(), cut);
    }
}

#[test]
fn the_last_batch_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let (disk, ends) = killed(3);
    for torn in ends[2]..ends[3] {
        for garbage in [0, 0xa5] {
            let disk = disk.fork();
            disk.edit(FIRST, |bytes| bytes[torn..ends[3]].fill(garbage));
            let journal = open(&disk).unwrap();
            assert_eq!(payloads(&journal), expect(2), "torn at {torn}");
            append(&journal, *b"after");
            journal.close();
            let journal = open(&disk).unwrap();
            assert_eq!(payloads(&journal), [expect(2), vec![b"after".to_vec()]].concat());
        }
    }
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_refused_and_left_alone() {
    let (disk, ends) = killed(3);
    for byte in 0..ends[2] {
        let disk = disk.fork();
        disk.flip_bit(FIRST, byte, byte as u8);
        let before = disk.bytes_of(FIRST);
        let error = open(&disk).err();
        assert!(matches!(error, Some(OpenError::Corrupt { .. })), "byte {byte}: {error:?}");
        assert_eq!(disk.bytes_of(FIRST), before);
    }
}

#[test]
fn a_rotten_middle_is_named() {
    let (disk, ends) = killed(3);
    disk.flip_bit(FIRST, ends[1] + BATCH_HEADER_BYTES, 0);
    let Err(OpenError::Corrupt { segment, position, reason }) = open(&disk) else {
        panic!("a rotten middle opened");
    };
    assert_eq!((segment.as_str(), position, reason), (FIRST, ends[1] as u64, FormatError::RottenMiddle));
}

/// Bytes of a batch that a sector of zeros replaced: no magic is left at its start.
#[test]
fn a_zeroed_middle_is_refused_too() {
    let (disk, ends) = killed(3);
    disk.edit(FIRST, |bytes| bytes[ends[0]..ends[1]].fill(0));
    assert!(matches!(open(&disk), Err(OpenError::Corrupt { reason: FormatError::RottenMiddle, .. })));
}

#[test]
fn a_sealed_segment_that_does_not_end_is_refused() {
    let (disk, ends) = killed(2);
    open(&disk).unwrap().close();
    let journal = open(&disk).unwrap();
    append(&journal, *b"in the next segment");
    journal.close();
    let sealed = disk.bytes_of(FIRST).unwrap().len();
    assert_eq!(sealed, ends[2] + BATCH_OVERHEAD_BYTES);
    for cut in SEGMENT_HEADER_BYTES..sealed {
        let disk = disk.fork();
        disk.edit(FIRST, |bytes| bytes.truncate(cut));
        assert!(matches!(open(&disk), Err(OpenError::Corrupt { .. })), "cut at {cut}");
    }
}

#[test]
fn a_missing_segment_is_refused() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    for life in 0..3_u8 {
        let journal = open(&disk).unwrap();
        append(&journal, vec![life]);
        journal.close();
    }
    disk.process().remove("00000000000000000001.wal").unwrap();
    let Err(OpenError::Missing { expected, found }) = open(&disk) else { panic!("a gap opened") };
    assert_eq!((expected, found), (Offset::new(1), Offset::new(2)));
}

#[test]
fn a_segment_under_another_name_is_refused() {
    let (disk, _ends) = killed(2);
    disk.process().rename(FIRST, "00000000000000000005.wal").unwrap();
    assert!(matches!(open(&disk), Err(OpenError::Corrupt { reason: FormatError::Order, .. })));
}

#[test]
fn a_batch_moved_from_another_segment_is_not_authentic() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let journal = open(&disk).unwrap();
    append(&journal, vec![1; 20]);
    journal.close();
    let own = disk.bytes_of(FIRST).unwrap();
    let (other, _ends) = killed(1);
    let foreign = other.bytes_of(FIRST).unwrap();
    let end = own.len() - BATCH_OVERHEAD_BYTES;
    disk.edit(FIRST, |bytes| {
        bytes[SEGMENT_HEADER_BYTES..end].copy_from_slice(&foreign[SEGMENT_HEADER_BYTES..end])
    });
    let journal = open(&disk).unwrap();
    let error = read_from(&journal, Offset::ZERO).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { reason: FormatError::Unauthentic, .. }), "{error}");
}

#[test]
fn rot_that_comes_while_the_log_is_open_is_an_error_and_never_a_skip() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let options = JournalOptions { tail_bytes_max: 0, ..small() };
    let journal = open_with(&disk, options).unwrap();
    for number in 0..3 {
        append(&journal, vec![number; 20]);
    }
    disk.flip_bit(FIRST, SEGMENT_HEADER_BYTES + 150, 3);
    let mut reader = journal.reader(Offset::ZERO).unwrap();
    assert_eq!(reader.next_batch(1000).unwrap().len(), 1);
    for _ in 0..2 {
        assert!(matches!(reader.next_batch(1000), Err(ReadError::Corrupt { .. })));
        assert_eq!(reader.position(), Offset::new(1));
    }
}
