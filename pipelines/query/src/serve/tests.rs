//! What a server keeps between statements hides nothing that others have changed: each change here is made over another
//! connection, as another process would, and the very next statement sees it.

use super::grants::Grant;
use super::parsed::Statements;
use crate::error::QueryError;
use crate::snapshot::{self, Reach, Scope, Shared};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::dataframe::DataFrame;
use futures::TryStreamExt;
use prost::Message;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch;
use wardline_archive::place::Place;
use wardline_archive::{ArchiveHandle, ArchiveMetrics, ArchiveOptions, ArchiveService};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, Keyring, Offset, Record};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{JournalRecord, PayloadFormat, Publish};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::Store;
use wardline_store::registry::{Change, NewBinding, NewDevice, Sites};

/// 2026-10-18 05:06:40 UTC.
const NOW_US: i64 = 1_792_300_000_000_000;
const DAY_US: i64 = 86_400_000_000;
const SEEN: &str = "SELECT device, site, subject, value FROM vitals ORDER BY device, value";

fn tenant() -> TenantId {
    TenantId::new("demo").unwrap()
}

fn key(device: &str) -> DeviceKey {
    DeviceKey { tenant: tenant(), device: DeviceId::new(device).unwrap() }
}

fn change() -> Change {
    Change::new("os:test@here", NOW_US)
}

/// A gateway's archive, and what a server keeps of it.
struct Beside {
    folder: TempDir,
    keyring: Arc<Keyring>,
    journal: Journal,
    /// Whoever else changes something.
    other: Store,
    worker: ArchiveHandle,
    _stop: watch::Sender<bool>,
    shared: Shared,
    statements: Statements,
}

impl Beside {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let keyring = Arc::new(Keyring::create_or_open(&path("keyring.json")).unwrap());
        let storage = Arc::new(DiskStorage::new(path("journal")));
        let options = JournalOptions::for_dir(path("journal"));
        let journal = Journal::open(options, storage, keyring.clone()).unwrap();
        let other = Store::open(&path("wardline.db")).await.unwrap();
        let options = ArchiveOptions::for_dir(path("archive"));
        let metrics = Arc::new(ArchiveMetrics::default());
        let service = ArchiveService::new(options, journal.clone(), other.clone(), keyring.clone(), metrics);
        let (worker, (stop, stopped)) = (service.handle(), watch::channel(false));
        tokio::spawn(service.run(stopped));
        let shared = Shared::open(folder.path(), &Place::of(folder.path()).unwrap()).await.unwrap();
        let statements = Statements::default();
        Self { folder, keyring, journal, other, worker, _stop: stop, shared, statements }
    }

    /// Archives a reading of SpO2.
    async fn reading(&self, device: &str, at_us: i64, value: f64) {
        let payload = format!("{{\"readings\":[{{\"code\":150456,\"value\":{value},\"unit\":\"%\"}}]}}");
        let publish = Publish {
            tenant: "demo".into(),
            device: device.into(),
            payload: payload.into_bytes().into(),
            content: PayloadFormat::Json.into(),
            ..Publish::default()
        };
        let record = JournalRecord { ingested_at_us: at_us, kind: Some(Kind::Publish(publish)) };
        let (partition, payload) = (key(device).partition(), record.encode_to_vec().into());
        let record = Record { partition, class: Class::Telemetry, payload };
        let end: Offset = self.journal.append(record).unwrap().offset().next();
        self.worker.flush_to(end).await.unwrap();
    }

    async fn bind(&self, device: &str, subject: &str) {
        let binding = NewBinding { device: key(device), subject: subject.into(), from_us: 1, until_us: None };
        self.other.bind(&change(), &binding).await.unwrap();
    }

    async fn register(&self, device: &str, site: &str) {
        let device = NewDevice { site: site.into(), ..NewDevice::bare(key(device)) };
        self.other.register_device(&change(), &device).await.unwrap();
    }

    /// Asks as a clinician of some sites does, and returns the rows.
    async fn ask(&self, sites: &Sites, sql: &str) -> Result<Vec<String>, QueryError> {
        let grant = Grant::Identified;
        let parsed = match self.statements.known(grant, sql) {
            Some(known) => known,
            None => self.statements.parse(grant, sql).await?,
        };
        let scope = Scope {
            tenant: Some(tenant()),
            sites: Some(sites.clone()),
            granted: Some(grant.tables()),
            memory_bytes_max: Some(1 << 30),
            reach: Reach::Durable,
            shared: Some(self.shared.clone()),
            mask: None,
        };
        let opened = snapshot::open(self.folder.path(), &scope).await.unwrap();
        let rows = DataFrame::new(opened.session.state(), parsed.over(&opened).unwrap());
        let planned = opened.planned(rows).await.map_err(|error| QueryError::kept(&error))?;
        let rows = planned.start().map_err(|error| QueryError::kept(&error))?;
        let batches: Vec<_> = rows.try_collect().await.map_err(|error| QueryError::kept(&error))?;
        let mut lines = Vec::new();
        for batch in batches {
            let (columns, options) = (batch.columns(), FormatOptions::default());
            let columns: Vec<_> =
                columns.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
            lines.extend((0..batch.num_rows()).map(|row| {
                columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" ")
            }));
        }
        Ok(lines)
    }

    async fn seen(&self) -> Vec<String> {
        self.ask(&Sites::All, SEEN).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_statement_sees_what_another_process_has_changed() {
    let beside = Beside::new().await;
    assert!(beside.seen().await.is_empty());
    beside.reading("mon-1", NOW_US, 90.0).await;
    assert_eq!(beside.seen().await, ["mon-1   90.0"], "a file was committed");
    beside.register("mon-1", "").await;
    beside.bind("mon-1", "p-ada").await;
    assert_eq!(beside.seen().await, ["mon-1  p-ada 90.0"], "who wears it is known");
    beside.bind("mon-1", "p-bob").await;
    assert_eq!(beside.seen().await, ["mon-1  p-bob 90.0"], "and mended");
    let icu = Sites::of(["icu"]).unwrap();
    assert!(beside.ask(&icu, SEEN).await.unwrap().is_empty());
    beside.register("mon-1", "icu").await;
    assert_eq!(beside.ask(&icu, SEEN).await.unwrap(), ["mon-1 icu p-bob 90.0"], "it has come to the ward");
    beside.register("mon-2", "icu").await;
    beside.bind("mon-2", "p-eve").await;
    beside.reading("mon-2", NOW_US + 1, 91.0).await;
    let both = ["mon-1 icu p-bob 90.0", "mon-2 icu p-eve 91.0"];
    assert_eq!(beside.ask(&icu, SEEN).await.unwrap(), both, "another device and file");
    assert_eq!(beside.seen().await, both);
    // What was measured until then is taken.
    let later = Change::new("os:test@here", NOW_US + DAY_US);
    beside.other.ask_erasure(&later, &tenant(), "p-bob", false).await.unwrap();
    assert_eq!(beside.seen().await, both[1..], "one was erased");
    beside.keyring.shred(&tenant()).unwrap();
    let refused = beside.ask(&Sites::All, SEEN).await;
    assert!(refused.is_err(), "its keys are destroyed: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_kept_gives_all_its_rows_again() {
    let beside = Beside::new().await;
    beside.reading("mon-1", NOW_US, 90.0).await;
    for sql in [
        "SELECT count(*) FROM generate_series(1, 5)",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT count(*) FROM n",
        "SELECT 4 + (SELECT count(*) FROM vitals v WHERE EXISTS (SELECT 1 FROM numerics))",
    ] {
        for _again in 0..2 {
            assert_eq!(beside.ask(&Sites::All, sql).await.unwrap(), ["5"], "{sql}");
        }
    }
    let there = "SELECT count(*) > 0 FROM information_schema.routines WHERE routine_name = 'date_trunc'";
    let named = "SELECT table_name FROM information_schema.tables WHERE table_type = 'VIEW' \
                 AND table_schema = 'public' ORDER BY 1";
    for _again in 0..2 {
        assert_eq!(beside.ask(&Sites::All, there).await.unwrap(), ["true"]);
        assert_eq!(beside.ask(&Sites::All, named).await.unwrap(), ["ecg", "latest", "vitals"]);
    }
}

#[tokio::test]
async fn a_statement_of_one_role_is_not_understood_for_another() {
    let (statements, sql) = (Statements::default(), "SELECT site FROM vitals");
    let clinicians = statements.parse(Grant::Identified, sql).await.unwrap();
    assert!(Arc::ptr_eq(&clinicians, &statements.known(Grant::Identified, sql).unwrap()));
    assert!(statements.known(Grant::Deidentified, sql).is_none());
    for sql in [sql, "SELECT device FROM numerics"] {
        let refused = statements.parse(Grant::Deidentified, sql).await;
        assert!(matches!(refused, Err(QueryError::NotGranted { .. })), "{sql}: {refused:?}");
        assert!(statements.known(Grant::Deidentified, sql).is_none(), "what is refused is not kept");
    }
}

#[tokio::test]
async fn the_oldest_statements_go_and_long_ones_are_not_kept() {
    use super::limits::{STATEMENTS_KEPT, STATEMENTS_KEPT_BYTES};
    let (statements, grant) = (Statements::default(), Grant::Deidentified);
    let number = |n: usize| format!("SELECT {n}");
    for n in 0..=STATEMENTS_KEPT {
        statements.parse(grant, &number(n)).await.unwrap();
    }
    assert!(statements.known(grant, &number(0)).is_none() && statements.known(grant, &number(1)).is_some());
    let long = format!("SELECT '{}'", "x".repeat(STATEMENTS_KEPT_BYTES));
    statements.parse(grant, &long).await.unwrap();
    assert!(statements.known(grant, &long).is_none());
    assert!(statements.known(grant, &number(1)).is_some());
}
