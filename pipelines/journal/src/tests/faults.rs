//! Failing disks: nothing acknowledged is lost, nothing that is not durable is acknowledged.

use super::*;
use crate::fault::Fault;

/// Appends five records, of which the fault strikes one, and checks what is reported against what survives.
fn strike(fault: Fault, after: u64) {
    for seed in 0..20 {
        let disk = FaultStorage::new(seed, DISK_BYTES);
        let journal = open(&disk).unwrap();
        eventually("a spare", || journal.stats().room_bytes > 16 * 1024);
        disk.inject(fault, after);
        let watch = journal.durable();
        let mut durable = 0;
        for number in 0..5_u8 {
            let Ok(ticket) = journal.append(record(vec![number; 700])) else { break };
            match ticket.wait(&watch) {
                Ok(_proof) => durable += 1,
                Err(Lost) => break,
            }
        }
        assert!(durable < 5, "the fault did not strike");
        assert_eq!(watch.current(), DurableState::Failed);
        assert_eq!(watch.end(), Offset::new(durable));
        let refused = journal.append(record(*b"x")).unwrap_err();
        assert!(matches!(refused, AppendError::Failed));
        assert_eq!(refused.kind(), AppendErrorKind::Fatal);
        assert_eq!(payloads(&journal).len() as u64, durable, "a failed log still reads what is durable");
        disk.lose_power();
        drop(journal);
        let journal = open(&disk).unwrap();
        let found = payloads(&journal);
        assert!(found.len() as u64 >= durable, "seed {seed}: {} of {durable}", found.len());
        for (number, payload) in found.iter().enumerate() {
            assert_eq!(payload, &vec![number as u8; 700]);
        }
    }
}

#[test]
fn a_failed_sync_poisons_the_log() {
    strike(Fault::Sync, 0);
    strike(Fault::Sync, 2);
}

#[tokio::test]
async fn a_loop_that_follows_a_failed_log_is_woken_once_and_does_not_spin() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let journal = open(&disk).unwrap();
    let mut watch = journal.durable();
    disk.inject(Fault::Sync, 0);
    let ticket = journal.append(record(*b"lost")).unwrap();
    assert!(tokio::task::spawn_blocking(move || ticket.wait(&journal.durable())).await.unwrap().is_err());
    let mut woken = 0;
    while let Ok(state) = tokio::time::timeout(Duration::from_millis(200), watch.next()).await {
        assert_eq!(state, DurableState::Failed);
        woken += 1;
        assert!(woken < 10, "it spins");
    }
    assert_eq!(woken, 1);
}

#[test]
fn a_short_write_poisons_the_log() {
    for bytes in [0, 1, 39, 40, 300, 760] {
        strike(Fault::ShortWrite { bytes }, 1);
    }
}

/// The page cache shows bytes that a failed sync never wrote. What recovery reads it must write again, or a later
/// power loss takes back what it reported durable.
#[test]
fn recovery_does_not_trust_the_page_cache_after_a_failed_sync() {
    let disk = FaultStorage::new(3, DISK_BYTES);
    let journal = open(&disk).unwrap();
    append(&journal, *b"durable");
    disk.inject(Fault::Sync, 0);
    assert_eq!(journal.append(record(*b"cached")).unwrap().wait(&journal.durable()), Err(Lost));
    disk.kill();
    drop(journal);
    let journal = open(&disk).unwrap();
    assert_eq!(payloads(&journal), [b"durable".to_vec(), b"cached".to_vec()]);
    assert_eq!(journal.durable_end(), Offset::new(2));
    disk.lose_power();
    drop(journal);
    assert_eq!(payloads(&open(&disk).unwrap()).len(), 2);
}

/// The same for a segment's end: it may be in the page cache only, and the log goes on behind it.
#[test]
fn recovery_does_not_trust_an_end_that_was_not_synced() {
    let disk = FaultStorage::new(3, DISK_BYTES);
    let journal = open(&disk).unwrap();
    append(&journal, *b"first");
    disk.inject(Fault::Sync, 0);
    journal.close();
    disk.kill();
    let journal = open(&disk).unwrap();
    append(&journal, *b"second");
    disk.lose_power();
    drop(journal);
    assert_eq!(payloads(&open(&disk).unwrap()), [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn a_failed_folder_sync_poisons_the_log_at_the_roll() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let journal = open(&disk).unwrap();
    disk.inject(Fault::SyncDir, 0);
    let watch = journal.durable();
    let mut durable = 0;
    eventually("the roll", || match journal.append(record(vec![durable as u8; 1000])) {
        Ok(ticket) => {
            let proof = ticket.wait(&watch);
            durable += u64::from(proof.is_ok());
            proof.is_err()
        }
        Err(AppendError::Full(_)) => false,
        Err(error) => panic!("{error}"),
    });
    disk.lose_power();
    drop(journal);
    assert_eq!(payloads(&open(&disk).unwrap()).len() as u64, durable);
}

#[test]
fn a_read_error_is_told_and_a_later_read_goes_on() {
    let disk = FaultStorage::new(1, DISK_BYTES);
    let journal = open_with(&disk, JournalOptions { tail_bytes_max: 0, ..small() }).unwrap();
    append(&journal, *b"x");
    let mut reader = journal.reader(Offset::ZERO).unwrap();
    disk.inject(Fault::Read, 0);
    assert!(matches!(reader.next_batch(1), Err(ReadError::Io(_))));
    assert_eq!(reader.next_batch(1).unwrap().len(), 1);
}

#[test]
fn a_crash_while_a_sync_runs_reports_nothing_of_it() {
    let disk = FaultStorage::new(7, DISK_BYTES);
    let journal = open(&disk).unwrap();
    append(&journal, *b"first");
    disk.set_latency(Duration::from_millis(100));
    let watch = journal.durable();
    let ticket = journal.append(record(*b"second")).unwrap();
    let ticket = ticket.redeem(&watch).unwrap_err();
    std::thread::sleep(Duration::from_millis(20));
    disk.lose_power();
    assert_eq!(ticket.wait(&watch), Err(Lost));
}

#[test]
fn a_ticket_is_worth_nothing_at_another_log() {
    let journal = open(&FaultStorage::new(1, DISK_BYTES)).unwrap();
    let other = open(&FaultStorage::new(2, DISK_BYTES)).unwrap();
    append(&other, *b"durable there");
    let ticket = journal.append(record(*b"here")).unwrap();
    let ticket = ticket.redeem(&other.durable()).unwrap_err();
    assert_eq!(ticket.wait(&other.durable()), Err(Lost));
}
