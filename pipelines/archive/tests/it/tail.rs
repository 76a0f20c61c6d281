//! What is acknowledged and not committed is read from the journal: once, judged as the archive will, and bounded.

use crate::rig::{NOW_US, Rig, files_below, frame, readings, samples};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use prost::Message;
use std::collections::BTreeSet;
use std::slice::from_ref;
use std::time::Duration;
use wardline_archive::tail::{Snapshot, TailBounds, TailState, snapshot};
use wardline_archive::{Asked, Table};
use wardline_proto::TenantId;
use wardline_proto::v1::{Frame, Lane, PayloadFormat};

const HOUR_US: i64 = 3_600_000_000;

/// Waits until what was appended is durable.
async fn durable(rig: &Rig) {
    let end = rig.end();
    while rig.journal.durable_end() < end {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn look(rig: &Rig, tenant: Option<&str>, bounds: TailBounds) -> Snapshot {
    let tenant = tenant.map(|tenant| TenantId::new(tenant).unwrap());
    let erased = rig.reader().learn_erased().await.unwrap();
    snapshot(rig.folder.path(), (&rig.store, &erased, &rig.reader().keys()), tenant.as_ref(), bounds)
        .await
        .unwrap()
}

fn seqs(batches: &[RecordBatch]) -> Vec<u64> {
    let of = |batch: &RecordBatch| batch["seq"].as_primitive::<UInt64Type>().values().to_vec();
    batches.iter().flat_map(of).collect()
}

fn behind(found: &Snapshot) -> Vec<u64> {
    let mut seqs = found.tail.rows.get(&Table::Numerics).map_or(Vec::new(), |batches| seqs(batches));
    seqs.sort_unstable();
    seqs
}

fn archived(rig: &Rig, found: &Snapshot) -> Vec<u64> {
    let numerics = found.files.iter().filter(|file| file.table == "numerics");
    let batches = numerics.flat_map(|file| rig.reader().read(file).unwrap()).map(Result::unwrap);
    seqs(&batches.collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_is_judged_as_the_archive_will_judge_it() {
    let rig = Rig::new().await;
    for seq in [1, 2, 5] {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    rig.archive().await;
    rig.frame(2, &readings(&[2.0]));
    rig.frame(2, &readings(&[99.0]));
    for seq in [4, 7, 7] {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    rig.publish(b"\xff".to_vec(), PayloadFormat::Frame);
    durable(&rig).await;
    let found = look(&rig, Some("demo"), TailBounds::default()).await;
    assert_eq!((found.tail.state, found.tail.end), (TailState::Whole, rig.journal.durable_end().get()));
    assert_eq!((archived(&rig, &found), behind(&found)), (vec![1, 2, 5], vec![4, 7]));
    let refused: usize = found.tail.rows[&Table::Quarantine].iter().map(RecordBatch::num_rows).sum();
    assert_eq!(refused, 2, "other content at a position that is taken, and what does not read");
    assert_eq!(look(&rig, Some("other"), TailBounds::default()).await.tail.rows.len(), 0);

    let asked =
        Asked { devices: None, lanes: [Lane::Numerics.into()].into(), times_us: (i64::MIN, i64::MAX) };
    let before = rig
        .reader()
        .coverage(Some("demo"), from_ref(&asked), &found.tail, |_, _| true)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((before.expected, before.missing, before.received), (7, 2, 5));
    assert_eq!((before.quarantined, before.duplicates, before.late), (2, 2, 1));
    rig.archive().await;
    let after = look(&rig, Some("demo"), TailBounds::default()).await;
    let mut all = archived(&rig, &after);
    all.sort_unstable();
    assert_eq!((all, behind(&after)), (vec![1, 2, 4, 5, 7], vec![]));
    let counted =
        rig.reader().coverage(Some("demo"), from_ref(&asked), &after.tail, |_, _| true).await.unwrap();
    assert_eq!(counted, Some(before), "a commit changes where rows are and not what came");
    let later = Asked { times_us: (NOW_US + 3_600_000_000, i64::MAX), ..asked.clone() };
    let none = rig
        .reader()
        .coverage(Some("demo"), from_ref(&later), &after.tail, |_, _| true)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((none.expected, none.streams), (0, 0));
    let none = rig
        .reader()
        .coverage(Some("demo"), from_ref(&asked), &after.tail, |_, _| false)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(none.expected, 0, "of whose rows are not seen nothing is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_is_too_long_is_cut_at_its_new_end_and_says_so() {
    let rig = Rig::new().await;
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    for seq in 2..=40 {
        rig.frame(seq, &readings(&[1.0]));
    }
    durable(&rig).await;
    for bounds in [
        TailBounds { records_max: 10, ..TailBounds::default() },
        TailBounds { bytes_max: 900, ..TailBounds::default() },
        TailBounds { row_bytes_max: 700, ..TailBounds::default() },
    ] {
        let found = look(&rig, None, bounds).await;
        let seqs = behind(&found);
        assert_eq!(found.tail.state, TailState::Cut, "{bounds:?}");
        assert!((1..39).contains(&seqs.len()), "{bounds:?}: {seqs:?}");
        assert_eq!(
            seqs,
            (2..2 + seqs.len() as u64).collect::<Vec<_>>(),
            "the oldest are there, without a hole"
        );
        assert!(found.tail.end < rig.journal.durable_end().get());
    }
}

/// A frame that was sent in another hour.
fn sent(seq: u64, hours_ago: i64) -> Vec<u8> {
    let mut sent = Frame::decode(&*frame(seq, &readings(&[1.0]))).unwrap();
    sent.sent_at_us -= hours_ago * HOUR_US;
    sent.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tail_misses_counts_in_its_own_hours_and_nothing_counts_twice() {
    let rig = Rig::new().await;
    for (seq, hours_ago) in [(1, 3), (3, 3), (4, 1)] {
        rig.publish(sent(seq, hours_ago), PayloadFormat::Frame);
    }
    rig.archive().await;
    let hour = (NOW_US - 1000).div_euclid(HOUR_US) * HOUR_US;
    let asked = |lane: Lane, times_us| Asked { devices: None, lanes: [lane.into()].into(), times_us };
    let (before, now) = ((hour - 3 * HOUR_US, hour - 2 * HOUR_US - 1), (hour, hour + HOUR_US - 1));
    let count = async |found: &Snapshot, asked: &[Asked]| {
        let counted = rig.reader().coverage(Some("demo"), asked, &found.tail, |_, _| true).await;
        counted.unwrap().unwrap()
    };
    let missing =
        async |found: &Snapshot, times_us| count(found, &[asked(Lane::Numerics, times_us)]).await.missing;
    rig.publish(sent(7, 0), PayloadFormat::Frame);
    durable(&rig).await;
    let found = look(&rig, Some("demo"), TailBounds::default()).await;
    assert_eq!((missing(&found, before).await, missing(&found, now).await), (1, 2));
    rig.publish(sent(2, 0), PayloadFormat::Frame);
    rig.publish(b"\xff".to_vec(), PayloadFormat::Frame);
    durable(&rig).await;
    let found = look(&rig, Some("demo"), TailBounds::default()).await;
    assert_eq!((missing(&found, before).await, missing(&found, now).await), (0, 2), "what was missing came");
    // Of two tables and different times, what came outside any stream counts once, and each stream in its own hours.
    let both = [asked(Lane::Numerics, before), asked(Lane::Waveforms, now)];
    let counted = count(&found, &both).await;
    assert_eq!((counted.received, counted.missing, counted.quarantined), (2, 0, 1));
    let twice = [asked(Lane::Numerics, now), asked(Lane::Numerics, now)];
    assert_eq!(count(&found, &twice).await, count(&found, &twice[..1]).await);
    rig.archive().await;
    let after = look(&rig, Some("demo"), TailBounds::default()).await;
    assert_eq!((missing(&after, before).await, missing(&after, now).await), (0, 2));
    assert_eq!(count(&after, &both).await, counted, "a commit changes where rows are and not what came");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_small_on_the_wire_and_large_in_memory_is_bounded_too() {
    const SAMPLES: usize = 20_000;
    let rig = Rig::new().await;
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    for seq in 1..=20 {
        rig.publish(frame(100 + seq, &samples(NOW_US - 60_000_000, &[7; SAMPLES])), PayloadFormat::Frame);
    }
    durable(&rig).await;
    let frames = |found: &Snapshot| {
        found.tail.rows.get(&Table::Waveforms).map_or(0, |rows| rows.iter().map(RecordBatch::num_rows).sum())
    };
    let whole = look(&rig, None, TailBounds::default()).await;
    assert_eq!((whole.tail.state, frames(&whole)), (TailState::Whole, 20_usize));
    // A sample is four bytes in memory.
    let bounds = TailBounds { body_bytes_max: 5 * 4 * SAMPLES, ..TailBounds::default() };
    let cut = look(&rig, None, bounds).await;
    assert_eq!(cut.tail.state, TailState::Cut);
    assert!((1..=5).contains(&frames(&cut)), "{}", frames(&cut));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_lacks_what_comes_next_is_not_elsewhere() {
    let rig = Rig::new().await;
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    rig.frame(2, &readings(&[1.0]));
    durable(&rig).await;
    assert_eq!(look(&rig, None, TailBounds::default()).await.tail.state, TailState::Whole);
    // What the catalog continues from is gone.
    let segments = files_below(&rig.folder.path().join("journal"));
    let segment = segments.iter().find(|file| file.extension().is_some_and(|end| end == "wal")).unwrap();
    std::fs::rename(segment, segment.with_file_name(format!("{:020}.wal", 1_000_000))).unwrap();
    let state = look(&rig, None, TailBounds::default()).await.tail.state;
    assert_eq!(state, TailState::Unreadable);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_makes_a_row_come_twice_or_not_at_all() {
    let rig = Rig::new().await;
    let options =
        wardline_archive::ArchiveOptions { flush_interval: Duration::from_millis(15), ..rig.options() };
    let running = rig.run(options);
    running.handle.flush_to(rig.frame(1, &readings(&[1.0])).next()).await.unwrap();
    let (mut sent, mut states) = (1, BTreeSet::new());
    let until = std::time::Instant::now() + Duration::from_secs(4);
    while std::time::Instant::now() < until {
        for _ in 0..5 {
            sent += 1;
            let offset = rig.frame(sent, &readings(&[1.0]));
            while rig.journal.durable_end() <= offset {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let found = look(&rig, Some("demo"), TailBounds::default()).await;
        let (files, tail) = (archived(&rig, &found), behind(&found));
        states.insert((files.len() as u64 == sent, tail.is_empty()));
        let mut all = [files, tail].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=sent).collect::<Vec<_>>(), "at {} of {sent}", found.tail.from);
    }
    running.stop().await.unwrap();
    println!("{sent} frames, looked at {} times", sent / 5);
    assert!(states.contains(&(false, false)), "a look fell between two commits: {states:?}");
}
