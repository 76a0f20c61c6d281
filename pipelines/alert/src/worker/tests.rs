//! The worker on a real journal, a real database and a real keyring.

mod clock;
mod told;

use super::{AlertError, AlertOptions, AlertWorker};
use crate::feed::AlertFeed;
use crate::metrics::AlertMetrics;
use crate::progress::now_us;
use prost::Message;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, Keyring, Record};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{
    AlarmPhase, AlertEvent, Body, Frame, JournalRecord, Lane, NumericSeries, PayloadFormat, Publish,
    UpChannel,
};
use wardline_proto::{DeviceId, DeviceKey, TenantId, frame};
use wardline_store::Store;

const SPO2: u32 = 150_456;

/// A data directory with everything that a worker needs.
struct Rig {
    dir: TempDir,
    journal: Journal,
    store: Store,
    keyring: Arc<Keyring>,
    metrics: Arc<AlertMetrics>,
}

struct Running {
    feed: AlertFeed,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), AlertError>>,
}

impl Running {
    async fn stop(self) -> Result<(), AlertError> {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

impl Rig {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&dir.path().join("keyring.json")).unwrap());
        let journal = open_journal(dir.path(), &keyring);
        let store = Store::open(&dir.path().join("wardline.db")).await.unwrap();
        Self { dir, journal, store, keyring, metrics: Arc::default() }
    }

    async fn reopened(self) -> Self {
        let Self { dir, journal, store, keyring, .. } = self;
        drop(journal);
        let journal = open_journal(dir.path(), &keyring);
        Self { dir, journal, store, keyring, metrics: Arc::default() }
    }

    fn start(&self) -> Running {
        let (journal, store) = (self.journal.clone(), self.store.clone());
        let worker = AlertWorker::new(
            AlertOptions::default(),
            journal,
            store,
            self.keyring.clone(),
            self.metrics.clone(),
        );
        let worker = worker.unwrap();
        let feed = worker.feed();
        let (stop, stopped) = watch::channel(false);
        Running { feed, stop, task: tokio::spawn(worker.run(stopped)) }
    }

    fn append(&self, payload: Vec<u8>) {
        let record =
            Record { partition: key().partition(), class: Class::Telemetry, payload: payload.into() };
        let ticket = self.journal.append(record).unwrap();
        ticket.wait(&self.journal.durable()).unwrap();
    }

    /// Appends one frame with `values`, one a second, the last one now.
    fn spo2(&self, seq: u64, values: &[f64]) {
        self.spo2_until(now_us(), seq, values);
    }

    fn spo2_until(&self, now: i64, seq: u64, values: &[f64]) {
        let span_us = (values.len() as i64 - 1) * 1_000_000;
        let mut time_deltas_us = vec![1_000_000; values.len()];
        time_deltas_us[0] = 0;
        let series = NumericSeries {
            mdc_code: SPO2,
            ucum_unit: "%".into(),
            start_us: now - span_us,
            time_deltas_us,
            values: values.to_vec(),
            statuses: Vec::new(),
        };
        self.append(publish(seq, Body { numerics: vec![series], ..Body::default() }, now));
    }
}

fn open_journal(dir: &Path, keyring: &Arc<Keyring>) -> Journal {
    let folder = dir.join("journal");
    std::fs::create_dir_all(&folder).unwrap();
    keyring.ensure(wardline_journal::KeyPurpose::Journal, None).unwrap();
    let options = JournalOptions { segment_bytes: 1 << 20, ..JournalOptions::for_dir(&folder) };
    Journal::open(options, Arc::new(DiskStorage::new(&folder)), keyring.clone()).unwrap()
}

fn key() -> DeviceKey {
    DeviceKey { tenant: tenant(), device: DeviceId::new("mon-1").unwrap() }
}

fn tenant() -> TenantId {
    TenantId::new("demo").unwrap()
}

fn publish(seq: u64, body: Body, ingested_at_us: i64) -> Vec<u8> {
    let (encoding, body) = frame::encode_body(&body);
    let frame = Frame {
        epoch: 1,
        seq,
        encoding: encoding.into(),
        lane: Lane::Numerics.into(),
        body,
        ..Frame::default()
    };
    record(PayloadFormat::Frame, frame.encode_to_vec(), ingested_at_us)
}

fn record(content: PayloadFormat, payload: Vec<u8>, ingested_at_us: i64) -> Vec<u8> {
    let publish = Publish {
        tenant: "demo".into(),
        device: "mon-1".into(),
        channel: UpChannel::Telemetry.into(),
        payload: payload.into(),
        content: content.into(),
        certificate_serial: vec![1],
        for_test: false,
    };
    JournalRecord { ingested_at_us, kind: Some(Kind::Publish(publish)) }.encode_to_vec()
}

async fn events(feed: &AlertFeed, count: usize) -> Vec<AlertEvent> {
    let mut changed = feed.changed();
    let all = async {
        loop {
            let events = feed.since(&tenant(), 0, 100).await.unwrap();
            if events.len() >= count {
                return events;
            }
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("events in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desaturation_is_durable_told_once_and_sealed() {
    let rig = Rig::new().await;
    let running = rig.start();
    rig.append(b"poison".to_vec());
    rig.append(record(PayloadFormat::Frame, b"\xFFpoison".to_vec(), now_us()));
    rig.spo2(1, &[84.25; 8]);
    rig.spo2(1, &[84.25; 8]);
    let told = events(&running.feed, 1).await;
    let alert = told[0].alert.as_ref().unwrap();
    assert_eq!((told[0].cursor, told[0].phase(), alert.rule_id.as_str()), (1, AlarmPhase::Start, "spo2-low"));
    assert!(running.feed.lag_ms().is_some_and(|lag| lag < 2_000));
    assert_eq!(running.feed.list(&tenant(), false, 10).await.unwrap(), std::slice::from_ref(alert));
    assert!(running.feed.since(&TenantId::new("other").unwrap(), 0, 10).await.unwrap().is_empty());
    running.stop().await.unwrap();
    rig.store.close().await;
    for entry in std::fs::read_dir(rig.dir.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("wardline.db") {
            let bytes = std::fs::read(entry.path()).unwrap();
            for plain in [&84.25_f64.to_le_bytes()[..], b"spo2-low", b"MDC_PULS"] {
                assert!(!bytes.windows(plain.len()).any(|w| w == plain), "sealed: {:?}", entry.file_name());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_where_it_stopped() {
    let mut rig = Rig::new().await;
    let running = rig.start();
    rig.spo2(1, &[84.0; 8]);
    let first = events(&running.feed, 1).await;
    running.stop().await.unwrap();
    rig = rig.reopened().await;
    let running = rig.start();
    rig.spo2(1, &[84.0; 8]);
    rig.spo2(2, &[97.0]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    rig.spo2(3, &[97.0; 1]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    rig.spo2(4, &[97.0; 1]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    rig.spo2(5, &[97.0; 1]);
    let told = events(&running.feed, 2).await;
    assert_eq!(told[0], first[0]);
    assert_eq!((told[1].cursor, told[1].phase()), (2, AlarmPhase::End));
    assert_eq!(told[1].alert.as_ref().unwrap().alert_id, first[0].alert.as_ref().unwrap().alert_id);
    assert!(running.feed.list(&tenant(), false, 10).await.unwrap().is_empty());
    assert_eq!(running.feed.list(&tenant(), true, 10).await.unwrap().len(), 1);
    running.stop().await.unwrap();
    assert!(rig.store.alert_position(super::CONSUMER).await.unwrap() >= Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_on_the_same_name_ends() {
    let rig = Rig::new().await;
    let (first, second) = (rig.start(), rig.start());
    tokio::time::sleep(Duration::from_millis(300)).await;
    for seq in 1..6 {
        rig.spo2(seq, &[84.0; 8]);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let ends = (first.stop().await, second.stop().await);
    assert!(ends.0.is_ok() != ends.1.is_ok(), "exactly one is fenced off: {ends:?}");
    let feed = rig.start();
    let told = feed.feed.since(&tenant(), 0, 100).await.unwrap();
    assert_eq!(told.len(), 1, "the condition is told once");
    feed.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_paged_for_a_device_on_a_test_bench() {
    let rig = Rig::new().await;
    let running = rig.start();
    let now = now_us();
    let reading = |second: i64, seconds_ago: i64| {
        let time = now - seconds_ago * 1_000_000;
        let value = 80 + second % 2;
        format!(
            r#"{{"readings":[{{"code":"MDC_PULS_OXIM_SAT_O2","value":{value},"unit":"%","time":{time}}}]}}"#
        )
    };
    for for_test in [true, false] {
        for second in 0..8 {
            let publish = Publish {
                tenant: "demo".into(),
                device: if for_test { "bench-1".into() } else { "mon-1".into() },
                payload: reading(second, 7 - second).into_bytes().into(),
                content: PayloadFormat::Json.into(),
                for_test,
                ..Publish::default()
            };
            rig.append(
                JournalRecord { ingested_at_us: now, kind: Some(Kind::Publish(publish)) }.encode_to_vec(),
            );
        }
    }
    let told = events(&running.feed, 1).await;
    let devices: Vec<_> =
        told.iter().filter_map(|event| event.alert.as_ref()).map(|a| a.device.as_str()).collect();
    assert_eq!(devices, ["mon-1"], "the bench came first and raised nothing");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_json_is_watched_too() {
    let rig = Rig::new().await;
    let running = rig.start();
    let now = now_us();
    for second in 0..8 {
        let time = now - (7 - second) * 1_000_000;
        let reading = format!(r#"{{"code":"MDC_PULS_OXIM_SAT_O2","value":84,"unit":"%","time":{time}}}"#);
        rig.append(record(PayloadFormat::Json, format!(r#"{{"readings":[{reading}]}}"#).into_bytes(), now));
    }
    let told = events(&running.feed, 1).await;
    assert_eq!(told[0].alert.as_ref().unwrap().rule_id, "spo2-low");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_is_quick() {
    let rig = Rig::new().await;
    let running = rig.start();
    rig.spo2_until(now_us() - 20_000_000, 1, &[97.0]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = std::time::Instant::now();
    rig.spo2(2, &[84.0; 8]);
    events(&running.feed, 1).await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    println!("alert durable after {took:?}");
    running.stop().await.unwrap();
}
