//! A clinician's rows, in every table and view: of devices at its sites, and of the patients who wear one now.

use crate::rig::{Archive, NOW_US, query, text};
use prost::Message;
use wardline_proto::frame::{delta_encode, encode_body, lane_of};
use wardline_proto::v1::{
    Body, DeviceAlarm, DeviceEvent, Frame, NumericSeries, PayloadFormat, WaveformBlock,
};

const SECOND_US: i64 = 1_000_000;
const TABLES: [&str; 8] =
    ["numerics", "waveforms", "alarms", "events", "completeness", "vitals", "ecg", "latest"];

/// A frame of each lane.
fn everything(archive: &mut Archive, device: &str, at_us: i64, seq: u64) {
    let numerics = NumericSeries {
        mdc_code: 150_456,
        ucum_unit: "%".into(),
        start_us: at_us,
        time_deltas_us: vec![0],
        values: vec![90.0 + seq as f64],
        statuses: vec![],
    };
    let block = WaveformBlock {
        mdc_code: 131_330,
        ucum_unit: "mV".into(),
        start_us: at_us,
        interval_ns: 4_000_000,
        sample_deltas: delta_encode(&[1, 2, 3]),
        scale: 1.0,
        ..WaveformBlock::default()
    };
    let alarm = DeviceAlarm {
        condition_id: "spo2-low".into(),
        mdc_code: 196_670,
        kind: 1,
        priority: 3,
        phase: 1,
        at_us,
        ..DeviceAlarm::default()
    };
    let event = DeviceEvent { at_us, name: "probe_off".into(), ..DeviceEvent::default() };
    for body in [
        Body { numerics: vec![numerics], ..Body::default() },
        Body { waveforms: vec![block], ..Body::default() },
        Body { alarms: vec![alarm], ..Body::default() },
        Body { events: vec![event], ..Body::default() },
    ] {
        let (encoding, bytes) = encode_body(&body);
        let frame = Frame {
            epoch: 1,
            seq,
            lane: lane_of(&body).into(),
            encoding: encoding.into(),
            body: bytes,
            ..Frame::default()
        };
        archive.publish(device, at_us, frame.encode_to_vec(), PayloadFormat::Frame);
    }
}

fn at(archive: &Archive, sites: &[&str], sql: &str) -> Vec<String> {
    let mut arguments = vec![sql, "--tenant", "demo", "--format", "csv"];
    sites.iter().for_each(|site| arguments.extend(["--ward", site]));
    text(&query(archive.path(), &arguments)).lines().skip(1).map(str::to_owned).collect()
}

fn devices(archive: &Archive, sites: &[&str], table: &str) -> Vec<String> {
    at(archive, sites, &format!("SELECT DISTINCT device FROM {table} ORDER BY device"))
}

async fn hospital() -> Archive {
    let mut archive = Archive::new().await;
    for (device, site) in
        [("demo/icu-1", "icu"), ("demo/er-1", "er"), ("demo/spare", ""), ("other/icu-1", "icu")]
    {
        archive.register(device, site).await;
        everything(&mut archive, device, NOW_US, 1);
        everything(&mut archive, device, NOW_US + SECOND_US, 2);
    }
    archive
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_view_holds_the_rows_of_the_wards_alone() {
    let mut archive = hospital().await;
    // From the journal's tail, and then from files: the rows are the same.
    for is_archived in [false, true] {
        if is_archived {
            archive.flush().await;
            archive.stop().await;
        }
        for table in TABLES.into_iter().filter(|table| *table != "completeness") {
            assert_eq!(devices(&archive, &["icu"], table), ["icu-1"], "{table} {is_archived}");
            assert_eq!(devices(&archive, &["icu", "er"], table), ["er-1", "icu-1"], "{table}");
            assert_eq!(devices(&archive, &["*"], table), ["er-1", "icu-1", "spare"], "{table}");
            assert_eq!(devices(&archive, &["elsewhere"], table), [""; 0], "{table}");
            let count = |sites: &[&str]| at(&archive, sites, &format!("SELECT count(*) FROM {table}"));
            let (all, own) = (count(&["*"]), count(&["icu"]));
            let number = |rows: &[String]| rows[0].parse::<u64>().unwrap();
            assert_eq!(number(&all), 3 * number(&own), "{table}: a count is of what is seen");
        }
        for (sql, rows) in [
            ("SELECT n.device FROM numerics n JOIN alarms a ON a.device <> n.device", &[][..]),
            ("WITH c AS (SELECT device FROM events) SELECT DISTINCT device FROM c", &["icu-1"]),
            ("SELECT device FROM waveforms UNION SELECT device FROM vitals", &["icu-1"]),
            ("SELECT count(*) FROM vitals WHERE device = 'er-1' OR site = 'er'", &["0"]),
            ("SELECT (SELECT max(value) FROM latest) - min(value) FROM vitals", &["1.0"]),
            // A predicate that would fail on a row of somebody else never sees it.
            ("SELECT count(*) FROM numerics WHERE 1 / CASE device WHEN 'er-1' THEN 0 ELSE 1 END = 1", &["2"]),
            ("SELECT count(*) FROM vitals WHERE 1 / CASE device WHEN 'er-1' THEN 0 ELSE 1 END = 1", &["2"]),
        ] {
            assert_eq!(at(&archive, &["icu"], sql), rows, "{sql}");
        }
    }
    let raw = query(archive.path(), &["SELECT 1", "--ward", "icu"]);
    assert!(!raw.status.success(), "wards are of a tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_of_the_ward_is_seen_on_the_devices_of_before_and_others_on_them_are_not() {
    let mut archive = hospital().await;
    archive.bind("demo/er-1", "p-1", NOW_US, Some(NOW_US + SECOND_US)).await;
    archive.bind("demo/er-1", "p-2", NOW_US + SECOND_US, None).await;
    archive.bind("demo/icu-1", "p-1", NOW_US + SECOND_US, None).await;
    archive.flush().await;
    archive.stop().await;
    let icu = "SELECT device, subject, value FROM vitals ORDER BY device, value";
    assert_eq!(at(&archive, &["icu"], icu), ["er-1,p-1,91.0", "icu-1,,91.0", "icu-1,p-1,92.0"]);
    assert_eq!(at(&archive, &["icu"], "SELECT count(*) FROM vitals WHERE subject = 'p-2'"), ["0"]);
    for table in ["numerics", "waveforms", "alarms", "events"] {
        let rows = at(&archive, &["icu"], &format!("SELECT device, seq FROM {table} ORDER BY device, seq"));
        assert_eq!(rows, ["er-1,1", "icu-1,1", "icu-1,2"], "{table}");
    }
    // The binding was wrong: nobody of the ward wore it.
    archive.bind("demo/icu-1", "p-3", NOW_US, None).await;
    assert_eq!(at(&archive, &["icu"], icu), ["icu-1,p-3,91.0", "icu-1,p-3,92.0"]);
}
