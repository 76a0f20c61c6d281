//! When acknowledgements come: at the sync that made their records durable, never before, and not much later.

use super::*;

/// A sync on the slow disk takes so long.
const SYNC: Duration = Duration::from_millis(40);

fn slow() -> (FaultStorage, Journal) {
    let disk = FaultStorage::new(5, DISK_BYTES);
    let journal =
        open_with(&disk, JournalOptions { segment_bytes: 1 << 20, total_bytes_max: 4 << 20, ..small() })
            .unwrap();
    eventually("a spare", || journal.stats().room_bytes > 1 << 20);
    disk.set_latency(SYNC);
    (disk, journal)
}

#[test]
fn a_record_is_durable_at_the_end_of_its_sync_and_not_before() {
    let (disk, journal) = slow();
    let watch = journal.durable();
    let syncs = disk.syncs();
    let appended = Instant::now();
    let ticket = journal.append(record(*b"alone")).unwrap();
    let ticket = ticket.redeem(&watch).unwrap_err();
    std::thread::sleep(SYNC / 2);
    let early = (appended.elapsed() < SYNC).then(|| disk.syncs());
    let ticket = if early.is_some() { ticket.redeem(&watch).unwrap_err() } else { ticket };
    assert!(early.is_none_or(|early| early == syncs), "nothing was synced yet");
    ticket.wait(&watch).unwrap();
    assert!(appended.elapsed() >= SYNC);
    assert_eq!(disk.syncs(), syncs + 1);
}

#[test]
fn what_comes_during_a_sync_waits_for_the_next_one_together() {
    let (disk, journal) = slow();
    let watch = journal.durable();
    let syncs = disk.syncs();
    let first = journal.append(record(*b"first")).unwrap();
    std::thread::sleep(SYNC / 4);
    let later: Vec<_> = (0..50_u8).map(|n| journal.append(record(vec![n; 100])).unwrap()).collect();
    first.wait(&watch).unwrap();
    // The end moves batch by batch: a record of the second one is never let through by the first one's sync.
    let end = watch.end();
    assert!(end == Offset::new(1) || disk.syncs() >= syncs + 2, "{end}");
    for ticket in later {
        ticket.wait(&watch).unwrap();
    }
    // One when the machine was too busy to take the first in time.
    let batches = journal.stats().batches;
    assert!(batches == 1 || batches == 2, "{batches}");
    assert_eq!(disk.syncs(), syncs + batches);
}

#[test]
fn under_load_each_is_told_once_and_a_lone_record_after_it_has_a_sync_of_its_own() {
    let disk = FaultStorage::new(6, 64 << 20);
    let options = JournalOptions { segment_bytes: 8 << 20, total_bytes_max: 32 << 20, ..small() };
    let journal = open_with(&disk, options).unwrap();
    let appender = |journal: Journal| {
        move || {
            let watch = journal.durable();
            for _ in 0..200 {
                journal.append(record(*b"reading")).unwrap().wait(&watch).unwrap();
            }
        }
    };
    let threads: Vec<_> = (0..64).map(|_| std::thread::spawn(appender(journal.clone()))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let stats = journal.stats();
    assert_eq!(stats.records, 64 * 200);
    assert!(stats.batches < stats.records, "nobody ever shared a sync of {}", stats.batches);
    // A lone record after the load is not held back by what the load was.
    std::thread::sleep(Duration::from_millis(20));
    let batches = journal.stats().batches;
    append(&journal, *b"alone");
    eventually("it is counted", || journal.stats().batches == batches + 1);
}

#[test]
fn a_waiter_is_woken_for_each_offset_it_asks_for_and_by_the_end_of_the_log() {
    let (_disk, journal) = slow();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut waiter = journal.durable().waiter();
        for number in 0..3_u8 {
            let offset = journal.append(record([number])).unwrap().offset();
            std::future::poll_fn(|cx| waiter.poll(offset, cx)).await.unwrap();
            assert!(journal.durable_end() > offset);
        }
        let never = journal.durable_end().plus(1000);
        let closing = journal.clone();
        let closer = std::thread::spawn(move || {
            std::thread::sleep(SYNC);
            closing.close();
        });
        let lost = std::future::poll_fn(|cx| waiter.poll(never, cx)).await;
        assert_eq!(lost, Err(Lost));
        closer.join().unwrap();
    });
}

#[test]
fn a_waiter_polled_for_other_reasons_keeps_its_place() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (_disk, journal) = slow();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let offset = journal.append(record(*b"one")).unwrap().offset();
    let mut waiter = journal.durable().waiter();
    for _ in 0..5 {
        assert!(waiter.poll(offset, &mut cx).is_pending());
    }
    eventually("the wake", || count.0.load(Ordering::SeqCst) > 0);
    assert!(waiter.poll(offset, &mut cx).is_ready());
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "one place, one wake");
    let next = journal.append(record(*b"two")).unwrap().offset();
    let mut gone = journal.durable().waiter();
    assert!(gone.poll(next, &mut cx).is_pending());
    drop(gone);
    eventually("the second sync", || journal.durable_end() > next);
    std::thread::sleep(SYNC / 4);
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "who has left is not woken");
}
