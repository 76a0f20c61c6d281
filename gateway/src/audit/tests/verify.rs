//! What is done to a trail is found by name: in the archive, in the journal's tail, and across both.

use super::events;
use crate::audit::chain::{Head, hash_of};
use crate::audit::trail::{Tail, Trail};
use crate::audit::verify::verify;
use crate::audit::{NodeId, Report, What};
use bytes::Bytes;
use prost::Message;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use wardline_archive::{ArchiveMetrics, ArchiveOptions, ArchiveService};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, Keyring, Offset, Record};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{AuditEvent, JournalRecord};
use wardline_proto::{PartitionId, TenantId};
use wardline_store::Store;
use wardline_store::registry::Change;

const NODE: &str = "00112233445566778899aabbccddeeff";
const EVENTS: u64 = 12;

/// A data directory with events that were written as they are told, whole or not.
struct Data {
    dir: TempDir,
    store: Store,
    journal: Journal,
    keyring: Arc<Keyring>,
}

impl Data {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&dir.path().join("keyring.json")).unwrap());
        let store = Store::open(&dir.path().join("wardline.db")).await.unwrap();
        let options =
            JournalOptions { segment_bytes: 64 << 10, reserve_bytes: 0, ..JournalOptions::default() };
        let storage = Arc::new(DiskStorage::new(dir.path().join("journal")));
        let journal = Journal::open(options, storage, keyring.clone()).unwrap();
        Self { dir, store, journal, keyring }
    }

    async fn append(&self, events: &[AuditEvent]) {
        let mut last = None;
        for event in events {
            let record =
                JournalRecord { ingested_at_us: event.at_us, kind: Some(Kind::Audit(event.clone())) };
            let payload = Bytes::from(record.encode_to_vec());
            let record = Record { partition: PartitionId::default(), class: Class::Audit, payload };
            last = Some(self.journal.append(record).unwrap());
        }
        if let Some(last) = last {
            last.durable(&self.journal.durable()).await.unwrap();
        }
    }

    async fn archive(&self, next: u64) {
        self.archive_by(ArchiveOptions::for_dir(self.dir.path().join("archive")), next).await;
    }

    async fn archive_by(&self, options: ArchiveOptions, next: u64) {
        let (journal, store, keyring) = (self.journal.clone(), self.store.clone(), self.keyring.clone());
        let service =
            ArchiveService::new(options, journal, store, keyring, Arc::new(ArchiveMetrics::default()));
        let handle = service.handle();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(service.run(stopped));
        handle.flush_to(Offset::new(next)).await.unwrap();
        stop.send_replace(true);
        task.await.unwrap().unwrap();
    }

    async fn verify(&self) -> Report {
        let trail = Trail::open(self.dir.path()).await.unwrap();
        assert_eq!(trail.tail, Tail::Read);
        verify(&trail, |_| {}).unwrap()
    }

    async fn sql(&self, statement: &'static str) {
        let database = SqliteConnectOptions::new().filename(self.dir.path().join("wardline.db"));
        let mut connection = SqliteConnection::connect_with(&database).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
}

fn chain() -> Vec<AuditEvent> {
    let node = NodeId::new(NODE).unwrap();
    let mut head = Head::START;
    (1..=EVENTS)
        .map(|i| {
            // Tenants have files of their own: a chain is spread over them.
            let actor = format!("spiffe://wardline.local/tenant/t{}/device/mon-1", i % 3);
            let (at_us, outbox_id) = (1_792_300_000_000_000 + i as i64, if i % 4 == 0 { i } else { 0 });
            let mut event = AuditEvent {
                at_us,
                action: "tested".into(),
                actor,
                outcome: "ok".into(),
                target: format!("serial {i}"),
                outbox_id,
                ..AuditEvent::default()
            };
            head = head.link(&node, &mut event);
            event
        })
        .collect()
}

fn at(n: u64) -> usize {
    n as usize - 1
}

/// Says what is found when the first `archived` events are archived, in one commit or two, and the rest is not.
async fn findings(written: &[AuditEvent], archived: usize) -> Vec<String> {
    let data = Data::new().await;
    data.append(&written[..archived]).await;
    if archived > 0 {
        data.archive(archived as u64).await;
    }
    data.append(&written[archived..]).await;
    let report = data.verify().await;
    assert_eq!(report.findings_total, report.findings.len() as u64);
    report.findings.iter().map(|finding| finding.to_string().replace(&format!("node {NODE}: "), "")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_trail_is_whole_wherever_it_lies() {
    for archived in [0, 5, EVENTS as usize] {
        assert_eq!(findings(&chain(), archived).await, Vec::<String>::new(), "{archived} archived");
    }
}

/// Says of a tenant's keys that they are at a service, which this keyring does not have.
fn refuse(data: &Data, tenant: &str) {
    let path = data.keyring.path();
    let mut text: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let keys = text["keys"].as_array_mut().unwrap().iter_mut();
    for key in keys.filter(|key| key["tenant"] == tenant) {
        let key = key.as_object_mut().unwrap();
        key.remove("key");
        key.insert("held".into(), "service".into());
    }
    std::fs::write(path, text.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_of_a_tenant_is_part_of_the_trail() {
    let data = Data::new().await;
    data.append(&chain()[..6]).await;
    data.archive(6).await;
    refuse(&data, "t1");
    let options = ArchiveOptions {
        hold_after: Duration::ZERO,
        retry_min: Duration::from_millis(10),
        ..ArchiveOptions::for_dir(data.dir.path().join("archive"))
    };
    data.append(&chain()[6..9]).await;
    data.archive_by(options.clone(), 9).await;
    // Its files of before are under its key, and are read by nobody now.
    data.sql("DELETE FROM archive_file WHERE tenant = 't1'").await;
    data.append(&chain()[9..]).await;
    data.archive_by(options, EVENTS).await;
    let told = |report: Report| report.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let missing = |n: &str| format!("node {NODE}: {n} missing");
    // 7 and 10 are held; 1 and 4 were in the files that are gone.
    assert_eq!(told(data.verify().await), [missing("1"), missing("4")]);
    data.sql("DELETE FROM archive_held_file WHERE offset_first = 9").await;
    assert_eq!(told(data.verify().await), [missing("1"), missing("4"), missing("10")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_to_an_event_is_found_by_name() {
    type Change = fn(&mut Vec<AuditEvent>);
    let cases: [(&str, Change, &[&str]); 8] = [
        ("altered", |e| e[at(5)].target = "serial 6".into(), &["5 altered (journal offset 4)"]),
        (
            "altered and hashed anew",
            |e| {
                e[at(5)].target = "serial 6".into();
                e[at(5)].hash = hash_of(&e[at(5)]).to_vec();
            },
            &["6 does not follow 5"],
        ),
        ("removed", |e| drop(e.drain(at(5)..at(8))), &["5..7 missing"]),
        ("the first removed", |e| drop(e.remove(0)), &["1 missing"]),
        ("reordered", |e| e.swap(at(2), at(3)), &["3 out of order"]),
        ("duplicated", |e| e.push(e[at(5)].clone()), &["5 is there twice, equal"]),
        (
            "forked",
            |e| {
                let mut other = AuditEvent { target: "serial 99".into(), ..e[at(5)].clone() };
                other.hash = hash_of(&other).to_vec();
                e.push(other);
            },
            &["5 is there twice, different: a fork"],
        ),
        (
            "without a chain",
            |e| e.push(AuditEvent { at_us: 1_792_300_000_000_100, ..AuditEvent::default() }),
            &["event without a chain (journal offset 12)"],
        ),
    ];
    for (name, change, expected) in cases {
        let mut written = chain();
        change(&mut written);
        for archived in [0, 7, written.len()] {
            assert_eq!(findings(&written, archived).await, expected, "{name}, {archived} archived");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_under_a_destroyed_key_hold_their_places_and_no_others() {
    let lost = |n: u64| chain().into_iter().filter(|event| event.n != n).collect::<Vec<_>>();
    for (written, expected) in
        [(chain(), vec![]), (lost(5), vec!["1 missing", "4..5 missing", "7 missing", "10 missing"])]
    {
        let data = Data::new().await;
        data.append(&written).await;
        data.archive(written.len() as u64).await;
        let (change, tenant) =
            (Change::new("os:test@here", 1_792_300_000_000_100), TenantId::new("t1").unwrap());
        assert!(data.store.begin_shred(&change, &tenant).await.unwrap());
        let keys = data.keyring.shred(&tenant).unwrap();
        let keys: Vec<_> = keys.iter().map(|key| key.as_str().to_owned()).collect();
        data.store.finish_shred(&change, &tenant, &keys).await.unwrap();
        let report = data.verify().await;
        let found =
            report.findings.iter().map(|finding| finding.to_string().replace(&format!("node {NODE}: "), ""));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!((report.sealed, report.nodes[0].events), (4, written.len() as u64 - 4));
        // Bytes that are not those that were committed are found without a key.
        let trail = Trail::open(data.dir.path()).await.unwrap();
        let file = trail.files.iter().find(|file| file.tenant == "t1").unwrap();
        std::fs::write(data.dir.path().join("archive").join(&file.path), b"other").unwrap();
        let report = data.verify().await;
        let changed = What::FileChanged { path: file.path.clone() };
        assert!(report.findings.iter().any(|finding| finding.what == changed), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_outbox_that_is_journaled_twice_is_found() {
    let (node, mut written) = (NodeId::new(NODE).unwrap(), chain());
    let mut head = Head::START;
    written.iter().for_each(|event| head.resume(event));
    let mut again = AuditEvent { outbox_id: 8, at_us: 1_792_300_000_000_100, ..AuditEvent::default() };
    head.link(&node, &mut again);
    written.push(again);
    for archived in [0, 9, 13] {
        assert_eq!(findings(&written, archived).await, ["outbox row 8 journaled twice, again as 13"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_changed_or_taken_out_are_found_by_path_and_by_number() {
    let data = Data::new().await;
    data.append(&chain()).await;
    data.archive(EVENTS).await;
    assert!(data.verify().await.is_whole());
    let trail = Trail::open(data.dir.path()).await.unwrap();
    let path = data.dir.path().join("archive").join(&trail.files[0].path);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = data.verify().await.to_string();
    assert!(report.contains(&format!("file {} is not the one", trail.files[0].path)), "{report}");
    assert!(report.contains("1 missing") && report.contains("10 missing"), "{report}");
    std::fs::remove_file(&path).unwrap();
    assert!(data.verify().await.to_string().contains(" is gone"));

    data.sql("DELETE FROM archive_file WHERE table_name = 'audit'").await;
    let report = data.verify().await;
    assert!(report.to_string().contains("1..12 missing"), "the catalog's head still tells: {report}");
    assert_eq!(events(&data.journal).len() as u64, EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_archived_event_is_held_by_the_catalog() {
    let data = Data::new().await;
    data.append(&chain()).await;
    data.archive(EVENTS).await;
    data.sql("UPDATE archive_audit_head SET hash = prev FROM (SELECT zeroblob(32) AS prev)").await;
    let report = data.verify().await.to_string();
    assert!(report.contains("12 is not the event that the catalog committed"), "{report}");
}
