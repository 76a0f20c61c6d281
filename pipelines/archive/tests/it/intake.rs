//! What arrives ends in a table or in the quarantine, once.

use crate::rig::{EPOCH, NOW_US, Rig, frame, key, quarantine, readings, samples};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use wardline_archive::Table;
use wardline_proto::codes::status;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{Body, DeviceAlarm, DeviceEvent, PayloadFormat};

#[tokio::test(flavor = "multi_thread")]
async fn readings_come_back_with_their_times_and_flags() {
    let rig = Rig::new().await;
    rig.frame(1, &readings(&[97.0, 140.0]));
    rig.archive().await;
    let batch = &rig.rows(Table::Numerics).await[0];
    assert_eq!(batch["value"].as_primitive::<Float64Type>().values(), &[97.0, 140.0]);
    let at = NOW_US - 5_000_000;
    assert_eq!(
        batch["device_time"].as_primitive::<TimestampMicrosecondType>().values(),
        &[at, at + 1_000_000]
    );
    assert_eq!(batch["status"].as_primitive::<UInt32Type>().values(), &[0, status::IMPLAUSIBLE]);
    assert_eq!(batch["epoch"].as_primitive::<UInt64Type>().values(), &[EPOCH, EPOCH]);
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_come_back_one_by_one() {
    let rig = Rig::new().await;
    let wide: Vec<i32> = (0..5000).map(|i| (i * 7919) % 4096 - 2048).chain([i32::MIN, i32::MAX, 0]).collect();
    rig.frame(1, &samples(NOW_US - 1_000_000, &wide));
    rig.archive().await;
    let batch = &rig.rows(Table::Waveforms).await[0];
    let list = batch["samples"].as_list::<i32>().value(0);
    assert_eq!(list.as_primitive::<Int32Type>().values(), &wide[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_events_and_audit_have_tables() {
    let rig = Rig::new().await;
    let alarm = DeviceAlarm {
        condition_id: "spo2-low".into(),
        mdc_code: 196_670,
        source_mdc_code: 150_456,
        kind: 1,
        priority: 3,
        phase: 1,
        at_us: NOW_US,
        value: Some(84.0),
        ..DeviceAlarm::default()
    };
    rig.frame(1, &Body { alarms: vec![alarm], ..Body::default() });
    let event = DeviceEvent { name: "probe_off".into(), at_us: NOW_US, ..DeviceEvent::default() };
    rig.frame(1, &Body { events: vec![event], ..Body::default() });
    rig.archive().await;
    for table in [Table::Alarms, Table::Events, Table::Audit] {
        assert_eq!(rig.count(table).await, 1, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_stored_once_late_frames_are_stored_and_holes_are_known() {
    let rig = Rig::new().await;
    for seq in [1, 2, 2, 5, 1, 4, 9] {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    rig.archive().await;
    rig.frame(5, &readings(&[5.0]));
    rig.frame(5, &readings(&[6.0]));
    rig.archive().await;
    assert_eq!(rig.count(Table::Numerics).await, 5);
    let report = rig.reader().streams(Some("mon-1")).await.unwrap();
    let stream = report.iter().find(|s| s.id.epoch == EPOCH).unwrap();
    assert_eq!(stream.missing, [3..=3, 6..=8]);
    let counts = stream.counts;
    assert_eq!((counts.archived, counts.duplicates, counts.late, counts.quarantined), (5, 3, 1, 1));
    let conflict = quarantine(&rig).await;
    assert_eq!(conflict, [(Refusal::SeqConflict.code().to_owned(), frame(5, &readings(&[6.0])))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_good_is_quarantined_whole_and_blocks_nothing() {
    let rig = Rig::new().await;
    let mut unknown = readings(&[1.0]);
    unknown.numerics[0].mdc_code = 9;
    let mut unit = readings(&[1.0]);
    unit.numerics[0].ucum_unit = "1".into();
    let bad = [
        (frame(1, &unknown), PayloadFormat::Frame, Refusal::MetricUnknown),
        (frame(2, &unit), PayloadFormat::Frame, Refusal::UnitMismatch),
        (b"\xFF\xFF".to_vec(), PayloadFormat::Frame, Refusal::PayloadFormat),
        (b"{\"readings\":".to_vec(), PayloadFormat::Json, Refusal::PayloadFormat),
    ];
    for (payload, format, _) in &bad {
        rig.publish(payload.clone(), *format);
    }
    rig.append(b"not a record".to_vec());
    rig.frame(3, &readings(&[97.0]));
    rig.archive().await;
    let mut expected: Vec<_> = bad.map(|(payload, _, why)| (why.code().to_owned(), payload)).into();
    expected.push((Refusal::BodyUndecodable.code().to_owned(), b"not a record".to_vec()));
    let mut found = quarantine(&rig).await;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(rig.count(Table::Numerics).await, 1);
    let holes = rig.reader().streams(None).await.unwrap();
    assert!(holes.iter().all(|s| s.missing.is_empty()), "a quarantined frame is no hole");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_of_json_becomes_the_same_record() {
    let rig = Rig::new().await;
    let line = br#"{"readings":[{"code":"MDC_PULS_OXIM_SAT_O2","value":97,"unit":"%"}]}"#;
    rig.publish(line.to_vec(), PayloadFormat::Json);
    rig.publish(line.to_vec(), PayloadFormat::Unspecified);
    rig.archive().await;
    let batch = &rig.rows(Table::Numerics).await[0];
    assert_eq!(batch["value"].as_primitive::<Float64Type>().values(), &[97.0, 97.0]);
    assert_eq!(batch["seq"].null_count(), 2, "no position is made up");
    let running = rig.run(rig.options());
    running.handle.flush_to(rig.end()).await.unwrap();
    assert_eq!(running.handle.progress().devices[&key()].archived, 2);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_bound_commits_often_and_loses_nothing() {
    let rig = Rig::new().await;
    for seq in 1..=200 {
        rig.frame(seq, &readings(&[seq as f64; 20]));
    }
    let options = wardline_archive::ArchiveOptions {
        flush_rows_max: 100,
        streams_cached_max: 0,
        read_bytes_max: 4096,
        ..rig.options()
    };
    rig.run(options).finish(rig.end()).await.unwrap();
    assert_eq!(rig.count(Table::Numerics).await, 4000);
    assert!(rig.reader().files(Some(Table::Numerics)).await.unwrap().len() >= 20);
}
