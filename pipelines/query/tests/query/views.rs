//! The views, and how few files a filter opens.

use crate::rig::{Archive, DAY_US, NOW_US, query, text};
use prost::Message;
use wardline_proto::frame::{delta_encode, encode_body, lane_of};
use wardline_proto::v1::{Body, Clock, Frame, PayloadFormat, SampleGap, WaveformBlock};

const SECOND_US: i64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn vitals_name_metric_subject_and_place() {
    let mut archive = Archive::new().await;
    archive.register("demo/mon-1", "").await;
    archive.bind("demo/mon-1", "p-1", NOW_US, Some(NOW_US + SECOND_US)).await;
    archive.reading("demo/mon-1", NOW_US - 1, 95.0);
    archive.reading("demo/mon-1", NOW_US, 96.0);
    archive.reading("demo/mon-1", NOW_US + SECOND_US, 97.0);
    archive.reading("other/mon-1", NOW_US, 50.0);
    archive.flush().await;
    let all = "SELECT tenant, device, subject, mdc_code, mdc_ref_id, loinc, ucum_unit, value, status, \
               event_time = device_time FROM vitals ORDER BY value";
    let row = |tenant: &str, subject: &str, value: &str, status: u32| {
        format!("{tenant},mon-1,{subject},150456,MDC_PULS_OXIM_SAT_O2,59408-5,%,{value},{status},true")
    };
    assert_eq!(
        archive.rows(all),
        [
            row("other", "", "50.0", 0),
            row("demo", "", "95.0", 0),
            row("demo", "p-1", "96.0", 0),
            row("demo", "", "97.0", 0)
        ]
    );
    assert_eq!(archive.rows("SELECT value FROM vitals WHERE subject = 'p-1'"), ["96.0"]);
    assert_eq!(archive.rows("SELECT count(*) FROM vitals WHERE subject = 'nobody'"), ["0"]);
    let one = query(archive.path(), &["SELECT value FROM vitals", "--tenant", "other", "--format", "csv"]);
    assert_eq!(text(&one), "value\n50.0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_binding_shows_at_once_and_no_file_is_written_again() {
    let mut archive = Archive::new().await;
    for device in ["demo/mon-1", "demo/mon-2"] {
        archive.register(device, "").await;
    }
    archive.bind("demo/mon-1", "p-1", NOW_US - DAY_US, None).await;
    for second in 0..4 {
        archive.reading("demo/mon-1", NOW_US + second * SECOND_US, 90.0 + second as f64);
    }
    archive.flush().await;
    archive.stop().await;
    let files = archive.files();
    let by_subject = "SELECT subject, count(*) FROM vitals GROUP BY subject ORDER BY subject";
    assert_eq!(archive.rows(by_subject), ["p-1,4"]);
    // The wrong monitor was entered: from the second reading on it was somebody else's, and then nobody's.
    archive.bind("demo/mon-1", "p-2", NOW_US + SECOND_US, None).await;
    archive.bind("demo/mon-1", "", NOW_US + 3 * SECOND_US, None).await;
    assert_eq!(archive.rows(by_subject), ["p-1,1", "p-2,2", ",1"]);
    assert_eq!(
        archive.rows("SELECT value FROM vitals WHERE subject = 'p-2' ORDER BY value"),
        ["91.0", "92.0"]
    );
    assert_eq!(archive.files(), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn ecg_has_a_time_and_a_physical_value_per_sample_and_none_in_a_gap() {
    let mut archive = Archive::new().await;
    let block = |mdc_code| WaveformBlock {
        mdc_code,
        start_us: NOW_US,
        interval_ns: 4_000_000,
        sample_deltas: delta_encode(&[100, 110, 0, 90]),
        scale: 0.01,
        offset: 100.0,
        ucum_unit: if mdc_code == 131_330 { "mV" } else { "1" }.into(),
        gaps: vec![SampleGap { first: 2, count: 1 }],
    };
    let body = Body { waveforms: vec![block(131_330), block(150_452)], ..Body::default() };
    let (encoding, bytes) = encode_body(&body);
    let frame = Frame {
        epoch: 1,
        seq: 1,
        lane: lane_of(&body).into(),
        encoding: encoding.into(),
        body: bytes,
        clock: Some(Clock { device_offset_us: SECOND_US, ..Clock::default() }),
        ..Frame::default()
    };
    archive.register("demo/mon-1", "").await;
    // As of the time by the edge's clock, a second later than the device's.
    archive.bind("demo/mon-1", "p-1", NOW_US + SECOND_US, None).await;
    archive.publish("demo/mon-1", NOW_US, frame.encode_to_vec(), PayloadFormat::Frame);
    archive.flush().await;
    let sql = "SELECT subject, n, to_char(time, '%S%.6f'), round(value, 3) FROM ecg ORDER BY n";
    assert_eq!(
        archive.rows(sql),
        ["p-1,0,40.000000,0.0", "p-1,1,40.004000,0.1", "p-1,2,40.008000,", "p-1,3,40.012000,-0.1"]
    );
    let strip = "SELECT count(*), count(value) FROM ecg WHERE time >= '2026-10-18T05:06:40.004Z' AND time < '2026-10-18T05:06:40.012Z'";
    assert_eq!(archive.rows(strip), ["2,1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_newest_reading_of_each_device_and_metric() {
    let mut archive = Archive::new().await;
    for (device, second, value) in [("demo/mon-1", 2, 92.0), ("demo/mon-1", 1, 91.0), ("demo/mon-2", 3, 93.0)]
    {
        archive.reading(device, NOW_US + second * SECOND_US, value);
    }
    let pulse = "{\"readings\":[{\"code\":149530,\"value\":61,\"unit\":\"/min\"}]}";
    archive.json("demo/mon-1", NOW_US, pulse);
    archive.flush().await;
    let sql = "SELECT device, mdc_code, value FROM latest ORDER BY device, mdc_code";
    assert_eq!(archive.rows(sql), ["mon-1,149530,61.0", "mon-1,150456,92.0", "mon-2,150456,93.0"]);
    assert_eq!(archive.rows("SELECT value FROM latest WHERE device = 'mon-2'"), ["93.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_opens_only_the_files_that_its_rows_can_be_in() {
    let mut archive = Archive::new().await;
    for device in ["demo/mon-1", "demo/mon-2", "other/mon-1"] {
        archive.register(device, if device == "demo/mon-2" { "icu" } else { "" }).await;
        for day in 0..5 {
            archive.reading(device, NOW_US + day * DAY_US, 90.0);
            archive.flush().await;
        }
    }
    archive.bind("demo/mon-2", "p-2", NOW_US, None).await;
    archive.stop().await;
    let opened = |filter: &str| {
        // A plan that is not verbose names some of its files only.
        let sql = format!("EXPLAIN VERBOSE SELECT value FROM {filter}");
        let steps = text(&query(archive.path(), &[&sql, "--format", "json"]));
        let mut steps = steps.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let plan = steps.rfind(|step| step["plan_type"] == "physical_plan").unwrap();
        plan["plan"].as_str().unwrap().matches(".parquet").count()
    };
    assert_eq!(opened("vitals"), 15);
    for (filter, files) in [
        ("vitals WHERE tenant = 'demo'", 10),
        ("vitals WHERE device = 'mon-2'", 5),
        ("vitals WHERE device IN ('mon-2', 'mon-9')", 5),
        ("vitals WHERE subject = 'p-2'", 5),
        ("vitals WHERE subject = 'nobody'", 0),
        ("vitals WHERE subject IN ('p-2', 'nobody')", 5),
        ("vitals WHERE site = 'icu'", 5),
        ("vitals WHERE site IN ('icu', 'a', 'b', 'c', 'd')", 5),
        ("vitals WHERE site = 'er'", 0),
        ("vitals WHERE site <> 'icu'", 15),
        ("vitals WHERE site = 'icu' OR (subject = 'p-2' AND value > 1)", 5),
        ("vitals WHERE site = 'icu' OR value > 1", 15),
        ("latest WHERE site = 'icu'", 5),
        ("vitals WHERE device_time >= '2026-10-20' AND device_time < '2026-10-21'", 3),
        ("vitals WHERE ingest_time >= '2026-10-20' AND ingest_time < '2026-10-21'", 3),
        ("vitals WHERE tenant = 'demo' AND device = 'mon-1' AND device_time < '2026-10-19'", 1),
        ("latest WHERE device = 'mon-2'", 5),
        ("numerics WHERE device_time >= '2026-10-20' AND device_time < '2026-10-21'", 3),
    ] {
        assert_eq!(opened(filter), files, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deidentified_views_name_nobody_and_agree_with_the_identified_ones() {
    let mut archive = Archive::new().await;
    archive.register("demo/mon-1", "icu").await;
    archive.bind("demo/mon-1", "p-1", NOW_US, None).await;
    for minute in 0..3 {
        archive.reading("demo/mon-1", NOW_US + minute * 60 * SECOND_US, 90.0 + minute as f64);
    }
    archive.flush().await;
    archive.stop().await;
    let masked = |sql: &str| {
        let arguments = [sql, "--tenant", "demo", "--deidentified", "--format", "csv"];
        text(&query(archive.path(), &arguments)).lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let all = masked("SELECT * FROM vitals ORDER BY value");
    assert_eq!(all.len(), 3);
    assert!(
        all.iter().all(|row| !row.contains("mon-1") && !row.contains("p-1") && !row.contains("icu")),
        "{all:?}"
    );
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'vitals'";
    assert!(!masked(columns).iter().any(|name| name == "tenant" || name == "site"));
    let who = masked("SELECT DISTINCT device, subject, to_char(device_time, '%H:%M:%S') FROM vitals");
    assert_eq!(who.len(), 1, "one device, one subject, one step: {who:?}");
    assert!(who[0].starts_with("d-") && who[0].contains(",s-") && who[0].ends_with(",05:00:00"), "{who:?}");
    let subject = who[0].split(',').nth(1).unwrap();
    let of_subject = format!("SELECT count(*), sum(value) FROM vitals WHERE subject = '{subject}'");
    assert_eq!(
        masked(&of_subject),
        archive.rows("SELECT count(*), sum(value) FROM vitals WHERE subject = 'p-1'")
    );
    assert_eq!(masked("SELECT count(*) FROM vitals WHERE subject = 'p-1' OR device = 'mon-1'"), ["0"]);
    // The coarse time is what is compared, and the files are still chosen by it.
    assert_eq!(masked("SELECT count(*) FROM vitals WHERE device_time <= '2026-10-18T05:00:00Z'"), ["3"]);
    assert_eq!(masked("SELECT count(*) FROM vitals WHERE device_time > '2026-10-18T05:00:00Z'"), ["0"]);
    assert_eq!(masked("SELECT value FROM latest"), ["92.0"]);
    let raw = query(archive.path(), &["SELECT * FROM numerics", "--tenant", "demo", "--deidentified"]);
    assert!(!raw.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_in_no_table_and_no_view_while_files_still_hold_it() {
    let mut archive = Archive::new().await;
    archive.register("demo/mon-1", "").await;
    archive.bind("demo/mon-1", "p-1", NOW_US - DAY_US, Some(NOW_US + SECOND_US)).await;
    archive.bind("demo/mon-1", "p-2", NOW_US + SECOND_US, None).await;
    for second in 0..4 {
        archive.reading("demo/mon-1", NOW_US + second * SECOND_US, 90.0 + second as f64);
        archive.reading("other/mon-1", NOW_US + second * SECOND_US, 50.0);
    }
    archive.json("demo/mon-1", NOW_US, "{\"readings\":[]}");
    archive.json("demo/mon-1", NOW_US + 2 * SECOND_US, "{\"readings\":[]}");
    archive.flush().await;
    archive.stop().await;
    let files = archive.files();
    assert_eq!(archive.rows("SELECT count(*) FROM quarantine"), ["2"]);
    let change = wardline_store::registry::Change::new("os:test@here", NOW_US + DAY_US);
    let demo = wardline_proto::TenantId::new("demo").unwrap();
    archive.store.ask_erasure(&change, &demo, "p-1", false).await.unwrap();
    for (sql, rows) in [
        ("SELECT value FROM vitals WHERE tenant = 'demo' ORDER BY value", &["91.0", "92.0", "93.0"][..]),
        ("SELECT count(*) FROM numerics", &["7"]),
        ("SELECT max(seq), sum(value) FROM numerics WHERE tenant = 'demo'", &[",276.0"]),
        ("SELECT value FROM numerics WHERE tenant = 'demo' AND device_time < '2026-10-18T05:06:41Z'", &[]),
        ("SELECT count(*) FROM (SELECT device FROM numerics LIMIT 100)", &["7"]),
        ("SELECT subject, count(*) FROM vitals WHERE tenant = 'demo' GROUP BY subject", &["p-2,3"]),
        ("SELECT count(*) FROM vitals WHERE subject = 'p-1'", &["0"]),
        ("SELECT value FROM latest ORDER BY value", &["50.0", "93.0"]),
        ("SELECT count(*), count(payload) FROM quarantine", &["1,1"]),
    ] {
        assert_eq!(archive.rows(sql), rows, "{sql}");
    }
    let masked = ["SELECT count(*) FROM vitals", "--tenant", "demo", "--deidentified", "--format", "csv"];
    assert_eq!(text(&query(archive.path(), &masked)).lines().last(), Some("3"));
    assert_eq!(archive.files(), files, "nothing was rewritten for it");
}
