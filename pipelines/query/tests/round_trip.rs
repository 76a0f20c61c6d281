//! The binary over a real archive: every format gives the rows back.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch;
use wardline_archive::{ArchiveMetrics, ArchiveOptions, ArchiveService};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, Keyring, Record};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{JournalRecord, Publish};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::Store;

const NOW_US: i64 = 1_792_300_000_000_000;

/// Archives one JSON publish per value and returns the data directory.
async fn archive(values: &[f64]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let keyring = Arc::new(Keyring::create_or_open(&path("keyring.json")).unwrap());
    let storage = Arc::new(DiskStorage::new(path("journal")));
    let journal = Journal::open(JournalOptions::for_dir(path("journal")), storage, keyring.clone()).unwrap();
    let store = Store::open(&path("wardline.db")).await.unwrap();
    let key = DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new("mon-1").unwrap() };
    let mut end = journal.durable_end();
    for (value, at_us) in values.iter().zip(NOW_US..) {
        let line = format!("{{\"readings\":[{{\"code\":150456,\"value\":{value},\"unit\":\"%\"}}]}}");
        let publish = Publish {
            tenant: "demo".into(),
            device: "mon-1".into(),
            payload: line.into_bytes().into(),
            ..Publish::default()
        };
        let record = JournalRecord { ingested_at_us: at_us, kind: Some(Kind::Publish(publish)) };
        let payload = prost::Message::encode_to_vec(&record).into();
        let record = Record { partition: key.partition(), class: Class::Telemetry, payload };
        end = journal.append(record).unwrap().offset().next();
    }
    let options = ArchiveOptions::for_dir(path("archive"));
    let service = ArchiveService::new(options, journal, store, keyring, Arc::new(ArchiveMetrics::default()));
    let (handle, (stop, shutdown)) = (service.handle(), watch::channel(false));
    let task = tokio::spawn(service.run(shutdown));
    handle.flush_to(end).await.unwrap();
    stop.send(true).unwrap();
    task.await.unwrap().unwrap();
    folder
}

fn query(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardline-query"));
    command.arg("--data-dir").arg(data_dir).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_gives_the_rows_back() {
    let folder = archive(&[97.5, 96.0]).await;
    let sql = "SELECT device, value FROM numerics ORDER BY value";
    assert!(text(&query(folder.path(), &[sql])).contains("| mon-1  | 96.0  |"));
    let csv = text(&query(folder.path(), &[sql, "--format", "csv"]));
    assert_eq!(csv, "device,value\nmon-1,96.0\nmon-1,97.5\n");
    let json = text(&query(folder.path(), &[sql, "--format", "json"]));
    assert_eq!(json.lines().next(), Some("{\"device\":\"mon-1\",\"value\":96.0}"));
    let ipc = query(folder.path(), &[sql, "--format", "arrow"]).stdout;
    let batches = arrow::ipc::reader::StreamReader::try_new(&ipc[..], None).unwrap();
    assert_eq!(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_counts_and_empty_tables_work() {
    let folder = archive(&[97.5, 96.0, 95.0]).await;
    let one =
        |sql: &str| text(&query(folder.path(), &[sql, "--format", "csv"])).lines().nth(1).map(str::to_owned);
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
    let folder = archive(&[97.5]).await;
    for (arguments, told) in [
        (&["SELECT nothing FROM numerics"][..], "DESCRIBE"),
        (&["DROP TABLE numerics"], "DDL"),
        (&["SELECT samples FROM waveforms", "--format", "csv"], "--format json"),
    ] {
        let output = query(folder.path(), arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(told), "{error}");
    }
    std::fs::remove_file(folder.path().join("keyring.json")).unwrap();
    let output = query(folder.path(), &["SELECT 1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("keyring"));
}
