//! A scan sees what a reader sees, beside the writer, and changes nothing.

use super::*;

fn scanned(disk: &FaultStorage, from: u64) -> Result<(Vec<Entry>, Scanned), OpenError> {
    let mut entries = Vec::new();
    let seen = scan(&*disk.process(), &*keyring(), Offset::new(from), |entry| entries.push(entry))?;
    Ok((entries, seen))
}

#[test]
fn a_scan_reads_beside_the_writer_from_any_offset() {
    let disk = FaultStorage::new(41, DISK_BYTES);
    let journal = open(&disk).unwrap();
    for i in 0..200_u8 {
        append(&journal, vec![i; 300]);
    }
    let all = read_from(&journal, Offset::ZERO).unwrap();
    for from in [0, 1, 57, 199] {
        let (entries, seen) = scanned(&disk, from).unwrap();
        assert_eq!(entries, all[from as usize..], "from {from}");
        assert_eq!((seen.start.get(), seen.end.get()), (0, 200));
    }
    assert_eq!(scanned(&disk, 200).unwrap().0, []);
    append(&journal, "goes on");
    assert!(journal.retain_from(Offset::new(100)).unwrap() > 0);
    let (entries, seen) = scanned(&disk, 0).unwrap();
    assert_eq!((seen.start, seen.end.get()), (journal.start(), 201));
    assert_eq!(entries.first().map(|entry| entry.offset), Some(journal.start()));
}

#[test]
fn a_torn_tail_ends_a_scan_and_stays_as_it_is_and_rot_is_an_error() {
    let disk = FaultStorage::new(42, DISK_BYTES);
    let journal = open(&disk).unwrap();
    for i in 0..100_u8 {
        append(&journal, vec![i; 300]);
    }
    let names: Vec<_> = disk.process().list().unwrap().into_iter().map(|file| file.name).collect();
    let mut segments: Vec<_> = names.iter().filter(|name| name.ends_with(".wal")).collect();
    segments.sort();
    let last = *segments.last().unwrap();
    let bytes = disk.bytes_of(last).unwrap();
    let whole = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    disk.flip_bit(last, whole, 1);
    let torn = disk.bytes_of(last).unwrap();
    let (entries, seen) = scanned(&disk, 0).unwrap();
    assert_eq!((entries.len(), seen.end.get()), (99, 99));
    assert_eq!(disk.bytes_of(last).unwrap(), torn);
    disk.flip_bit(segments[0], bytes.len() / 2, 1);
    assert!(matches!(scanned(&disk, 0), Err(OpenError::Corrupt { .. })));
    drop(journal);
}
