//! What came of each stream in each hour is exactly right, in whatever order frames come.

use crate::rig::{EPOCH, NOW_US, Rig, frame, readings};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;
use std::time::Duration;
use wardline_archive::tail::Tail;
use wardline_archive::{ArchiveOptions, Asked, Coverage, HourReport, Table};
use wardline_proto::v1::{Frame, Lane, PayloadFormat};

const HOUR_US: i64 = 3_600_000_000;
const FIRST_US: i64 = (NOW_US / HOUR_US - 6) * HOUR_US;

/// Sends frame `seq`, taken by the agent in an hour; a bad one has a body that does not decode.
pub(crate) fn send(rig: &Rig, seq: u64, hour: i64, good: bool) {
    let mut sent = Frame::decode(&frame(seq, &readings(&[97.0]))[..]).unwrap();
    sent.sent_at_us = FIRST_US + hour * HOUR_US + 1_800_000_000;
    if !good {
        sent.body = vec![0xFF; 20].into();
    }
    rig.publish(sent.encode_to_vec(), PayloadFormat::Frame);
}

async fn reports(rig: &Rig) -> Vec<HourReport> {
    let reports = rig.reader().completeness(Some("mon-1"), (0, i64::MAX)).await.unwrap();
    reports.into_iter().filter(|report| report.id.epoch == EPOCH).collect()
}

/// Expected, archived, quarantined, duplicates, late and missing of an hour.
type Cell = (u64, u64, u64, u64, u64, BTreeSet<u64>);

fn cells(reports: &[HourReport]) -> BTreeMap<i64, Cell> {
    let cell = |r: &HourReport| {
        let (c, missing) = (r.counts, r.missing.iter().cloned().flatten().collect());
        (
            (r.hour_us - FIRST_US) / HOUR_US,
            (r.expected, c.archived, c.quarantined, c.duplicates, c.late, missing),
        )
    };
    reports.iter().map(cell).collect()
}

/// The same, naively: by the list of what was sent.
fn model(sent: &[(u64, i64, bool)]) -> BTreeMap<i64, Cell> {
    let mut cells: BTreeMap<i64, Cell> = BTreeMap::new();
    let mut hour_of: BTreeMap<u64, i64> = BTreeMap::new();
    for (seq, hour, good) in sent {
        let cell = cells.entry(*hour).or_default();
        if hour_of.contains_key(seq) {
            cell.3 += 1;
            continue;
        }
        let is_late = hour_of.last_key_value().is_some_and(|(last, _)| seq < last);
        cell.0 += 1;
        *(if *good { &mut cell.1 } else { &mut cell.2 }) += 1;
        cell.4 += u64::from(*good && is_late);
        hour_of.insert(*seq, *hour);
    }
    let last = hour_of.last_key_value().map_or(0, |(last, _)| *last);
    for seq in (1..=last).filter(|seq| !hour_of.contains_key(seq)) {
        let (_, hour) = hour_of.range(seq..).next().unwrap();
        let cell = cells.get_mut(hour).unwrap();
        cell.0 += 1;
        cell.5.insert(seq);
    }
    cells
}

/// A small generator: the same numbers at each run.
fn shuffled(seed: u64, count: u64) -> Vec<(u64, i64, bool)> {
    let mut state = seed;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..count)
        .map(|_| (1 + next(150), next(6) as i64, next(10) > 0))
        .map(|(s, h, g)| (s, h, g || s == 1))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_equal_a_naive_count_over_disorder_duplicates_and_kills() {
    for seed in 1..=3 {
        let rig = Rig::new().await;
        let mut sent = shuffled(seed, 200);
        // The same position always with the same content and hour: other content would be a conflict.
        let mut first = BTreeMap::new();
        sent.iter_mut().for_each(|frame| *frame = *first.entry(frame.0).or_insert(*frame));
        for (round, part) in sent.chunks(40).enumerate() {
            part.iter().for_each(|(seq, hour, good)| send(&rig, *seq, *hour, *good));
            let running = rig.run(ArchiveOptions { flush_rows_max: 9, ..rig.options() });
            tokio::time::sleep(Duration::from_millis(round as u64 * 9)).await;
            running.task.abort();
            let _cancelled = running.task.await;
        }
        rig.archive().await;
        let found = cells(&reports(&rig).await);
        assert_eq!(found, model(&sent), "seed {seed}");
        assert!(
            found.values().any(|cell| !cell.5.is_empty() && cell.3 > 0 && cell.4 > 0),
            "too tame: {seed}"
        );
    }
}

fn numbers(rows: &[RecordBatch], column: &str) -> Vec<u64> {
    rows.iter().flat_map(|b| b[column].as_primitive::<UInt64Type>().values().to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_at_rest_is_archived_and_again_when_a_late_frame_changes_it() {
    let rig = Rig::new().await;
    let often = || ArchiveOptions { completeness_interval: Duration::ZERO, ..rig.options() };
    send(&rig, 1, 0, true);
    send(&rig, 4, 1, true);
    // The journal's time is six hours and a half later: this hour goes on.
    send(&rig, 5, 6, true);
    rig.run(often()).finish(rig.end()).await.unwrap();
    let rows = rig.rows(Table::Completeness).await;
    let hours: Vec<_> = rows
        .iter()
        .flat_map(|b| b["hour"].as_primitive::<TimestampMicrosecondType>().values().to_vec())
        .collect();
    assert_eq!(hours, [FIRST_US, FIRST_US + HOUR_US], "the hour that goes on is not archived");
    assert_eq!((numbers(&rows, "expected"), numbers(&rows, "missing")), (vec![1, 3], vec![0, 2]));
    let holes = rows[0]["missing_ranges"].as_list::<i32>().value(1);
    let holes = holes.as_struct();
    assert_eq!(holes["first"].as_primitive::<UInt64Type>().values(), &[2]);
    assert_eq!(holes["last"].as_primitive::<UInt64Type>().values(), &[3]);
    send(&rig, 2, 0, true);
    rig.run(often()).finish(rig.end()).await.unwrap();
    let rows = rig.rows(Table::Completeness).await;
    assert_eq!(numbers(&rows, "revision"), [1, 1, 2, 2], "both hours say something else now");
    assert_eq!(numbers(&rows, "expected")[2..], [2, 2]);
    assert_eq!(numbers(&rows, "late")[2..], [1, 0]);
    rig.run(often()).finish(rig.end()).await.unwrap();
    assert_eq!(rig.count(Table::Completeness).await, 4, "what says the same is not archived again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_dropped_is_a_recorded_loss_and_the_rest_of_a_hole_is_not() {
    use wardline_archive::losses::{losses, parts};
    use wardline_proto::v1::{Body, DeviceEvent, SpoolGap};
    let rig = Rig::new().await;
    for seq in [1, 2, 9] {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    let gap = SpoolGap { lane: Lane::Numerics.into(), first_seq: 4, last_seq: 6 };
    let event = DeviceEvent {
        at_us: NOW_US,
        name: "spool_gap".into(),
        spool_gap: Some(gap),
        resend_done: None,
        ..DeviceEvent::default()
    };
    rig.frame(1, &Body { events: vec![event], ..Body::default() });
    rig.archive().await;
    let reader = rig.reader();
    let files = reader.files(Some(Table::Events)).await.unwrap();
    let recorded = losses(&reader, &files, "mon-1").unwrap();
    let streams = reader.streams(Some("mon-1")).await.unwrap();
    let holed = streams.iter().find(|stream| !stream.missing.is_empty()).unwrap();
    let found: Vec<_> = holed.missing.iter().flat_map(|hole| parts(&holed.id, hole, &recorded)).collect();
    assert_eq!(found, [(3..=3, false), (4..=6, true), (7..=8, false)]);
    assert!(losses(&reader, &files, "mon-2").unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_missing_of_a_time_is_told_though_the_next_frame_came_hours_later() {
    let rig = Rig::new().await;
    for (seq, hour) in [(1, 0), (2, 1), (9, 4), (12, 4), (20, 5)] {
        send(&rig, seq, hour, true);
    }
    rig.archive().await;
    let of = |hour: i64| FIRST_US + hour * HOUR_US;
    let missing = async |from: i64, to: i64| {
        let reports = rig.reader().holes(Some("mon-1"), (of(from), of(to))).await.unwrap();
        reports.into_iter().flat_map(|report| report.missing).collect::<Vec<_>>()
    };
    let own = rig.reader().completeness(Some("mon-1"), (of(1), of(2))).await.unwrap();
    assert!(own.iter().all(|report| report.missing.is_empty()), "they belong to hours behind");
    assert_eq!(missing(1, 2).await, [3..=8], "the silence may have begun then");
    assert_eq!(missing(4, 4).await, [3..=8, 10..=11, 13..=19]);
    assert_eq!(missing(5, 9).await, [13..=19]);
    assert_eq!(missing(6, 9).await, [], "nothing came since");
    // An answer of SQL counts by the same rule what one of FHIR names.
    for from in 0..7 {
        for to in from..7 {
            let named: u64 = missing(from, to).await.iter().map(|hole| hole.end() - hole.start() + 1).sum();
            let lanes = BTreeSet::from([i32::from(Lane::Numerics)]);
            let asked = Asked { devices: None, lanes, times_us: (of(from), of(to + 1) - 1) };
            let found =
                rig.reader().coverage(Some("demo"), from_ref(&asked), &Tail::default(), |_, _| true).await;
            let found = found.unwrap().unwrap();
            assert_eq!(found.missing, named, "hours {from} to {to}");
            assert_eq!(found.expected, found.received + named, "hours {from} to {to}");
            assert!(found.streams > 0 || found == Coverage::default(), "hours {from} to {to}: {found:?}");
            let none =
                rig.reader().coverage(Some("demo"), from_ref(&asked), &Tail::default(), |_, _| false).await;
            assert_eq!(none.unwrap(), Some(Coverage::default()), "another's holes are not told");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_more_holes_than_are_looked_at_says_that_it_is_not_counted() {
    let rig = Rig::new().await;
    let of = |hour: i64| FIRST_US + hour * HOUR_US;
    let lanes = BTreeSet::from([i32::from(Lane::Numerics)]);
    let asked = Asked { devices: None, lanes, times_us: (of(1), of(3) - 1) };
    let counted = async || {
        let reader = rig.reader();
        reader.coverage(Some("demo"), from_ref(&asked), &Tail::default(), |_, _| true).await.unwrap()
    };
    // Streams that have nothing in the hours but a hole that ends behind them.
    let holed = |epoch: u64| {
        let mut sent = Frame::decode(&frame(3, &readings(&[97.0]))[..]).unwrap();
        (sent.epoch, sent.sent_at_us) = (EPOCH + epoch, of(4));
        rig.publish(sent.encode_to_vec(), PayloadFormat::Frame);
    };
    (0..1_000).for_each(holed);
    rig.archive().await;
    assert_eq!(counted().await.map(|found| (found.streams, found.missing)), Some((1_000, 2_000)));
    holed(1_000);
    rig.archive().await;
    assert_eq!(counted().await, None, "which of them are left out nobody could tell");
}
