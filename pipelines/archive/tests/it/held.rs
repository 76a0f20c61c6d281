//! A tenant whose keys are refused is held back: nobody else waits, the journal goes on, and each row comes once.

use crate::erase::{at, change, eager, values, wear};
use crate::rig::{NOW_US, Rig, Running, frame, on_both, readings};
use crate::transit::demo;
use crate::verify::verify;
use prost::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use wardline_archive::tail::{TailBounds, TailState, snapshot};
use wardline_archive::testing::{POLICY, TestBao};
use wardline_archive::{ArchiveOptions, Table};
use wardline_journal::{
    DiskStorage, Journal, JournalOptions, KeyError, KeyId, KeyPurpose, KeyService, Keyring, Offset,
};
use wardline_proto::TenantId;
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{AuditEvent, JournalRecord, PayloadFormat};
use wardline_store::catalog::Catalog;
use zeroize::Zeroizing;

const WAIT: Duration = Duration::from_secs(20);
const PURPOSES: [KeyPurpose; 3] = [KeyPurpose::Footer, KeyPurpose::Identifiers, KeyPurpose::Measurements];

/// A service at which keys are named; whoever opens the keyring without one is refused them.
struct Elsewhere;

impl KeyService for Elsewhere {
    fn place(&self) -> &str {
        "https://elsewhere.test/transit"
    }

    fn create(&self, _id: &KeyId) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, _id: &KeyId, _data_key: &[u8]) -> Result<Vec<u8>, KeyError> {
        Err(KeyError::Refused("elsewhere".to_owned()))
    }

    fn unwrap_key(&self, _id: &KeyId, _wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Err(KeyError::Refused("elsewhere".to_owned()))
    }

    fn destroy(&self, _id: &KeyId) -> Result<(), KeyError> {
        Ok(())
    }
}

/// Puts a tenant's keys where this keyring does not get at them.
pub(crate) fn refuse(rig: &Rig, tenant: &str) {
    let keys = Keyring::open(rig.keyring.path()).unwrap().with_service(Arc::new(Elsewhere));
    renew(&keys, tenant);
}

/// Gives it keys of this keyring again.
pub(crate) fn give_back(rig: &Rig, tenant: &str) {
    renew(&rig.keyring, tenant);
}

fn renew(keys: &Keyring, tenant: &str) {
    let tenant = TenantId::new(tenant).unwrap();
    for purpose in PURPOSES {
        keys.rotate(purpose, Some(&tenant)).unwrap();
    }
}

/// Holds back at once, and tries again often.
pub(crate) fn impatient(rig: &Rig) -> ArchiveOptions {
    ArchiveOptions {
        hold_after: Duration::ZERO,
        hold_retry_min: Duration::from_millis(20),
        hold_retry_max: Duration::from_millis(100),
        flush_rows_max: 7,
        ..rig.options()
    }
}

pub(crate) async fn held(rig: &Rig) -> BTreeSet<String> {
    Catalog::new(rig.store.clone()).held_tenants().await.unwrap()
}

async fn flushed(running: &Running, to: Offset) {
    tokio::time::timeout(WAIT, running.handle.flush_to(to)).await.expect("nobody else waits").unwrap();
}

/// Waits until nobody is held back.
pub(crate) async fn let_go(rig: &Rig) {
    let gone = async {
        while !held(rig).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, gone).await.expect("let go when the keys are there");
}

fn other(rig: &Rig, seq: u64) {
    rig.publish_of("other", frame(seq, &readings(&[seq as f64])), PayloadFormat::Frame);
}

async fn rows_of(rig: &Rig, tenant: &str) -> usize {
    let reader = rig.reader();
    let files = reader.files(Some(Table::Numerics)).await.unwrap();
    let of = files.iter().filter(|file| file.tenant == tenant);
    of.flat_map(|file| reader.read(file).unwrap()).map(|rows| rows.unwrap().num_rows()).sum()
}

/// Every frame of the device of `demo` is there once, and the archive is whole.
async fn whole(rig: &Rig, frames: u64, duplicates: u64) {
    let found = verify(rig).await;
    assert!(found.is_clean() && found.discrepancies.is_empty(), "{:?}", found.discrepancies);
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    let stream = streams.iter().find(|s| s.id.tenant == "demo" && s.id.epoch > 0).unwrap();
    assert!(stream.missing.is_empty(), "{stream:?}");
    assert_eq!(
        (stream.counts.archived, stream.counts.duplicates, stream.counts.late),
        (frames, duplicates, 0)
    );
    assert_eq!(rows_of(rig, "demo").await as u64, frames);
}

on_both! {
    a_refused_key_stops_nobody_else_and_every_row_comes_once,
    a_held_file_that_is_gone_keeps_its_tenant_and_nobody_else,
}

async fn a_refused_key_stops_nobody_else_and_every_row_comes_once(rig: Rig) {
    for seq in 1..=3 {
        rig.frame(seq, &readings(&[seq as f64]));
        other(&rig, seq);
    }
    rig.archive().await;
    refuse(&rig, "demo");
    let running = rig.run(impatient(&rig));
    for seq in 4..=20 {
        rig.frame(seq, &readings(&[seq as f64]));
        other(&rig, seq);
    }
    // One again from before, one again among them, and one that is not good.
    rig.frame(2, &readings(&[2.0]));
    rig.frame(9, &readings(&[9.0]));
    rig.publish(b"no frame".to_vec(), PayloadFormat::Frame);
    flushed(&running, rig.end()).await;
    assert_eq!((rows_of(&rig, "demo").await, rows_of(&rig, "other").await), (3, 20));
    assert_eq!(held(&rig).await, BTreeSet::from(["demo".to_owned()]));
    running.stop().await.unwrap();
    // A new start goes on holding back, without being refused first.
    let patient = ArchiveOptions { hold_after: Duration::from_secs(3600), ..impatient(&rig) };
    let running = rig.run(patient);
    rig.frame(21, &readings(&[21.0]));
    other(&rig, 21);
    flushed(&running, rig.end()).await;
    let found = verify(&rig).await;
    assert!(
        found.is_clean() && found.discrepancies.is_empty(),
        "while it is held: {:?}",
        found.discrepancies
    );
    assert_eq!((rows_of(&rig, "demo").await, rows_of(&rig, "other").await), (3, 21));
    let sum = Catalog::new(rig.store.clone()).held_sum().await.unwrap();
    assert!(sum.records > 17 + 3 && sum.bytes > 0, "{sum:?}");
    rig.frame(22, &readings(&[22.0]));
    other(&rig, 22);
    for (tenant, state) in [("demo", TailState::Held), ("other", TailState::Whole)] {
        let is_shown = state == TailState::Whole;
        let tenant = TenantId::new(tenant).unwrap();
        let erased = rig.reader().learn_erased().await.unwrap();
        let keys = rig.reader().keys();
        let view = (&rig.store, &*erased, &*keys);
        let seen = snapshot(rig.folder.path(), view, Some(&tenant), TailBounds::default()).await.unwrap();
        assert_eq!(seen.tail.state, state, "{tenant}");
        assert_eq!(seen.tail.rows.contains_key(&Table::Numerics), is_shown, "what no commit has of {tenant}");
    }
    give_back(&rig, "demo");
    let_go(&rig).await;
    rig.frame(23, &readings(&[23.0]));
    flushed(&running, rig.end()).await;
    running.stop().await.unwrap();
    whole(&rig, 23, 2).await;
    assert_eq!(rig.count(Table::Quarantine).await, 1);
    assert_eq!(rows_of(&rig, "other").await, 22);
    let catalog = Catalog::new(rig.store.clone());
    assert_eq!(catalog.held_sum().await.unwrap(), Default::default());
    assert!(catalog.held_paths().await.unwrap().is_empty());
}

async fn a_held_file_that_is_gone_keeps_its_tenant_and_nobody_else(rig: Rig) {
    refuse(&rig, "demo");
    let running = rig.run(impatient(&rig));
    for seq in 1..=5 {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    flushed(&running, rig.end()).await;
    let path = Catalog::new(rig.store.clone()).held_paths().await.unwrap().remove(0);
    let bytes = rig.stored(&path).unwrap();
    rig.tamper(&path, None).await;
    give_back(&rig, "demo");
    other(&rig, 1);
    flushed(&running, rig.end()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((held(&rig).await.len(), rows_of(&rig, "other").await), (1, 1));
    rig.tamper(&path, Some(&bytes)).await;
    let_go(&rig).await;
    running.stop().await.unwrap();
    whole(&rig, 5, 0).await;
}

/// The same at a real service, with a journal that would be full many times over if it kept what is held.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_does_not_fill_while_a_service_refuses_one_tenant() {
    let bao = TestBao::start().await.unwrap();
    let Rig { folder, journal, store, keyring, bucket } = crate::transit::held(&bao, 60).await;
    let mut options = JournalOptions::for_dir(folder.path().join("journal"));
    journal.close();
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    (options.segment_bytes, options.total_bytes_max, options.reserve_bytes) = (1 << 20, 4 << 20, 0);
    let bytes_max = options.total_bytes_max;
    let storage = Arc::new(DiskStorage::new(folder.path().join("journal")));
    let journal = Journal::open(options, storage, keyring.clone()).unwrap();
    let rig = Rig { folder, journal, store, keyring, bucket };
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    let keys: Vec<_> = rig.keyring.list().into_iter().filter(|key| key.tenant == Some(demo())).collect();
    assert_eq!(keys.len(), 3);
    let denied = |key: &KeyId| format!("path \"transit/encrypt/{key}\" {{ capabilities = [\"deny\"] }}\n");
    let policy = POLICY.to_owned() + &keys.iter().map(|key| denied(&key.id)).collect::<String>();
    let allow = |policy: String| {
        let form = serde_json::json!({ "policy": policy });
        let bao = &bao;
        async move { bao.ask(reqwest::Method::POST, "sys/policies/acl/wardline", &form).await.unwrap() }
    };
    allow(policy).await;
    // No frames: they end in the quarantine as they are.
    let junk: Vec<u8> = (0..16_384_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let running = rig.run(ArchiveOptions { flush_rows_max: 100, ..impatient(&rig) });
    let (mut appended, mut seq, mut junks, start) = (0, 1, 0, rig.journal.start());
    while appended < 2 * bytes_max {
        for _ in 0..20 {
            (seq, junks, appended) = (seq + 1, junks + 1, appended + junk.len() as u64);
            rig.frame(seq, &readings(&[seq as f64]));
            rig.publish(junk.clone(), PayloadFormat::Frame);
            other(&rig, seq);
        }
        flushed(&running, rig.end()).await;
        let passed = running.handle.progress().next_offset;
        rig.journal.retain_from(passed).unwrap();
    }
    assert!(rig.journal.start() > start, "the journal was trimmed past what is held");
    assert_eq!((rows_of(&rig, "demo").await, rows_of(&rig, "other").await as u64), (1, seq - 1));
    // As after a crash: the next worker knows whom it holds back from the catalog alone.
    running.task.abort();
    allow(POLICY.to_owned()).await;
    let running = rig.run(ArchiveOptions { flush_rows_max: 100, ..impatient(&rig) });
    let_go(&rig).await;
    flushed(&running, rig.end()).await;
    running.stop().await.unwrap();
    let found = verify(&rig).await;
    assert!(found.is_clean() && found.discrepancies.is_empty(), "{:?}", found.discrepancies);
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    let stream = streams.iter().find(|s| s.id.tenant == "demo" && s.id.epoch > 0).unwrap();
    assert!(stream.missing.is_empty() && stream.counts.archived == seq, "{stream:?}");
    assert_eq!((rows_of(&rig, "demo").await as u64, rig.count(Table::Quarantine).await), (seq, junks));
    println!("{seq} frames, {appended} bytes past a journal of {bytes_max}: each once");
}

/// A node whose journal was trimmed past it finds its chain's end: also when that is an act of a tenant that is held.
#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_a_node_goes_on_with_what_is_held() {
    let rig = Rig::new().await;
    refuse(&rig, "demo");
    let running = rig.run(impatient(&rig));
    for n in 1..=3 {
        let event = AuditEvent {
            actor: "spiffe://wardline.local/tenant/demo/device/mon-1".into(),
            node: "aa".into(),
            n,
            hash: vec![n as u8; 32],
            outbox_id: 10 * n,
            ..AuditEvent::default()
        };
        rig.append(JournalRecord { ingested_at_us: NOW_US, kind: Some(Kind::Audit(event)) }.encode_to_vec());
    }
    flushed(&running, rig.end()).await;
    running.stop().await.unwrap();
    assert_eq!(rig.count(Table::Audit).await, 0, "all of them are held");
    let heads = rig.reader().audit_heads().await.unwrap();
    let told: Vec<_> = heads.iter().map(|head| (head.n, head.hash.clone(), head.outbox_id)).collect();
    assert_eq!(told, [(3, vec![3; 32], 30)]);
}

/// What was erased while it was held back never becomes a row.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_while_it_is_held_is_no_row_afterwards() {
    let rig = Rig::new().await;
    wear(&rig).await;
    refuse(&rig, "demo");
    let options = || ArchiveOptions { hold_after: Duration::ZERO, ..eager(&rig) };
    let running = rig.run(ArchiveOptions { hold_retry_min: Duration::from_millis(20), ..options() });
    for seq in 1..=10 {
        rig.frame(seq, &at(seq as i64 - 5, &[seq as f64]));
    }
    flushed(&running, rig.end()).await;
    rig.store.ask_erasure(&change(), &demo(), "p-ada", false).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    give_back(&rig, "demo");
    let_go(&rig).await;
    running.stop().await.unwrap();
    let left: Vec<f64> = values(&rig).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(left, [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    let stream = streams.iter().find(|s| s.id.epoch > 0).unwrap();
    assert!(
        stream.missing.is_empty() && (stream.counts.archived, stream.counts.erased) == (6, 4),
        "{stream:?}"
    );
}
