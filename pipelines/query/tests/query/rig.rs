//! A real archive in a temporary folder, and the binary over it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardline_archive::testing::{READER_KEY, TestSeaweed};
use wardline_archive::{ArchiveError, ArchiveHandle, ArchiveMetrics, ArchiveOptions, ArchiveService};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, Keyring, Offset, Record};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{JournalRecord, PayloadFormat, Publish};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::Store;
use wardline_store::registry::{Change, NewBinding, NewDevice};

/// 2026-10-18 05:06:40 UTC.
pub(crate) const NOW_US: i64 = 1_792_300_000_000_000;
/// A day, microseconds.
pub(crate) const DAY_US: i64 = 86_400_000_000;

pub(crate) fn key(tenant: &str, device: &str) -> DeviceKey {
    DeviceKey { tenant: TenantId::new(tenant).unwrap(), device: DeviceId::new(device).unwrap() }
}

/// A data directory with an archive worker that runs until this is dropped.
pub(crate) struct Archive {
    folder: TempDir,
    journal: Journal,
    pub(crate) store: Store,
    handle: ArchiveHandle,
    stop: watch::Sender<bool>,
    worker: Option<JoinHandle<Result<(), ArchiveError>>>,
    end: Offset,
}

impl Archive {
    pub(crate) async fn new() -> Self {
        Self::on(None).await
    }

    /// The same, perhaps with its files in a bucket behind a port, which the data directory's settings name.
    pub(crate) async fn on(port: Option<u16>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prefix = TestSeaweed::fresh_prefix();
        let bucket = port.map(|port| TestSeaweed::options(folder.path(), port, &prefix).unwrap());
        if let Some(port) = port {
            let settings = TestSeaweed::settings(folder.path(), port, &prefix, READER_KEY).unwrap();
            let text = format!("[archive.bucket]\n{settings}");
            std::fs::write(folder.path().join("wardline.toml"), text).unwrap();
        }
        let path = |name| folder.path().join(name);
        let keyring = Arc::new(Keyring::create_or_open(&path("keyring.json")).unwrap());
        let storage = Arc::new(DiskStorage::new(path("journal")));
        let journal =
            Journal::open(JournalOptions::for_dir(path("journal")), storage, keyring.clone()).unwrap();
        let store = Store::open(&path("wardline.db")).await.unwrap();
        let options = ArchiveOptions { bucket, ..ArchiveOptions::for_dir(path("archive")) };
        let metrics = Arc::new(ArchiveMetrics::default());
        let service = ArchiveService::new(options, journal.clone(), store.clone(), keyring, metrics);
        let (handle, (stop, shutdown)) = (service.handle(), watch::channel(false));
        let worker = Some(tokio::spawn(service.run(shutdown)));
        let end = journal.durable_end();
        Self { folder, journal, store, handle, stop, worker, end }
    }

    /// Archives one reading of SpO2 per value, a microsecond apart.
    pub(crate) async fn of(values: &[f64]) -> Self {
        let mut archive = Self::new().await;
        for (value, at_us) in values.iter().zip(NOW_US..) {
            archive.reading("demo/mon-1", at_us, *value);
        }
        archive.flush().await;
        archive
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Journals a publish of `tenant/device` that comes in at a time.
    pub(crate) fn publish(&mut self, device: &str, at_us: i64, payload: Vec<u8>, content: PayloadFormat) {
        let (tenant, device) = device.split_once('/').unwrap();
        let publish = Publish {
            tenant: tenant.into(),
            device: device.into(),
            payload: payload.into(),
            content: content.into(),
            ..Publish::default()
        };
        let record = JournalRecord { ingested_at_us: at_us, kind: Some(Kind::Publish(publish)) };
        let payload = prost::Message::encode_to_vec(&record).into();
        let record = Record { partition: key(tenant, device).partition(), class: Class::Telemetry, payload };
        self.end = self.journal.append(record).unwrap().offset().next();
    }

    pub(crate) fn json(&mut self, device: &str, at_us: i64, text: &str) {
        self.publish(device, at_us, text.as_bytes().to_vec(), PayloadFormat::Json);
    }

    /// A reading of SpO2.
    pub(crate) fn reading(&mut self, device: &str, at_us: i64, value: f64) {
        let line = format!("{{\"readings\":[{{\"code\":150456,\"value\":{value},\"unit\":\"%\"}}]}}");
        self.json(device, at_us, &line);
    }

    /// Waits until all of it is archived.
    pub(crate) async fn flush(&self) {
        self.handle.flush_to(self.end).await.unwrap();
    }

    /// Waits until all of it is durable, and no more.
    pub(crate) async fn durable(&self) {
        while self.journal.durable_end() < self.end {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Ends the worker, so that nothing changes any more.
    pub(crate) async fn stop(&mut self) {
        self.stop.send(true).unwrap();
        self.worker.take().unwrap().await.unwrap().unwrap();
    }

    pub(crate) async fn register(&self, device: &str, site: &str) {
        let (tenant, device) = device.split_once('/').unwrap();
        let device = NewDevice { site: site.into(), ..NewDevice::bare(key(tenant, device)) };
        self.store.register_device(&Change::new("os:test@here", NOW_US), &device).await.unwrap();
    }

    /// Records that a subject wore a device from a time until another.
    pub(crate) async fn bind(&self, device: &str, subject: &str, from_us: i64, until_us: Option<i64>) {
        let (tenant, device) = device.split_once('/').unwrap();
        let binding = NewBinding { device: key(tenant, device), subject: subject.into(), from_us, until_us };
        self.store.bind(&Change::new("os:test@here", NOW_US), &binding).await.unwrap();
    }

    /// Every file of the archive with its content.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut files, mut folders) = (Vec::new(), vec![self.path().join("archive")]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push((path.clone(), std::fs::read(path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    /// Runs a statement and returns its rows as CSV, without the header.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let out = text(&query(self.path(), &[sql, "--format", "csv"]));
        out.lines().skip(1).map(str::to_owned).collect()
    }
}

pub(crate) fn query(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardline-query"));
    command.arg("--data-dir").arg(data_dir).args(arguments).output().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}
