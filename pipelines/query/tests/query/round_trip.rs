//! Every format gives the rows back, and what fails says what to do.

use crate::rig::{Archive, query, text};

#[tokio::test(flavor = "multi_thread")]
async fn every_format_gives_the_rows_back() {
    let archive = Archive::of(&[97.5, 96.0]).await;
    let sql = "SELECT device, value FROM numerics ORDER BY value";
    assert!(text(&query(archive.path(), &[sql])).contains("| mon-1  | 96.0  |"));
    let csv = text(&query(archive.path(), &[sql, "--format", "csv"]));
    assert_eq!(csv, "device,value\nmon-1,96.0\nmon-1,97.5\n");
    let json = text(&query(archive.path(), &[sql, "--format", "json"]));
    assert_eq!(json.lines().next(), Some("{\"device\":\"mon-1\",\"value\":96.0}"));
    let ipc = query(archive.path(), &[sql, "--format", "arrow"]).stdout;
    let batches = arrow::ipc::reader::StreamReader::try_new(&ipc[..], None).unwrap();
    assert_eq!(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_counts_and_empty_tables_work() {
    let archive = Archive::of(&[97.5, 96.0, 95.0]).await;
    let one =
        |sql: &str| text(&query(archive.path(), &[sql, "--format", "csv"])).lines().nth(1).map(str::to_owned);
    assert_eq!(one("SELECT count(*) FROM numerics").as_deref(), Some("3"));
    assert_eq!(
        one("SELECT count(*) FROM numerics WHERE value > 95.5 AND device = 'mon-1'").as_deref(),
        Some("2")
    );
    assert_eq!(one("SELECT count(*) FROM numerics WHERE device_time < '2020-01-01'").as_deref(), Some("0"));
    assert_eq!(one("SELECT count(*) FROM alarms").as_deref(), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_to_do() {
    let archive = Archive::of(&[97.5]).await;
    for (arguments, told) in [
        (&["SELECT nothing FROM numerics"][..], "DESCRIBE"),
        (&["DROP TABLE numerics"], "DDL"),
        (&["SELECT samples FROM waveforms", "--format", "csv"], "--format json"),
    ] {
        let output = query(archive.path(), arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(told), "{error}");
    }
    std::fs::remove_file(archive.path().join("keyring.json")).unwrap();
    let output = query(archive.path(), &["SELECT 1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("keyring"));
}
