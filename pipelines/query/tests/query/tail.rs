//! What was acknowledged is in the next answer, once; and every answer says how complete it is.

use crate::rig::{Archive, NOW_US, key, query, text};
use prost::Message;
use wardline_proto::frame::{encode_body, lane_of};
use wardline_proto::v1::{Body, Frame, NumericSeries, PayloadFormat};

const SECOND_US: i64 = 1_000_000;

fn frame(archive: &mut Archive, device: &str, seq: u64) {
    let series = NumericSeries {
        mdc_code: 150_456,
        ucum_unit: "%".into(),
        start_us: NOW_US,
        time_deltas_us: vec![0],
        values: vec![seq as f64],
        statuses: vec![],
    };
    let body = Body { numerics: vec![series], ..Body::default() };
    let (encoding, bytes) = encode_body(&body);
    let lane = lane_of(&body).into();
    let frame = Frame { epoch: 1, seq, lane, encoding: encoding.into(), body: bytes, ..Frame::default() };
    archive.publish(device, NOW_US, frame.encode_to_vec(), PayloadFormat::Frame);
}

fn note(text: &str) -> serde_json::Value {
    let line = text.lines().find_map(|line| line.strip_prefix("completeness: "));
    serde_json::from_str(line.expect("completeness below the rows")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_is_in_the_answer_before_its_commit_and_hidden_as_the_rest() {
    let mut archive = Archive::new().await;
    archive.register("demo/mon-1", "icu").await;
    archive.bind("demo/mon-1", "p-1", NOW_US, None).await;
    frame(&mut archive, "demo/mon-1", 1);
    archive.flush().await;
    archive.stop().await;
    for seq in [2, 2, 4] {
        frame(&mut archive, "demo/mon-1", seq);
    }
    archive.json("demo/mon-1", NOW_US, "{not json");
    frame(&mut archive, "other/mon-1", 1);
    archive.durable().await;
    assert_eq!(
        archive.rows("SELECT tenant, value FROM vitals ORDER BY 1, 2"),
        ["demo,1.0", "demo,2.0", "demo,4.0", "other,1.0"]
    );
    assert_eq!(archive.rows("SELECT value FROM latest WHERE tenant = 'demo'").len(), 1);
    assert_eq!(archive.rows("SELECT reason FROM quarantine").len(), 1);
    assert_eq!(
        archive.rows("SELECT value FROM vitals WHERE subject = 'p-1' AND value > 1 ORDER BY 1"),
        ["2.0", "4.0"]
    );
    let masked = ["SELECT * FROM vitals", "--tenant", "demo", "--deidentified", "--format", "csv"];
    let masked = text(&query(archive.path(), &masked));
    assert_eq!(masked.lines().count(), 4);
    assert!(!masked.contains("mon-1") && !masked.contains("p-1") && masked.contains("05:00:00"), "{masked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_an_answer_says_how_complete_it_is() {
    let mut archive = Archive::new().await;
    for (device, seqs) in [("demo/mon-1", &[1, 2, 5][..]), ("demo/mon-2", &[1])] {
        archive.register(device, if device.ends_with('1') { "icu" } else { "er" }).await;
        seqs.iter().for_each(|seq| frame(&mut archive, device, *seq));
    }
    archive.flush().await;
    archive.stop().await;
    frame(&mut archive, "demo/mon-1", 4);
    archive.json("demo/mon-1", NOW_US, "{not json");
    archive.durable().await;
    let of = |sql: &str, more: &[&str]| {
        let output = query(archive.path(), &[&[sql, "--tenant", "demo"], more].concat());
        assert!(output.status.success());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let all = note(&of("SELECT * FROM vitals", &[]).0);
    let numbers = |note: &serde_json::Value| {
        ["expected", "received", "missing", "late", "quarantined", "streams"]
            .map(|name| note[name].as_u64().unwrap())
    };
    assert_eq!((numbers(&all), all["tail"].as_str()), ([6, 5, 1, 1, 1, 3], Some("whole")));
    for (form, is_inside) in [("csv", false), ("json", false), ("table", true)] {
        let (out, err) = of("SELECT value FROM vitals", &["--format", form]);
        assert_eq!(note(if is_inside { &out } else { &err }), all, "{form}");
    }
    for (sql, more, expected) in [
        ("SELECT * FROM vitals WHERE device = 'mon-2'", &[][..], 1),
        ("SELECT * FROM vitals WHERE device IN ('mon-2', 'mon-3')", &[], 1),
        ("SELECT * FROM numerics WHERE device_time < '2020-01-01'", &[], 0),
        ("SELECT * FROM vitals", &["--ward", "er"], 1),
        ("SELECT * FROM alarms", &[], 0),
    ] {
        assert_eq!(note(&of(sql, more).0)["expected"], expected, "{sql} {more:?}");
    }
    assert!(!of("SELECT 1", &[]).0.contains("completeness"));
    let ipc =
        query(archive.path(), &["SELECT value FROM vitals", "--tenant", "demo", "--format", "arrow"]).stdout;
    let reader = arrow::ipc::reader::StreamReader::try_new(&ipc[..], None).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&reader.schema().metadata()["wardline.completeness"])
            .unwrap(),
        all
    );
    let file = archive.path().join("rows.parquet");
    let (file, form) = (file.to_str().unwrap(), ["--format", "parquet", "--output"]);
    of("SELECT value FROM vitals", &[&form[..], &[file]].concat());
    let rows = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        std::fs::File::open(file).unwrap(),
    )
    .unwrap();
    let told = rows.metadata().file_metadata().key_value_metadata().unwrap().iter();
    assert!(told.into_iter().any(|pair| pair.key == "wardline.completeness"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_in_no_answer_from_the_journal() {
    let mut archive = Archive::new().await;
    for tenant in ["demo", "other"] {
        archive.register(&format!("{tenant}/mon-1"), "icu").await;
        archive.bind(&format!("{tenant}/mon-1"), "p-1", NOW_US - SECOND_US, Some(NOW_US + SECOND_US)).await;
        archive.bind(&format!("{tenant}/mon-1"), "p-2", NOW_US + SECOND_US, None).await;
    }
    archive.reading("demo/mon-1", NOW_US, 90.0);
    archive.flush().await;
    archive.stop().await;
    for second in 0..3 {
        archive.reading("demo/mon-1", NOW_US + second * SECOND_US, 91.0 + second as f64);
        archive.reading("other/mon-1", NOW_US + second * SECOND_US, 51.0 + second as f64);
        archive.json("demo/mon-1", NOW_US + second * SECOND_US, "{\"readings\":[]}");
    }
    archive.durable().await;
    let all = |archive: &Archive| {
        (
            archive.rows("SELECT tenant, value FROM vitals ORDER BY 1, 2"),
            archive.rows("SELECT count(*) FROM quarantine"),
        )
    };
    let (rows, refused) = all(&archive);
    assert_eq!((rows.len(), refused), (7, vec!["3".to_owned()]), "{rows:?}");
    let change = wardline_store::registry::Change::new("os:test@here", NOW_US + 3 * SECOND_US);
    archive.store.ask_erasure(&change, &key("demo", "mon-1").tenant, "p-1", false).await.unwrap();
    let (rows, refused) = all(&archive);
    assert_eq!(rows, ["demo,92.0", "demo,93.0", "other,51.0", "other,52.0", "other,53.0"]);
    assert_eq!(refused, ["2"], "what was refused of an erased time is erased too");
    for sql in [
        "SELECT count(*) FROM vitals WHERE subject = 'p-1' AND tenant = 'demo'",
        "SELECT count(*) FROM numerics WHERE value IN (90, 91)",
        "SELECT count(*) FROM latest WHERE value < 93 AND tenant = 'demo'",
    ] {
        assert_eq!(archive.rows(sql), ["0"], "{sql}");
    }
    let ward =
        ["SELECT value FROM vitals ORDER BY 1", "--tenant", "demo", "--ward", "icu", "--format", "csv"];
    assert_eq!(text(&query(archive.path(), &ward)).lines().skip(1).collect::<Vec<_>>(), ["92.0", "93.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_journal_is_not_the_archives_there_is_no_tail_and_the_answer_says_so() {
    let mut archive = Archive::new().await;
    archive.reading("demo/mon-1", NOW_US, 90.0);
    archive.flush().await;
    archive.stop().await;
    archive.reading("demo/mon-1", NOW_US + SECOND_US, 91.0);
    archive.durable().await;
    let told = |archive: &Archive| {
        let out = text(&query(archive.path(), &["SELECT value FROM vitals"]));
        (note(&out)["tail"].as_str().unwrap().to_owned(), archive.rows("SELECT value FROM vitals ORDER BY 1"))
    };
    assert_eq!(told(&archive), ("whole".to_owned(), vec!["90.0".to_owned(), "91.0".to_owned()]));
    let (journal, away) = (archive.path().join("journal"), archive.path().join("away"));
    std::fs::rename(&journal, &away).unwrap();
    assert_eq!(told(&archive), ("elsewhere".to_owned(), vec!["90.0".to_owned()]));
    std::fs::rename(&away, &journal).unwrap();
    // Another journal in its place: positions do not count in it.
    let known = archive.store.journal_origin().await.unwrap();
    assert!(archive.store.bind_journal("another", known.as_deref(), NOW_US).await.unwrap());
    assert_eq!(told(&archive), ("elsewhere".to_owned(), vec!["90.0".to_owned()]));
    std::fs::write(journal.join("id"), "another\n").unwrap();
    assert_eq!(told(&archive).0, "whole");
    // With partitions, positions are not this journal's, whatever is left of the time before.
    archive.store.cluster_partitions(4).await.unwrap();
    assert_eq!(told(&archive), ("cluster".to_owned(), vec!["90.0".to_owned()]));
}
