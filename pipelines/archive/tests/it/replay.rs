//! The quarantine is no grave: what is mended is judged again and becomes rows, once.

use crate::profile::{ECG, oximeter, register};
use crate::rig::{EPOCH, NOW_US, Rig, Running, frame, on_both, quarantine, readings, samples};
use prost::Message;
use std::time::Duration;
use wardline_archive::read::quarantine_rows;
use wardline_archive::{ArchiveOptions, Table};
use wardline_proto::v1::{Frame, PayloadFormat};
use wardline_store::registry::Change;
use wardline_store::replay::{FrameName, Outcome};

on_both! {
    each_frame_ends_as_it_deserves_and_a_damaged_file_stops_nothing,
    a_worker_killed_while_it_replays_makes_rows_exactly_once,
}

fn options(rig: &Rig) -> ArchiveOptions {
    let at_once = Duration::from_millis(5);
    ArchiveOptions { replay_poll: at_once, profile_poll: Duration::ZERO, ..rig.options() }
}

async fn names(rig: &Rig) -> Vec<FrameName> {
    let reader = rig.reader();
    let files = reader.files(Some(Table::Quarantine)).await.unwrap();
    files.iter().flat_map(|file| quarantine_rows(&reader, file).unwrap()).map(|row| row.frame).collect()
}

async fn ask(rig: &Rig, frames: &[FrameName]) -> u64 {
    rig.store.ask_replay(&Change::new("os:test@here", NOW_US), frames).await.unwrap()
}

async fn outcomes(rig: &Rig) -> Vec<Option<Outcome>> {
    rig.store.replays(None).await.unwrap().into_iter().map(|replay| replay.outcome).collect()
}

/// Runs a worker until nothing waits.
async fn replay(rig: &Rig) {
    let running = rig.run(options(rig));
    settle(rig).await;
    running.stop().await.unwrap();
}

async fn settle(rig: &Rig) {
    while !rig.store.waiting_replays(1).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn abort(running: Running) {
    running.task.abort();
    let _cancelled = running.task.await;
}

/// Returns archived, quarantined, duplicates and holes of the device.
async fn counts(rig: &Rig) -> (u64, u64, u64, usize) {
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    let sum = |of: fn(&wardline_archive::Counts) -> u64| streams.iter().map(|s| of(&s.counts)).sum();
    let holes = streams.iter().map(|s| s.missing.len()).sum();
    (sum(|c| c.archived), sum(|c| c.quarantined), sum(|c| c.duplicates), holes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_a_new_profile_declares_becomes_rows_once() {
    let rig = Rig::new().await;
    register(&rig, 1, oximeter(1, 50)).await;
    rig.frame(1, &samples(NOW_US, &[1024, 1030]));
    rig.archive().await;
    let frames = names(&rig).await;
    assert_eq!(ask(&rig, &frames).await, 1);
    replay(&rig).await;
    assert_eq!(outcomes(&rig).await, [Some(Outcome::Stays("WL-Q-009".into()))], "nothing was mended yet");
    register(&rig, 2, oximeter(2, 50) + ECG).await;
    assert_eq!(ask(&rig, &frames).await, 1, "what stayed may be asked for again");
    replay(&rig).await;
    assert_eq!(outcomes(&rig).await, [Some(Outcome::Replayed)]);
    assert_eq!(ask(&rig, &frames).await, 0, "what is rows is not asked for again");
    rig.frame(1, &samples(NOW_US, &[1024, 1030]));
    rig.archive().await;
    assert_eq!((rig.count(Table::Waveforms).await, rig.count(Table::Quarantine).await), (1, 1));
    assert_eq!(counts(&rig).await, (1, 0, 1, 0), "and sent again it is a duplicate");
}

async fn each_frame_ends_as_it_deserves_and_a_damaged_file_stops_nothing(rig: Rig) {
    rig.frame(1, &readings(&[97.0]));
    rig.frame(1, &readings(&[98.0]));
    rig.publish(b"no frame".to_vec(), PayloadFormat::Frame);
    rig.append(b"no record".to_vec());
    rig.archive().await;
    let frames = names(&rig).await;
    let unknown = FrameName { offset: 4000, ..frames[0].clone() };
    assert_eq!(ask(&rig, &[frames.clone(), vec![unknown]].concat()).await, 4);
    replay(&rig).await;
    let told: Vec<_> = outcomes(&rig).await.into_iter().map(|o| o.unwrap().word().to_owned()).collect();
    assert_eq!(told, ["WL-Q-001", "WL-Q-007", "WL-PAY-002", "unreadable"]);
    let reader = rig.reader();
    for file in reader.files(Some(Table::Quarantine)).await.unwrap() {
        rig.tamper(&file.path, Some(b"damaged")).await;
    }
    assert_eq!(ask(&rig, &frames).await, 3);
    let running = rig.run(options(&rig));
    rig.frame(2, &readings(&[99.0]));
    running.handle.flush_to(rig.end()).await.unwrap();
    settle(&rig).await;
    running.stop().await.unwrap();
    assert!(outcomes(&rig).await.iter().flatten().all(|outcome| outcome.word() == "unreadable"));
    assert_eq!(rig.count(Table::Numerics).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_was_refused_a_place_gets_one_or_is_a_duplicate_of_what_has_it() {
    let rig = Rig::new().await;
    let of_epoch = |epoch: u64| {
        let mut frame = Frame::decode(&frame(1, &readings(&[97.0]))[..]).unwrap();
        frame.epoch = epoch;
        frame.encode_to_vec()
    };
    rig.frame(1, &readings(&[96.0]));
    rig.archive().await;
    for epoch in [EPOCH + 1, EPOCH + 2] {
        rig.publish(of_epoch(epoch), PayloadFormat::Frame);
    }
    let few = rig.run(ArchiveOptions { epochs_max: 1, ..rig.options() });
    few.finish(rig.end()).await.unwrap();
    let codes: Vec<_> = quarantine(&rig).await.into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["WL-Q-008"; 2]);
    rig.publish(of_epoch(EPOCH + 2), PayloadFormat::Frame);
    rig.archive().await;
    ask(&rig, &names(&rig).await).await;
    replay(&rig).await;
    assert_eq!(outcomes(&rig).await, [Some(Outcome::Replayed), Some(Outcome::Duplicate)]);
    assert_eq!(rig.count(Table::Numerics).await, 3);
    assert_eq!(counts(&rig).await, (3, 1, 0, 0));
}

async fn a_worker_killed_while_it_replays_makes_rows_exactly_once(rig: Rig) {
    register(&rig, 1, oximeter(1, 50)).await;
    for seq in 1..=300 {
        rig.frame(seq, &samples(NOW_US, &[1024, seq as i32]));
    }
    rig.archive().await;
    assert_eq!(counts(&rig).await, (0, 300, 0, 0));
    register(&rig, 2, oximeter(2, 50) + ECG).await;
    let frames = names(&rig).await;
    let mut killed_waiting = 0;
    for round in 0..20_usize {
        ask(&rig, &frames[round * 15..(round + 1) * 15]).await;
        let running = rig.run(options(&rig));
        tokio::time::sleep(rig.pace(round as u64 * 6)).await;
        abort(running).await;
        // A commit that the database had taken goes on after the abort: both are read between two equal answers.
        let (waiting, rows) = loop {
            let before = rig.store.waiting_replays(1000).await.unwrap().len();
            let rows = rig.count(Table::Waveforms).await;
            if rig.store.waiting_replays(1000).await.unwrap().len() == before {
                break (before, rows);
            }
        };
        assert_eq!(rows, (round + 1) * 15 - waiting, "rows and marks are one transaction");
        killed_waiting += usize::from(waiting > 0);
    }
    println!("killed {killed_waiting} of 20 times while frames waited");
    replay(&rig).await;
    ask(&rig, &frames).await;
    replay(&rig).await;
    assert_eq!(rig.count(Table::Waveforms).await, 300);
    assert_eq!(counts(&rig).await, (300, 0, 0, 0));
}
