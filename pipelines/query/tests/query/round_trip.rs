//! Every format gives the rows back, and what fails says what to do.

use crate::rig::{Archive, NOW_US, query, text};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn every_format_gives_the_rows_back() {
    let archive = Archive::of(&[97.5, 96.0]).await;
    let sql = "SELECT device, value FROM numerics ORDER BY value";
    assert!(text(&query(archive.path(), &[sql])).contains("| mon-1  | 96.0  |"));
    let csv = text(&query(archive.path(), &[sql, "--format", "csv"]));
    assert_eq!(csv, "device,value\nmon-1,96.0\nmon-1,97.5\n");
    let json = text(&query(archive.path(), &[sql, "--format", "json"]));
    assert_eq!(json.lines().next(), Some("{\"device\":\"mon-1\",\"value\":96.0}"));
    let file = archive.path().join("rows.parquet");
    text(&query(archive.path(), &[sql, "--format", "parquet", "--output", file.to_str().unwrap()]));
    let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).unwrap()).unwrap().build().unwrap();
    assert_eq!(rows.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
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
    let missing = archive.path().join("no/such/folder/rows.csv");
    for (arguments, code, told) in [
        (&["SELECT nothing FROM numerics"][..], "WL-QRY-001", "DESCRIBE"),
        (&["DROP TABLE numerics"], "WL-QRY-002", "read"),
        (&["COPY numerics TO '/tmp/no.csv'"], "WL-QRY-002", "read"),
        (&["SELECT 1/0"], "WL-QRY-007", "ivide by zero"),
        (&["SELECT samples FROM waveforms", "--format", "csv"], "WL-QRY-009", "--format json"),
        (&["SELECT 1", "--format", "parquet"], "WL-QRY-009", "--output"),
        (&["SELECT 1", "--output", missing.to_str().unwrap()], "WL-QRY-009", "rows.csv"),
    ] {
        let output = query(archive.path(), arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(code) && error.contains(told), "{error}");
    }
    std::fs::remove_file(archive.path().join("keyring.json")).unwrap();
    let output = query(archive.path(), &["SELECT 1"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("WL-QRY-008") && error.contains("keyring"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_statement_that_never_waits_and_leaves_no_part_of_a_file() {
    let archive = Archive::of(&[97.5]).await;
    let folder = tempfile::tempdir().unwrap();
    let endless = "SELECT a.value FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b, numerics \
                   WHERE a.value * b.value < 0";
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardline-query"));
    command.arg("--data-dir").arg(archive.path()).arg(endless).args(["--format", "csv", "--output"]);
    let mut child = command.arg(folder.path().join("rows.csv")).spawn().unwrap();
    let begun = || folder.path().read_dir().unwrap().count() == 1;
    let until = Instant::now() + Duration::from_secs(30);
    while !begun() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < until, "no file was begun");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let until = Instant::now() + Duration::from_secs(10);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("it does not listen");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((status.code(), folder.path().read_dir().unwrap().count()), (Some(130), 0));
}

/// A file is read in parts by as many readers as there are cores.
#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_large_file_are_all_of_it() {
    const READINGS: i64 = 60_000;
    let mut archive = Archive::new().await;
    let reading = |n: i64| {
        let time = NOW_US + n * 1000;
        format!("{{\"code\":150456,\"value\":{},\"unit\":\"%\",\"time\":{time}}}", n % 100)
    };
    for first in (0..READINGS).step_by(1000) {
        let readings: Vec<_> = (first..first + 1000).map(reading).collect();
        archive.json("demo/mon-1", NOW_US, &format!("{{\"readings\":[{}]}}", readings.join(",")));
    }
    archive.flush().await;
    archive.stop().await;
    let plan = text(&query(archive.path(), &["EXPLAIN SELECT value FROM numerics", "--format", "json"]));
    let readers = std::thread::available_parallelism().unwrap().get().min(3);
    assert!(plan.matches(".parquet").count() >= readers, "{plan}");
    for (sql, rows) in [
        ("SELECT count(*) FROM numerics", "60000"),
        ("SELECT count(*), count(DISTINCT device_time), sum(value) FROM numerics", "60000,60000,2970000.0"),
        ("SELECT count(*) FROM numerics WHERE value < 1", "600"),
        ("SELECT count(*) FROM (SELECT value FROM numerics LIMIT 59999)", "59999"),
        (
            "SELECT min(device_time) = '2026-10-18T05:06:40Z', max(device_time) FROM numerics",
            "true,2026-10-18T05:07:39.999Z",
        ),
    ] {
        assert_eq!(archive.rows(sql), [rows], "{sql}");
    }
    let in_order = "SELECT to_char(device_time, '%H:%M:%S%.6f') FROM numerics ORDER BY device_time";
    let in_order = archive.rows(in_order);
    assert!(in_order.len() == 60_000 && in_order.is_sorted());
}
