//! The spool on a real disk: what survives, what is recognised, what is given up and how that is known.

use super::*;
use crate::clock::{ClockOptions, ClockState};
use bytes::Bytes;
use std::time::Duration;
use wardline_proto::v1::{Body, DeviceAlarm, DeviceEvent, NumericSeries, WaveformBlock};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

pub(super) const MIB: u64 = 1024 * 1024;

pub(super) fn key() -> DeviceKey {
    DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new("m-1").unwrap() }
}

pub(super) fn open(dir: &std::path::Path, bytes_max: u64) -> (Spool, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let options = SpoolOptions::on_disk(dir, bytes_max);
    (Spool::open(&options, &key(), Arc::clone(&counters)).unwrap(), counters)
}

pub(super) fn put(spool: &Spool, boot_id: u64, seq: u64, body: Body) -> Mark {
    let clock = ClockState::new(ClockOptions::default()).of_device();
    let parts = Part::split(body);
    loop {
        match spool.put(LinkPosition { boot_id, seq }, 5, &clock, &parts, Patience::Wait) {
            Ok(mark) => return mark,
            Err(PutError::Full) => std::thread::sleep(Duration::from_millis(1)),
            Err(PutError::Failed) => panic!("the spool failed"),
        }
    }
}

/// Closes and drops: the lock of a log goes with its last handle.
pub(super) fn close(spool: Spool) {
    spool.close().unwrap();
}

pub(super) fn wait(spool: &Spool, mark: &Mark) {
    while spool.prove(mark).is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn numerics() -> Body {
    Body {
        numerics: vec![NumericSeries { values: vec![1.0], ..NumericSeries::default() }],
        ..Body::default()
    }
}

fn alarm() -> Body {
    Body { alarms: vec![DeviceAlarm::default()], ..Body::default() }
}

pub(super) fn waveform(seed: u64) -> Body {
    let mut state = seed | 1;
    let mut step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i32
    };
    let block =
        WaveformBlock { sample_deltas: (0..8_000).map(|_| step()).collect(), ..WaveformBlock::default() };
    Body { waveforms: vec![block], ..Body::default() }
}

fn records(spool: &Spool, lane: LaneIndex) -> Vec<(u64, Spooled)> {
    let mut reader = spool.reader(lane).unwrap();
    let mut all = Vec::new();
    loop {
        let batch = reader.next_batch(64 * 1024).unwrap();
        if batch.is_empty() {
            return all;
        }
        all.extend(batch.into_iter().map(|e| (e.offset.get(), Spooled::decode(e.payload).unwrap())));
    }
}

fn framed(counters: &Counters, lane: LaneIndex) -> (u64, u64) {
    (counters.lane(lane).framed.get(), counters.lane(lane).dropped.get())
}

#[test]
fn a_message_that_comes_again_is_recognised_by_lane_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, counters) = open(dir.path(), 64 * MIB);
    for seq in 1..=3 {
        put(&spool, 7, seq, numerics());
    }
    let mark = put(&spool, 7, 4, alarm());
    wait(&spool, &mark);
    assert_eq!(framed(&counters, LaneIndex::NUMERICS), (3, 0));
    close(spool);

    let (spool, counters) = open(dir.path(), 64 * MIB);
    for seq in 2..=3 {
        put(&spool, 7, seq, numerics());
    }
    put(&spool, 7, 4, alarm());
    assert_eq!(counters.duplicates.get(), 3);
    // Message 5 is new; so is everything of the device's next start.
    put(&spool, 7, 5, numerics());
    let mark = put(&spool, 8, 1, numerics());
    wait(&spool, &mark);
    assert_eq!(framed(&counters, LaneIndex::NUMERICS), (2, 0));
    let offsets: Vec<_> = records(&spool, LaneIndex::NUMERICS).iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    close(spool);
}

#[test]
fn a_lane_that_lost_a_message_takes_it_again_although_another_lane_is_further() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, counters) = open(dir.path(), 64 * MIB);
    // As after a crash between the two syncs: the alarm of message 10 is durable, the numerics of 9 are not.
    put(&spool, 7, 8, numerics());
    let mark = put(&spool, 7, 10, alarm());
    wait(&spool, &mark);
    put(&spool, 7, 9, numerics());
    put(&spool, 7, 10, alarm());
    assert_eq!(framed(&counters, LaneIndex::NUMERICS), (2, 0));
    assert_eq!(framed(&counters, LaneIndex::ALARM), (1, 0));
    close(spool);
}

#[test]
fn what_everything_was_sent_of_still_knows_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path(), 64 * MIB);
    for seq in 1..=300 {
        let mark = put(&spool, 7, seq, waveform(seq));
        wait(&spool, &mark);
    }
    spool.settle(LaneIndex::WAVEFORMS, 300, 300 * 20_000);
    spool.save_progress().unwrap();
    assert!(spool.lanes[LaneIndex::WAVEFORMS.get()].start() > 0, "retention dropped something");
    close(spool);
    let (spool, counters) = open(dir.path(), 64 * MIB);
    put(&spool, 7, 300, waveform(300));
    assert_eq!((counters.duplicates.get(), framed(&counters, LaneIndex::WAVEFORMS)), (1, (0, 0)));
    assert_eq!(spool.settled_below(LaneIndex::WAVEFORMS), 300);
    close(spool);
}

#[test]
fn a_full_spool_gives_up_the_newest_waveforms_then_numerics_and_knows_which() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, counters) = open(dir.path(), MIB);
    let mut seq = 0;
    let mut next = || {
        seq += 1;
        seq
    };
    while framed(&counters, LaneIndex::WAVEFORMS).1 < 3 {
        let mark = put(&spool, 7, next(), waveform(1));
        wait(&spool, &mark);
    }
    put(&spool, 7, next(), numerics());
    assert_eq!(framed(&counters, LaneIndex::NUMERICS), (1, 0), "numerics outlive waveforms");
    spool.held_bytes.fetch_add(MIB, Ordering::Relaxed);
    put(&spool, 7, next(), numerics());
    put(&spool, 7, next(), alarm());
    let event = Body { events: vec![DeviceEvent::default()], ..Body::default() };
    let mark = put(&spool, 7, next(), event);
    wait(&spool, &mark);
    assert_eq!(framed(&counters, LaneIndex::NUMERICS), (2, 1));
    assert_eq!(framed(&counters, LaneIndex::ALARM), (1, 0));
    assert_eq!(framed(&counters, LaneIndex::EVENTS), (1, 0));

    let waveforms = records(&spool, LaneIndex::WAVEFORMS);
    let (frames, tombstones): (Vec<_>, Vec<_>) =
        waveforms.iter().partition(|(_, record)| record.content != Content::Tombstone);
    assert_eq!(tombstones.len(), 3);
    assert!(frames.iter().all(|(offset, _)| *offset < tombstones[0].0), "the newest are given up");
    close(spool);
    // After a restart the given-up ones are still known, as holes and as given by the device.
    let (spool, counters) = open(dir.path(), MIB);
    assert_eq!(records(&spool, LaneIndex::WAVEFORMS).len(), waveforms.len());
    put(&spool, 7, waveforms.len() as u64, waveform(1));
    assert_eq!(counters.duplicates.get(), 1);
    close(spool);
}

#[test]
fn a_lost_watermark_only_means_sending_again_and_a_cut_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path(), 64 * MIB);
    let mark = put(&spool, 7, 1, numerics());
    wait(&spool, &mark);
    spool.settle(LaneIndex::NUMERICS, 1, 50);
    let epoch = spool.epoch();
    close(spool);
    std::fs::remove_file(dir.path().join("acked")).unwrap();
    let (spool, counters) = open(dir.path(), 64 * MIB);
    assert_eq!((spool.settled_below(LaneIndex::NUMERICS), spool.epoch()), (0, epoch));
    assert_eq!(counters.lane(LaneIndex::NUMERICS).spooled.get(), 1);
    spool.settle(LaneIndex::NUMERICS, 1, 50);
    close(spool);
    // A new log under the old epoch would give old numbers to new readings.
    std::fs::remove_dir_all(dir.path().join("numerics")).unwrap();
    let options = SpoolOptions::on_disk(dir.path(), MIB);
    let opened = Spool::open(&options, &key(), Arc::new(Counters::default()));
    assert!(matches!(opened.err(), Some(SpoolError::Damaged(_))));
}

#[test]
fn nothing_is_readable_at_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path(), 64 * MIB);
    let secret = "condition-of-a-patient";
    let body = Body {
        alarms: vec![DeviceAlarm { condition_id: secret.to_owned(), ..DeviceAlarm::default() }],
        ..Body::default()
    };
    let mark = put(&spool, 7, 1, body.clone());
    wait(&spool, &mark);
    spool.keep_refused(LaneIndex::ALARM, 0x99, secret.as_bytes()).unwrap();
    close(spool);
    let mut folders = vec![dir.path().to_path_buf()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(files > 6);
}

/// Puts waveforms until the log has `count`, each settled when it is durable.
fn sent(spool: &Spool, count: std::ops::RangeInclusive<u64>) {
    for seq in count {
        let mark = put(spool, 7, seq, waveform(seq));
        wait(spool, &mark);
        spool.settle(LaneIndex::WAVEFORMS, seq, 20_000);
    }
    spool.save_progress().unwrap();
}

fn keeping(dir: &std::path::Path, bytes_max: u64, keep: KeepOptions) -> (Spool, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let options = SpoolOptions { keep, ..SpoolOptions::on_disk(dir, bytes_max) };
    (Spool::open(&options, &key(), Arc::clone(&counters)).unwrap(), counters)
}

/// Returns offset and bytes of all that a lane's log holds.
fn held(spool: &Spool, lane: LaneIndex) -> Vec<(u64, Bytes)> {
    let mut reader = spool.reader_from(lane, spool.lanes[lane.get()].start()).unwrap();
    let mut all = Vec::new();
    while let Some(batch) = Some(reader.next_batch(MIB as usize).unwrap()).filter(|batch| !batch.is_empty()) {
        all.extend(batch.into_iter().map(|entry| (entry.offset.get(), entry.payload)));
    }
    all
}

#[test]
fn what_was_acknowledged_stays_within_its_bounds_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3_600);
    // Taken in 1970 in the records of these tests: an hour is long over for whoever opens them again.
    let ages = KeepOptions { time: hour * 24 * 365 * 100, bytes_max: 5 * MIB };
    let (spool, counters) = keeping(dir.path(), 64 * MIB, ages);
    sent(&spool, 1..=150);
    assert_eq!(held(&spool, LaneIndex::WAVEFORMS).len(), 150, "all of it is kept");
    let before = held(&spool, LaneIndex::WAVEFORMS);
    assert_eq!(counters.lane(LaneIndex::WAVEFORMS).dropped.get(), 0);
    close(spool);
    let (spool, counters) = keeping(dir.path(), 64 * MIB, ages);
    assert_eq!(held(&spool, LaneIndex::WAVEFORMS), before, "byte for byte");
    assert_eq!(counters.lane(LaneIndex::WAVEFORMS).spooled.get(), 0, "and nothing of it waits");
    sent(&spool, 151..=600);
    let kept = held(&spool, LaneIndex::WAVEFORMS);
    let bytes: u64 = kept.iter().map(|(_, payload)| payload.len() as u64).sum();
    println!("{} records of {bytes} bytes kept", kept.len());
    assert!(kept[0].0 > 0 && bytes > 2 * MIB && bytes < 10 * MIB, "{} {bytes}", kept[0].0);
    close(spool);
    // The spool of an agent that kept nothing opens, and one that keeps nothing drops what is kept.
    let (spool, _) = keeping(dir.path(), 64 * MIB, KeepOptions { time: hour, bytes_max: 5 * MIB });
    spool.save_progress().unwrap();
    let left = held(&spool, LaneIndex::WAVEFORMS).len();
    assert!(left < kept.len() && left < 120, "{left} of {}: the open segment alone", kept.len());
    close(spool);
}

#[test]
fn what_was_never_sent_outranks_all_that_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let keep = KeepOptions { time: Duration::from_secs(3_600_000_000), bytes_max: 64 * MIB };
    let (spool, counters) = keeping(dir.path(), 8 * MIB, keep);
    let bound = 8 * MIB + 2 * MIB + 8 * 2 * MIB;
    for round in 0..10 {
        sent(&spool, round * 60 + 1..=round * 60 + 60);
    }
    let kept = spool.lanes[LaneIndex::WAVEFORMS.get()].journal.stats().bytes;
    // Nobody answers any more: all that policy lets wait finds room beside what is kept.
    let mut seq = 600;
    while counters.lane(LaneIndex::WAVEFORMS).dropped.get() == 0 {
        seq += 1;
        let mark = put(&spool, 7, seq, waveform(seq));
        wait(&spool, &mark);
        if seq % 20 == 0 {
            spool.save_progress().unwrap();
        }
    }
    let (waiting, files) = (seq - 600, spool.lanes[LaneIndex::WAVEFORMS.get()].journal.stats().bytes);
    println!(
        "{kept} bytes with what was kept; {waiting} frames waited before the first was given up; {files} bytes"
    );
    assert!(files <= bound && kept <= bound, "{files} {kept}");
    let bytes = spool.held_bytes.load(Ordering::Relaxed);
    assert!(bytes > 8 * MIB / 10 * 7, "policy gave up, not the disk: {bytes}");
    close(spool);
}
