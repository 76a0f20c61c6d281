//! Every bound refuses, in the order telemetry, audit, alarm (LIM-1), and what was admitted is never lost.

use super::*;
use crate::fault::Fault;
use crate::format::segment_base;
use std::thread;

/// Appends records of a class until one is refused; returns how many were taken.
fn fill(journal: &Journal, class: Class) -> u64 {
    let mut taken = 0;
    loop {
        match journal.append(record_of(class, vec![class.code(); 500])) {
            Ok(ticket) => {
                let _claim = ticket.wait(&journal.durable()).unwrap();
                taken += 1;
            }
            Err(AppendError::Full(back)) => {
                assert_eq!(back.payload.len(), 500, "a refusal gives the record back");
                return taken;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_full_disk_refuses_telemetry_before_audit_before_alarms() {
    let disk = FaultStorage::new(1, 16 * 1024);
    let journal = open(&disk).unwrap();
    let telemetry = fill(&journal, Class::Telemetry);
    let audit = fill(&journal, Class::Audit);
    let alarms = fill(&journal, Class::Alarm);
    assert!(telemetry > 15 && audit > 0 && alarms > 0, "{telemetry} {audit} {alarms}");
    let all = telemetry + audit + alarms;
    assert_eq!(journal.stats().refused_full, 3);
    journal.close();
    disk.set_free_bytes(DISK_BYTES);
    assert_eq!(read_all(&open(&disk).unwrap()).len() as u64, all);
}

#[test]
fn a_log_at_its_bound_goes_on_after_retention() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let options = JournalOptions { total_bytes_max: 64 * 1024, ..small() };
    let journal = open_with(&disk, options).unwrap();
    let mut taken = 0;
    eventually("the bound", || {
        taken += fill(&journal, Class::Alarm);
        let stats = journal.stats();
        assert!(stats.bytes <= 64 * 1024, "{stats:?}");
        stats.segments == 4
    });
    taken += fill(&journal, Class::Alarm);
    assert_eq!(fill(&journal, Class::Alarm), 0);
    assert!(journal.retain_from(journal.durable_end()).unwrap() >= 3);
    eventually("room after retention", || fill(&journal, Class::Alarm) > 0);
    assert!(taken > 80);
}

#[test]
fn the_reserve_is_kept_free() {
    let disk = FaultStorage::new(1, 40 * 1024);
    let options = JournalOptions { reserve_bytes: 20 * 1024, ..small() };
    let journal = open_with(&disk, options.clone()).unwrap();
    fill(&journal, Class::Alarm);
    assert_eq!(journal.stats().segments, 1, "a second segment would go below the reserve");
    let poor = FaultStorage::new(1, 10 * 1024);
    assert!(matches!(open_with(&poor, options), Err(OpenError::NoSpace)));
}

/// A log that could not open when full could never be drained.
#[test]
fn a_full_log_opens_is_drained_and_goes_on() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let options = JournalOptions { segment_bytes: 64 * 1024, total_bytes_max: 256 * 1024, ..small() };
    let journal = open_with(&disk, options.clone()).unwrap();
    let mut taken = 0;
    eventually("the bound", || {
        taken += fill(&journal, Class::Alarm);
        journal.stats().segments == 4
    });
    taken += fill(&journal, Class::Alarm);
    drop(journal);
    let journal = open_with(&disk, options).unwrap();
    assert!(
        matches!(journal.append(record(vec![0; 500])), Err(AppendError::Full(_))),
        "no room for telemetry"
    );
    assert_eq!(read_all(&journal).len() as u64, taken);
    assert_eq!(journal.retain_from(journal.durable_end()).unwrap(), 4);
    eventually("a spare", || journal.stats().room_bytes > 32 * 1024);
    let large = append(&journal, vec![0; 15 * 1024]);
    assert_eq!(large.offset().get(), taken, "it did not fit the small first segment, which was replaced");
    append(&journal, *b"x");
    journal.close();
    assert_eq!(read_all(&open(&disk).unwrap()).len(), 2);
}

#[test]
fn a_spare_that_cannot_be_made_is_made_later() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    disk.inject(Fault::NoSpace, 1);
    let journal = open(&disk).unwrap();
    eventually("the second try", || journal.stats().room_bytes > 16 * 1024);
}

#[test]
fn the_queue_is_bounded() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let options =
        JournalOptions { queue_bytes_max: 0, batch_bytes_max: 1024, segment_bytes: 1 << 18, ..small() };
    let journal = open_with(&disk, options).unwrap();
    disk.set_latency(Duration::from_millis(200));
    let mut tickets = Vec::new();
    while let Ok(ticket) = journal.append(record(vec![0; 100])) {
        tickets.push(ticket);
    }
    assert!((10..30).contains(&tickets.len()), "{}", tickets.len());
    assert!(journal.append(record_of(Class::Alarm, vec![0; 100])).is_ok(), "alarms still enter");
    disk.set_latency(Duration::ZERO);
    for ticket in tickets {
        let _claim = ticket.wait(&journal.durable()).unwrap();
    }
}

#[test]
fn a_record_too_large_is_given_back() {
    let journal = open(&FaultStorage::new(1, DISK_BYTES)).unwrap();
    let bytes_max = small().record_bytes_max();
    let Err(AppendError::TooLarge(back)) = journal.append(record(vec![0; bytes_max + 1])) else {
        panic!("a record above the bound was taken");
    };
    assert_eq!(back.payload.len(), bytes_max + 1);
    append(&journal, vec![0; bytes_max]);
    assert_eq!(payloads(&journal), [vec![0; bytes_max]]);
}

#[test]
fn concurrent_appenders_keep_their_own_order() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let options = JournalOptions { segment_bytes: 1 << 18, total_bytes_max: 4 << 20, ..small() };
    let journal = open_with(&disk, options).unwrap();
    thread::scope(|scope| {
        for name in 0..8_u8 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..500_u16 {
                    let payload = [&[name], number.to_le_bytes().as_slice()].concat();
                    while journal.append(record(payload.clone())).is_err() {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    journal.clone().close();
    assert!(matches!(journal.append(record(*b"x")), Err(AppendError::Closed)));
    let entries = read_all(&journal);
    assert_eq!(entries.len(), 4000);
    for name in 0..8_u8 {
        let of_one = entries.iter().filter(|entry| entry.payload[0] == name);
        assert!(
            of_one.enumerate().all(|(number, entry)| entry.payload[1..] == (number as u16).to_le_bytes())
        );
    }
    assert!(entries.windows(2).all(|pair| pair[1].offset == pair[0].offset.next()));
    let stats = journal.stats();
    assert!(stats.batches < 4000, "records share syncs: {stats:?}");
}

#[test]
fn retention_keeps_what_is_not_wholly_below() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    for life in 0..3_u8 {
        let journal = open(&disk).unwrap();
        append(&journal, vec![life, 0]);
        append(&journal, vec![life, 1]);
    }
    let journal = open(&disk).unwrap();
    for (from, start) in [(1, 0), (2, 2), (3, 2), (100, 6)] {
        journal.retain_from(Offset::new(from)).unwrap();
        assert_eq!(journal.start(), Offset::new(start), "from {from}");
    }
    assert_eq!(journal.durable_end(), Offset::new(6));
    let names: Vec<_> =
        disk.process().list().unwrap().into_iter().filter_map(|f| segment_base(&f.name)).collect();
    assert_eq!(names, [Offset::new(6)]);
    drop(journal);
    let journal = open(&disk).unwrap();
    assert_eq!(
        append(&journal, *b"x").offset(),
        Offset::new(6),
        "offsets go on after everything was dropped"
    );
}

#[test]
fn a_reader_follows_across_segments_in_small_steps() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let journal = open(&disk).unwrap();
    let mut reader = journal.reader(Offset::ZERO).unwrap();
    let mut expected = 0_u64;
    for number in 0..100_u8 {
        eventually("room", || journal.append(record(vec![number; 900])).is_ok());
        if number % 7 == 6 {
            eventually("durable", || journal.durable_end() == Offset::new(u64::from(number) + 1));
            while let Some(entry) = reader.next_batch(1).unwrap().first() {
                assert_eq!((entry.offset.get(), entry.payload[0]), (expected, expected as u8));
                expected += 1;
            }
        }
    }
    assert_eq!(expected, 98);
    assert!(matches!(journal.reader(Offset::new(1000)), Err(ReadError::PastEnd { .. })));
}
