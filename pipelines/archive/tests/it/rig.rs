//! A journal, a database, a keyring and an archive worker in a temporary folder.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutPayload};
use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardline_archive::bucket::BucketOptions;
use wardline_archive::read::ArchiveReader;
use wardline_archive::testing::TestSeaweed;
use wardline_archive::{
    ArchiveError, ArchiveHandle, ArchiveMetrics, ArchiveOptions, ArchiveService, Files, Table,
};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, Keyring, Offset, Record};
use wardline_proto::frame::{encode_body, lane_of};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{
    AuditEvent, Body, Clock, Frame, JournalRecord, NumericSeries, PayloadFormat, Publish, UpChannel,
    WaveformBlock,
};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::Store;

/// When everything in these tests is ingested.
pub(crate) const NOW_US: i64 = 1_792_300_000_000_000;
pub(crate) const EPOCH: u64 = 1_792_000_000_000_000;

/// A folder that goes with its rig, or one of another process.
pub(crate) struct Folder(PathBuf, Option<TempDir>);

impl Folder {
    pub(crate) fn fresh() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self(folder.path().to_owned(), Some(folder))
    }

    pub(crate) fn of(folder: &Path) -> Self {
        Self(folder.to_owned(), None)
    }

    pub(crate) fn path(&self) -> &Path {
        self.1.as_ref().map_or(&self.0, TempDir::path)
    }
}

pub(crate) struct Rig {
    pub(crate) folder: Folder,
    pub(crate) journal: Journal,
    pub(crate) store: Store,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) bucket: Option<BucketOptions>,
}

/// Returns the store of this process.
pub(crate) async fn store() -> &'static TestSeaweed {
    tokio::task::spawn_blocking(TestSeaweed::shared).await.unwrap().unwrap()
}

/// Runs cases with the files in a folder, and in a bucket.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod in_a_folder {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::rig::Rig::new().await).await;
            })+
        }
        mod in_a_bucket {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::rig::Rig::in_bucket().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::open(Folder::fresh()).await
    }

    /// Opens what is in a folder of another process.
    pub(crate) async fn at(folder: &Path) -> Self {
        Self::open(Folder::of(folder)).await
    }

    async fn open(folder: Folder) -> Self {
        let path = |name| folder.path().join(name);
        let keyring = Arc::new(Keyring::create_or_open(&path("keyring.json")).unwrap());
        let options = JournalOptions::for_dir(path("journal"));
        let storage = Arc::new(DiskStorage::new(path("journal")));
        let journal = Journal::open(options, storage, keyring.clone()).unwrap();
        let store = Store::open(&path("wardline.db")).await.unwrap();
        Self { folder, journal, store, keyring, bucket: None }
    }

    /// The same with its files in a bucket of a real store.
    pub(crate) async fn in_bucket() -> Self {
        Self::in_bucket_at(store().await.port()).await
    }

    /// The same at a port: the store's, or that of what stands before it.
    pub(crate) async fn in_bucket_at(port: u16) -> Self {
        let rig = Self::new().await;
        let options = TestSeaweed::options(rig.folder.path(), port, &TestSeaweed::fresh_prefix());
        Self { bucket: Some(options.unwrap()), ..rig }
    }

    /// What is in a bucket takes an answer: a step there takes longer.
    pub(crate) fn pace(&self, millis: u64) -> Duration {
        Duration::from_millis(if self.bucket.is_some() { 2 * millis } else { millis })
    }

    /// Waits until a start sweeps what is there now: a bucket's clock has seconds.
    pub(crate) async fn age(&self) {
        if self.bucket.is_some() {
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    }

    pub(crate) fn place(&self) -> Files {
        Files::of(&self.options()).unwrap()
    }

    /// Returns the bytes of a stored file; none when it is not there.
    pub(crate) fn stored(&self, path: &str) -> Option<Vec<u8>> {
        self.place().read(path).ok().map(Into::into)
    }

    /// Changes, or makes, a stored file behind everybody's back; none: removes it.
    pub(crate) async fn tamper(&self, path: &str, bytes: Option<&[u8]>) {
        match (self.place(), bytes) {
            (Files::Folder(root), Some(bytes)) => std::fs::write(root.join(path), bytes).unwrap(),
            (Files::Folder(root), None) => std::fs::remove_file(root.join(path)).unwrap(),
            (Files::Bucket(bucket), Some(bytes)) => {
                let payload = PutPayload::from(bytes.to_vec());
                bucket.store().put(&bucket.path_of(path), payload).await.unwrap();
            }
            (Files::Bucket(bucket), None) => bucket.store().delete(&bucket.path_of(path)).await.unwrap(),
        }
    }

    /// Counts the files of rows that are there, whether a commit names them or not.
    pub(crate) async fn files_there(&self) -> usize {
        match self.place() {
            Files::Folder(root) => files_below(&root).iter().filter(|f| f.extension().is_some()).count(),
            Files::Bucket(bucket) => {
                let found: Vec<_> =
                    bucket.store().list(Some(&bucket.path_of(""))).try_collect().await.unwrap();
                let is_row = |end: Option<&str>| matches!(end, Some("parquet" | "sealed"));
                found.iter().filter(|meta| is_row(meta.location.extension())).count()
            }
        }
    }

    pub(crate) fn archive_dir(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    pub(crate) fn options(&self) -> ArchiveOptions {
        ArchiveOptions {
            flush_interval: Duration::from_secs(600),
            retry_min: Duration::from_millis(10),
            bucket: self.bucket.clone(),
            ..ArchiveOptions::for_dir(self.archive_dir())
        }
    }

    pub(crate) fn run(&self, options: ArchiveOptions) -> Running {
        let metrics = Arc::new(ArchiveMetrics::default());
        let service = ArchiveService::new(
            options,
            self.journal.clone(),
            self.store.clone(),
            self.keyring.clone(),
            metrics,
        );
        let handle = service.handle();
        let (stop, shutdown) = watch::channel(false);
        Running { handle, stop, task: tokio::spawn(service.run(shutdown)) }
    }

    pub(crate) fn append(&self, payload: Vec<u8>) -> Offset {
        let record =
            Record { partition: key().partition(), class: Class::Telemetry, payload: payload.into() };
        self.journal.append(record).unwrap().offset()
    }

    pub(crate) fn publish(&self, payload: Vec<u8>, content: PayloadFormat) -> Offset {
        self.publish_of("demo", payload, content)
    }

    pub(crate) fn publish_of(&self, tenant: &str, payload: Vec<u8>, content: PayloadFormat) -> Offset {
        self.append(record(Kind::Publish(Publish {
            tenant: tenant.into(),
            device: "mon-1".into(),
            channel: UpChannel::Telemetry.into(),
            payload: payload.into(),
            content: content.into(),
            certificate_serial: vec![7; 16],
            for_test: false,
        })))
    }

    pub(crate) fn frame(&self, seq: u64, body: &Body) -> Offset {
        self.publish(frame(seq, body), PayloadFormat::Frame)
    }

    pub(crate) fn audit(&self, action: &str) -> Offset {
        self.append(record(Kind::Audit(AuditEvent {
            at_us: NOW_US,
            action: action.into(),
            actor: "spiffe://wardline.local/tenant/demo/device/mon-1".into(),
            outcome: "ok".into(),
            target: "wl/1/demo/mon-1/up/telemetry".into(),
            ..AuditEvent::default()
        })))
    }

    /// Archives everything that was appended, with a worker of its own.
    pub(crate) async fn archive(&self) {
        let running = self.run(self.options());
        running.finish(self.end()).await.unwrap();
    }

    /// Returns the offset after what was appended last.
    pub(crate) fn end(&self) -> Offset {
        self.audit("marker").next()
    }

    /// Changes the database behind everybody's back.
    pub(crate) async fn execute(&self, statement: &'static str) {
        use sqlx::{ConnectOptions, Executor};
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("wardline.db"));
        options.connect().await.unwrap().execute(statement).await.unwrap();
    }

    pub(crate) fn reader(&self) -> ArchiveReader {
        ArchiveReader::new(self.place(), self.store.clone(), self.keyring.clone())
    }

    pub(crate) async fn rows(&self, table: Table) -> Vec<RecordBatch> {
        let reader = self.reader();
        let files = reader.files(Some(table)).await.unwrap();
        files.iter().flat_map(|file| reader.read(file).unwrap()).map(Result::unwrap).collect()
    }

    pub(crate) async fn count(&self, table: Table) -> usize {
        self.rows(table).await.iter().map(RecordBatch::num_rows).sum()
    }
}

pub(crate) struct Running {
    pub(crate) handle: ArchiveHandle,
    stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<Result<(), ArchiveError>>,
}

impl Running {
    pub(crate) async fn finish(self, offset: Offset) -> Result<(), ArchiveError> {
        self.handle.flush_to(offset).await?;
        self.stop().await
    }

    pub(crate) async fn stop(self) -> Result<(), ArchiveError> {
        self.stop.send(true).unwrap();
        self.task.await.unwrap()
    }
}

pub(crate) fn key() -> DeviceKey {
    DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new("mon-1").unwrap() }
}

fn record(kind: Kind) -> Vec<u8> {
    JournalRecord { ingested_at_us: NOW_US, kind: Some(kind) }.encode_to_vec()
}

pub(crate) fn frame(seq: u64, body: &Body) -> Vec<u8> {
    let (encoding, bytes) = encode_body(body);
    let clock = Clock { device_offset_us: 1500, uncertainty_us: 500, sync_state: 2 };
    let frame = Frame {
        epoch: EPOCH,
        seq,
        sent_at_us: NOW_US - 1000,
        clock: Some(clock),
        encoding: encoding.into(),
        lane: lane_of(body).into(),
        body: bytes,
    };
    frame.encode_to_vec()
}

pub(crate) fn readings(values: &[f64]) -> Body {
    let series = NumericSeries {
        mdc_code: 150_456,
        ucum_unit: "%".into(),
        start_us: NOW_US - 5_000_000,
        time_deltas_us: (0..values.len()).map(|i| if i == 0 { 0 } else { 1_000_000 }).collect(),
        values: values.to_vec(),
        statuses: vec![],
    };
    Body { numerics: vec![series], ..Body::default() }
}

pub(crate) fn samples(start_us: i64, samples: &[i32]) -> Body {
    let block = WaveformBlock {
        mdc_code: 131_330,
        ucum_unit: "mV".into(),
        start_us,
        interval_ns: 2_777_778,
        sample_deltas: wardline_proto::frame::delta_encode(samples),
        scale: 0.005,
        offset: 1024.0,
        gaps: vec![],
    };
    Body { waveforms: vec![block], ..Body::default() }
}

/// Lists every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// Returns the texts of a column of terms, nulls left out.
pub(crate) fn texts(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let mut found = Vec::new();
    for batch in batches {
        let terms = batch[column].as_dictionary::<Int32Type>();
        let terms = terms.downcast_dict::<arrow_array::StringArray>().unwrap();
        found.extend(terms.into_iter().flatten().map(str::to_owned));
    }
    found
}

/// Returns the reasons of the quarantine with the payloads, in order.
pub(crate) async fn quarantine(rig: &Rig) -> Vec<(String, Vec<u8>)> {
    let rows = rig.rows(Table::Quarantine).await;
    let payloads = rows.iter().flat_map(|batch| batch["payload"].as_binary::<i32>());
    texts(&rows, "reason").into_iter().zip(payloads.map(|p| p.unwrap().to_vec())).collect()
}
