//! Opening a log whose files were damaged in any way.
//!
//! The input is a list of edits to a valid log of three segments, the last of them unsealed. Since a checksum would
//! stop nearly every edit, an edit may also mend the checksum of the batch or header that it hits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, OnceLock};
use wardline_journal::fault::FaultStorage;
use wardline_journal::format::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, segment_base};
use wardline_journal::{
    Class, Entry, Journal, JournalOptions, KeyError, KeyId, KeyProvider, KeyPurpose, Offset, OpenError,
    Record, Zeroizing,
};
use wardline_proto::{PartitionId, TenantId};

/// A key service that wraps nothing: its keys are not what is tested.
struct PlainKeys;

impl KeyProvider for PlainKeys {
    fn wrap(&self, _master: &KeyId, data_key: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(data_key.to_vec())
    }

    fn unwrap_key(&self, _master: &KeyId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Ok(Zeroizing::new(wrapped.to_vec()))
    }

    fn active(&self, _purpose: KeyPurpose, _tenant: Option<&TenantId>) -> Result<KeyId, KeyError> {
        KeyId::new("k-0000000000000000")
    }
}

fn open(disk: &FaultStorage) -> Result<Journal, OpenError> {
    let options = JournalOptions {
        segment_bytes: 16 * 1024,
        total_bytes_max: 1 << 20,
        reserve_bytes: 0,
        tail_bytes_max: 0,
        ..JournalOptions::for_dir("unused")
    };
    Journal::open(options, disk.process(), Arc::new(PlainKeys))
}

fn template() -> (FaultStorage, Vec<String>) {
    static TEMPLATE: OnceLock<FaultStorage> = OnceLock::new();
    let disk = TEMPLATE.get_or_init(|| {
        let disk = FaultStorage::new(1, 1 << 20);
        for life in 0..3 {
            let journal = open(&disk).expect("a valid log opens");
            for number in 0..4 {
                let payload = vec![life * 16 + number; 10].into();
                let partition = PartitionId::new(1).expect("a partition");
                let ticket = journal.append(Record { partition, class: Class::Telemetry, payload });
                ticket.expect("room").wait(&journal.durable()).expect("durable");
            }
            if life == 2 {
                disk.kill();
            }
        }
        disk
    });
    let disk = disk.fork();
    let files = disk.process().list().expect("a listing");
    let names = files.into_iter().map(|file| file.name).filter(|name| segment_base(name).is_some()).collect();
    (disk, names)
}

fn damage(bytes: &mut Vec<u8>, kind: u8, at: usize, value: u8) {
    let at = at % bytes.len().clamp(1, 1200);
    match kind % 8 {
        0 => bytes.truncate(at),
        1 => bytes.extend(std::iter::repeat_n(value, at)),
        2 => bytes.iter_mut().skip(at).take(usize::from(value)).for_each(|byte| *byte = 0),
        _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
    }
    if kind & 0x80 != 0 {
        mend(bytes);
    }
}

/// Mends the checksums of the header and of every batch that can still be walked to.
fn mend(bytes: &mut [u8]) {
    if let Some(header) = bytes.get_mut(..SEGMENT_HEADER_BYTES) {
        header[12..16].fill(0);
        let checksum = crc32c(header);
        header[12..16].copy_from_slice(&checksum);
    }
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(Ok(header)) = bytes.get(at..).map(BatchHeader::decode) {
        let end = at + header.sealed_bytes as usize + BATCH_HEADER_BYTES;
        let Some(batch) = bytes.get_mut(at..end) else { return };
        let checksum = crc32c(&batch[8..]);
        batch[4..8].copy_from_slice(&checksum);
        at = end;
    }
}

fn crc32c(bytes: &[u8]) -> [u8; 4] {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _bit| {
            (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1))
        })
    };
    (!bytes.iter().fold(!0, step)).to_le_bytes()
}

fn read(journal: &Journal) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let Ok(mut reader) = journal.reader(journal.start()) else { return all };
    while let Ok(entries) = reader.next_batch(64) {
        if entries.is_empty() {
            assert_eq!(reader.position(), journal.durable_end());
            break;
        }
        all.extend(entries);
    }
    let offsets = all.iter().map(|entry| entry.offset.get());
    assert!(offsets.zip(journal.start().get()..).all(|(found, expected)| found == expected));
    all
}

fuzz_target!(|input: &[u8]| {
    let (disk, names) = template();
    for edit in input.chunks_exact(4).take(16) {
        let name = &names[usize::from(edit[0]) % names.len()];
        let at = usize::from(u16::from_le_bytes([edit[1], edit[2]]));
        disk.edit(name, |bytes| damage(bytes, edit[0], at, edit[3]));
    }
    let Ok(journal) = open(&disk) else { return };
    assert!(journal.start() <= journal.durable_end());
    let (first, end) = (read(&journal), journal.durable_end());
    journal.close();
    let journal = open(&disk).expect("what opened once opens again");
    assert_eq!(read(&journal), first);
    assert!(journal.durable_end() == end && end < Offset::new(u64::MAX));
});
