//! A subject's rows are gone for every reader at once, and from every file soon; the next wearer's stay as they were.

use crate::rig::{NOW_US, Rig, key, quarantine, readings, samples};
use crate::verify::verify;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMicrosecondType, UInt64Type};
use std::time::Duration;
use wardline_archive::read::{newest_rows, quarantine_rows};
use wardline_archive::{ArchiveOptions, Table};
use wardline_proto::TenantId;
use wardline_proto::v1::{AlarmPhase, Body, DeviceAlarm, DeviceEvent, PayloadFormat};
use wardline_store::StoreError;
use wardline_store::registry::{Change, NewBinding, NewDevice, Reject};

const SECOND_US: i64 = 1_000_000;
/// The device's clock is behind by what the rig's frames say.
const OFFSET_US: i64 = 1_500;
/// When the second patient got the device.
const TURN_US: i64 = NOW_US - 3_600 * SECOND_US;

pub(crate) fn change() -> Change {
    Change::new("os:test@here", NOW_US)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("demo").unwrap()
}

/// Two patients wear one monitor, one after the other.
pub(crate) async fn wear(rig: &Rig) {
    rig.store.register_device(&change(), &NewDevice::bare(key())).await.unwrap();
    for (subject, from_us) in [("p-ada", TURN_US - 7_200 * SECOND_US), ("p-bob", TURN_US)] {
        let binding = NewBinding { device: key(), subject: subject.into(), from_us, until_us: None };
        rig.store.bind(&change(), &binding).await.unwrap();
    }
}

/// Readings that begin so many seconds after the turn, by the edge's clock.
pub(crate) fn at(second: i64, values: &[f64]) -> Body {
    let mut body = readings(values);
    body.numerics[0].start_us = TURN_US + second * SECOND_US - OFFSET_US;
    body
}

/// Values of the numerics with their times, as every reader gets them.
pub(crate) async fn values(rig: &Rig) -> Vec<(i64, f64)> {
    let mut rows = Vec::new();
    for batch in rig.rows(Table::Numerics).await {
        let times = batch["device_time"].as_primitive::<TimestampMicrosecondType>().clone();
        let values = batch["value"].as_primitive::<Float64Type>().clone();
        rows.extend(times.values().iter().copied().zip(values.values().iter().copied()));
    }
    rows.sort_by_key(|row| row.0);
    rows
}

pub(crate) fn eager(rig: &Rig) -> ArchiveOptions {
    ArchiveOptions {
        erasure_poll: Duration::from_millis(20),
        retired_grace: Duration::ZERO,
        flush_interval: Duration::from_millis(20),
        ..rig.options()
    }
}

/// An archive that held one reading of Ada, who is erased.
pub(crate) async fn forgotten() -> Rig {
    let rig = Rig::new().await;
    wear(&rig).await;
    rig.frame(1, &at(-100, &[91.0]));
    rig.archive().await;
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    rewrite(&rig).await;
    rig
}

/// Runs a worker until every erasure is rewritten.
pub(crate) async fn rewrite(rig: &Rig) {
    let running = rig.run(eager(rig));
    for _ in 0..if rig.bucket.is_some() { 2000 } else { 500 } {
        if is_rewritten(rig).await {
            break;
        }
        assert!(!running.task.is_finished(), "the worker has ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_rewritten(rig).await, "{:?}", rig.store.erasures(None).await.unwrap());
    running.stop().await.unwrap();
}

async fn is_rewritten(rig: &Rig) -> bool {
    let erasures = rig.store.erasures(None).await.unwrap();
    erasures.iter().all(|erasure| erasure.rewritten_at_us.is_some())
}

/// One patient's data and the other's, in every table.
async fn two_patients(rig: &Rig) {
    wear(rig).await;
    let block = |second: i64| samples(TURN_US + second * SECOND_US - OFFSET_US, &[1, 2, 3]);
    let alarm = |second: i64| Body {
        alarms: vec![DeviceAlarm {
            condition_id: "c".into(),
            mdc_code: 196_616,
            phase: AlarmPhase::Start.into(),
            kind: 1,
            priority: 1,
            at_us: TURN_US + second * SECOND_US - OFFSET_US,
            ..DeviceAlarm::default()
        }],
        ..Body::default()
    };
    let event = |second: i64| Body {
        events: vec![DeviceEvent {
            at_us: TURN_US + second * SECOND_US - OFFSET_US,
            name: "probe_off".into(),
            ..DeviceEvent::default()
        }],
        ..Body::default()
    };
    // Numerics 1..=4: two of Ada, one over the turn, one of Bob.
    for (seq, second) in [(1, -3_000), (2, -2_000), (3, -1), (4, 10)] {
        rig.frame(seq, &at(second, &[90.0 + seq as f64, 50.0 + seq as f64]));
    }
    for body in [block(-100), alarm(-100), event(-100), block(100), alarm(100), event(100)] {
        let second = body.waveforms.iter().map(|b| b.start_us).chain(body.alarms.iter().map(|a| a.at_us));
        let later = second.chain(body.events.iter().map(|e| e.at_us)).any(|at_us| at_us > TURN_US);
        rig.frame(1 + u64::from(later), &body);
    }
    // Quarantined: a unit that is not the metric's, of each of them.
    for (seq, second) in [(5, -50), (6, 50)] {
        let mut body = at(second, &[1.0]);
        body.numerics[0].ucum_unit = "furlong".into();
        rig.frame(seq, &body);
    }
    rig.publish(
        format!(
            "{{\"readings\":[{{\"code\":150456,\"value\":77,\"unit\":\"%\",\"time\":{}}}]}}",
            TURN_US - 5 * SECOND_US
        )
        .into_bytes(),
        PayloadFormat::Json,
    );
    rig.archive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_patients_on_one_device_one_is_erased_and_the_other_keeps_every_value() {
    let rig = Rig::new().await;
    two_patients(&rig).await;
    let before = values(&rig).await;
    let is_bobs = |row: &&(i64, f64)| row.0 + OFFSET_US >= TURN_US;
    let bobs: Vec<_> = before.iter().filter(is_bobs).copied().collect();
    assert_eq!((before.len() - bobs.len(), bobs.len()), (6, 3), "{before:?}");
    let counts = |rig: &Rig| {
        let reader = rig.reader();
        async move { reader.streams(Some("mon-1")).await.unwrap() }
    };
    let frames_before: u64 =
        counts(&rig).await.iter().map(|s| s.counts.archived + s.counts.quarantined).sum();

    let asked = rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    assert!(!asked.is_known);
    // The instant step: nothing is rewritten, and no reader gets a row.
    assert_eq!(values(&rig).await, bobs);
    let files = rig.reader();
    let listed = files.files(Some(Table::Numerics)).await.unwrap();
    assert_eq!(newest_rows(&files, &listed, 100, None).unwrap().len(), 3);
    for table in [Table::Waveforms, Table::Alarms, Table::Events, Table::Quarantine] {
        assert_eq!(rig.count(table).await, 1, "{table}");
    }
    let held = files.files(Some(Table::Quarantine)).await.unwrap();
    let shown: usize = held.iter().map(|file| quarantine_rows(&files, file).unwrap().len()).sum();
    assert_eq!(shown, 1);
    let found = verify(&rig).await;
    assert!(found.is_clean() && found.erased == 6 + 4, "{found:?}");
    assert!(rig.store.bindings(&key()).await.unwrap().iter().all(|b| b.binding.subject != "p-ada"));

    rewrite(&rig).await;
    assert_eq!(values(&rig).await, bobs, "the same values, at the same times");
    let found = verify(&rig).await;
    assert!(found.is_clean() && found.erased == 0, "{found:?}");
    let erasure = rig.store.erasures(Some("demo")).await.unwrap().remove(0);
    let rows: Vec<_> = erasure.counts.iter().map(|c| (c.table.as_str(), c.rows)).collect();
    let expected = [("alarms", 1), ("events", 1), ("numerics", 6), ("quarantine", 1), ("waveforms", 1)];
    assert_eq!(rows, expected);
    let streams = counts(&rig).await;
    assert!(streams.iter().all(|stream| stream.missing.is_empty()), "no hole: {streams:?}");
    let after: u64 = streams.iter().map(|s| s.counts.archived + s.counts.quarantined + s.counts.erased).sum();
    let erased: u64 = streams.iter().map(|s| s.counts.erased).sum();
    assert_eq!(
        (after, erased),
        (frames_before, 7),
        "2 and 1 of the numerics, 3 others, 1 of JSON, 1 quarantined"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_of_an_erased_time_is_counted_and_never_a_row() {
    let rig = forgotten().await;
    // A spool that was cut off: one frame of Ada, one over the turn, one of Bob; Ada's comes twice.
    rig.frame(2, &at(-90, &[92.0]));
    rig.frame(3, &at(-1, &[93.0, 53.0]));
    rig.frame(4, &at(5, &[94.0]));
    rig.frame(2, &at(-90, &[92.0]));
    let mut bad = at(-80, &[1.0]);
    bad.numerics[0].ucum_unit = "furlong".into();
    rig.frame(5, &bad);
    rig.archive().await;
    let kept: Vec<_> = values(&rig).await.into_iter().map(|row| row.1).collect();
    assert_eq!(kept, [53.0, 94.0]);
    assert!(quarantine(&rig).await.is_empty());
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    let counts = streams.iter().find(|stream| stream.id.epoch > 0).unwrap();
    assert_eq!((counts.last_seq, counts.missing.len()), (Some(5), 0));
    assert_eq!((counts.counts.archived, counts.counts.erased, counts.counts.duplicates), (2, 3, 1));
    assert!(verify(&rig).await.is_clean());
    let hours = rig.reader().completeness(Some("mon-1"), (i64::MIN, i64::MAX)).await.unwrap();
    assert_eq!(hours.iter().map(|hour| hour.counts.erased).sum::<u64>(), 3);
    assert_eq!(hours.iter().map(|hour| hour.expected).sum::<u64>(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_blocks_it_before_and_while_files_are_rewritten() {
    let rig = Rig::new().await;
    wear(&rig).await;
    rig.frame(1, &at(-100, &[91.0]));
    rig.archive().await;
    rig.store.set_hold(&change(), &tenant(), "case 17").await.unwrap();
    let refused = rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await;
    assert!(matches!(refused, Err(StoreError::Reject(Reject::Held))), "{refused:?}");
    assert_eq!(rig.count(Table::Numerics).await, 1, "nothing is filtered");
    rig.store.release_hold(&change(), &tenant()).await.unwrap();
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    rig.store.set_hold(&change(), &tenant(), "case 18").await.unwrap();
    let running = rig.run(eager(&rig));
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.stop().await.unwrap();
    let erasure = rig.store.erasures(None).await.unwrap().remove(0);
    assert_eq!((erasure.rewritten_at_us, erasure.problem.as_str()), (None, "legal hold"));
    assert!(verify(&rig).await.erased == 1, "the row is still in its file, and no reader gets it");
    rig.store.release_hold(&change(), &tenant()).await.unwrap();
    rewrite(&rig).await;
    assert!(verify(&rig).await.erased == 0 && values(&rig).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_name_is_not_used_again_and_an_unknown_one_is_refused() {
    let rig = Rig::new().await;
    wear(&rig).await;
    let nobody = rig.store.ask_erasure(&change(), &tenant(), "p-eve", false).await;
    assert!(matches!(nobody, Err(StoreError::Reject(Reject::NotFound("subject")))), "{nobody:?}");
    let first = rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    let again = rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    assert!(again.is_known && again.erasure_id == first.erasure_id);
    let binding = NewBinding { device: key(), subject: "p-ada".into(), from_us: 1, until_us: None };
    let bound = rig.store.bind(&change(), &binding).await;
    assert!(matches!(bound, Err(StoreError::Reject(Reject::Erased))), "{bound:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_in_flight_read_the_old_files_until_the_grace_is_over() {
    let rig = Rig::new().await;
    wear(&rig).await;
    for seq in 1..=6 {
        rig.frame(seq, &at(seq as i64 - 4, &[seq as f64]));
        rig.archive().await;
    }
    let reader = rig.reader();
    let listed = reader.files(Some(Table::Numerics)).await.unwrap();
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    let graceful = ArchiveOptions { retired_grace: Duration::from_secs(600), ..eager(&rig) };
    let running = rig.run(graceful);
    while rig.store.erasures(None).await.unwrap()[0].rewritten_at_us.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seqs = |file| -> Vec<u64> {
        let batches = reader.read(file).unwrap().map(Result::unwrap);
        batches.flat_map(|batch| batch["seq"].as_primitive::<UInt64Type>().values().to_vec()).collect()
    };
    let mut read: Vec<u64> = listed.iter().flat_map(seqs).collect();
    read.sort_unstable();
    assert_eq!(read, [1, 2, 3, 4, 5, 6], "who began before the request sees what there was");
    // Whoever cannot wait says so: the old files go at once.
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", true).await.unwrap();
    while listed.iter().filter(|file| rig.stored(&file.path).is_some()).count() > 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await.unwrap();
    assert_eq!(values(&rig).await.len(), 3);
}
