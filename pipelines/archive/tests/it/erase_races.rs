//! Erasures among what goes on beside them: other erasures, frames that come late, a hold, another tenant's damage.

use crate::erase::{at, change, eager, forgotten, rewrite, tenant, values, wear};
use crate::rig::{NOW_US, Rig, frame, key, quarantine};
use crate::verify::verify;
use prost::Message;
use std::time::Duration;
use wardline_archive::proof::{Proof, Scan};
use wardline_archive::{ArchiveOptions, Table};
use wardline_journal::{Class, Record};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{Body, JournalRecord, PayloadFormat, Publish, UpChannel};
use wardline_proto::{DeviceKey, TenantId};
use wardline_store::registry::{NewBinding, NewDevice};

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_asked_for_while_a_list_is_in_hand_has_its_own_turn() {
    let rig = Rig::new().await;
    wear(&rig).await;
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    rig.store.ask_erasure(&change(), &tenant(), "p-bob", false).await.unwrap();
    // Bob's comes with the first file of numerics: that is committed between Ada's list and her job.
    for statement in [
        "CREATE TABLE later AS SELECT * FROM erasure ORDER BY rowid DESC LIMIT 1",
        "CREATE TABLE later_range AS SELECT * FROM erasure_range WHERE erasure_id IN (SELECT erasure_id FROM later)",
        "CREATE TABLE sooner AS SELECT * FROM erasure ORDER BY rowid LIMIT 1",
        "CREATE TABLE sooner_range AS SELECT * FROM erasure_range WHERE erasure_id IN (SELECT erasure_id FROM sooner)",
        "DELETE FROM erasure_range",
        "DELETE FROM erasure",
        "CREATE TRIGGER bob AFTER INSERT ON archive_file WHEN NEW.table_name = 'numerics' AND NOT EXISTS \
         (SELECT 1 FROM erasure WHERE erasure_id IN (SELECT erasure_id FROM later)) \
         BEGIN INSERT INTO erasure SELECT * FROM later; INSERT INTO erasure_range SELECT * FROM later_range; END",
    ] {
        rig.execute(statement).await;
    }
    rig.frame(1, &at(60, &[95.0]));
    let late = ArchiveOptions { flush_interval: Duration::from_secs(600), ..eager(&rig) };
    let running = rig.run(late);
    // The frame is taken, and waits.
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.execute("INSERT INTO erasure_range SELECT * FROM sooner_range").await;
    rig.execute("INSERT INTO erasure SELECT * FROM sooner").await;
    let erasures = async || rig.store.erasures(None).await.unwrap();
    let is_done = async || {
        let erasures = erasures().await;
        erasures.len() == 2 && erasures.iter().all(|erasure| erasure.rewritten_at_us.is_some())
    };
    let mut turns = 0;
    while !is_done().await {
        assert!(!running.task.is_finished(), "the worker has ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
        turns += 1;
        if turns == 1000 {
            // On a machine so busy that the frame came after Ada's turn.
            running.handle.flush_to(rig.end()).await.unwrap();
        }
    }
    running.stop().await.unwrap();
    let rows: u64 = erasures().await.iter().flat_map(|erasure| &erasure.counts).map(|count| count.rows).sum();
    assert_eq!(rows, 1, "who is told to be rewritten was struck");
    rig.execute("DELETE FROM erasure_range").await;
    assert_eq!(values(&rig).await, [], "nothing is left that only the list kept from readers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_frame_that_gets_no_place_is_not_kept_whole_when_some_of_it_was_erased() {
    let rig = Rig::new().await;
    wear(&rig).await;
    rig.frame(1, &at(5, &[97.0]));
    rig.archive().await;
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    rewrite(&rig).await;
    // Other content at a place that is taken: all of it Ada's, some of it, and none.
    rig.frame(1, &at(-100, &[91.0]));
    rig.frame(1, &at(-1, &[92.0, 52.0]));
    rig.frame(1, &at(7, &[93.0]));
    rig.archive().await;
    let kept = quarantine(&rig).await;
    assert_eq!(kept.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["WL-Q-007"]);
    rig.execute("DELETE FROM erasure_range").await;
    assert_eq!(quarantine(&rig).await, kept, "nor does a file hold what readers are not given");
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    let stream = streams.iter().find(|stream| stream.id.epoch > 0).unwrap();
    assert_eq!((stream.counts.archived, stream.counts.erased, stream.counts.quarantined), (1, 2, 1));
    assert_eq!((stream.last_seq, stream.missing.len()), (Some(1), 0));
}

/// Merges what there is after each commit.
fn merging(rig: &Rig, retired_grace: Duration) -> ArchiveOptions {
    ArchiveOptions {
        compact_interval: Some(Duration::ZERO),
        compact_files_min: 2,
        retired_grace,
        ..eager(rig)
    }
}

async fn walk(mut scan: Scan) -> Proof {
    loop {
        scan = tokio::task::spawn_blocking(move || {
            while scan.step() {}
            scan
        })
        .await
        .unwrap();
        if !scan.list_again().await.unwrap() {
            return scan.finish();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_is_proven_while_the_tenant_sends_and_its_files_are_merged() {
    let rig = forgotten().await;
    let erasure = rig.store.erasures(None).await.unwrap().remove(0);
    let mut seq = 2;
    let mut send = async |running: &crate::rig::Running, frames: u64| {
        for _ in 0..frames {
            rig.frame(seq, &at(seq as i64, &[seq as f64]));
            seq += 1;
            running.handle.flush_to(rig.end()).await.unwrap();
        }
    };
    let running = rig.run(merging(&rig, Duration::from_secs(600)));
    send(&running, 6).await;
    assert!(!rig.reader().retired().await.unwrap().is_empty(), "merged, and still there for readers");
    let held_up = Scan::start(rig.reader(), &erasure).await.unwrap();
    let proof = walk(held_up).await;
    assert!(proof.holds(), "{proof:?}");
    let listed = Scan::start(rig.reader(), &erasure).await.unwrap();
    running.stop().await.unwrap();
    // What was listed is merged away and removed before it is read.
    let running = rig.run(merging(&rig, Duration::ZERO));
    send(&running, 4).await;
    running.stop().await.unwrap();
    let proof = walk(listed).await;
    assert!(proof.holds() && proof.rows >= 10, "the rows were found where they are now: {proof:?}");
    // What is named and is not there still counts, and so does what nobody names.
    let file = rig.reader().files(Some(Table::Numerics)).await.unwrap().remove(0);
    let scan = Scan::start(rig.reader(), &erasure).await.unwrap();
    rig.tamper(&file.path, None).await;
    assert_eq!(walk(scan).await.against, std::slice::from_ref(&file.path));
    rig.tamper(&file.path.replace(".parquet", ".old"), Some(b"rows")).await;
    let scan = Scan::start(rig.reader(), &erasure).await.unwrap();
    assert_eq!(walk(scan).await.against.len(), 2);
}

/// Appends a frame of another tenant's device.
pub(crate) fn publish(rig: &Rig, key: &DeviceKey, seq: u64, body: &Body) {
    let publish = Publish {
        tenant: key.tenant.to_string(),
        device: key.device.to_string(),
        channel: UpChannel::Telemetry.into(),
        payload: frame(seq, body).into(),
        content: PayloadFormat::Frame.into(),
        ..Publish::default()
    };
    let record = JournalRecord { ingested_at_us: NOW_US, kind: Some(Kind::Publish(publish)) };
    let payload = record.encode_to_vec().into();
    let record = Record { partition: key.partition(), class: Class::Telemetry, payload };
    let _of_no_device = rig.journal.append(record).unwrap();
}

/// Lets another tenant's patient wear a device of the same name.
async fn eve(rig: &Rig) -> DeviceKey {
    let other = DeviceKey { tenant: TenantId::new("other").unwrap(), ..key() };
    rig.store.register_device(&change(), &NewDevice::bare(other.clone())).await.unwrap();
    let binding = NewBinding { device: other.clone(), subject: "p-eve".into(), from_us: 1, until_us: None };
    rig.store.bind(&change(), &binding).await.unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_damage_neither_stops_anothers_erasure_nor_is_told_of_there() {
    let rig = Rig::new().await;
    wear(&rig).await;
    let other = eve(&rig).await;
    rig.frame(1, &at(-100, &[91.0]));
    publish(&rig, &other, 1, &at(-100, &[81.0]));
    rig.archive().await;
    let files = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    let damaged = files.iter().find(|file| file.tenant == "demo").unwrap();
    rig.tamper(&damaged.path, Some(b"damaged")).await;
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    rig.store.ask_erasure(&change(), &other.tenant, "p-eve", false).await.unwrap();
    let running = rig.run(eager(&rig));
    let of = async |tenant: &str| rig.store.erasures(Some(tenant)).await.unwrap().remove(0);
    while of("demo").await.problem.is_empty() || of("other").await.rewritten_at_us.is_none() {
        assert!(!running.task.is_finished() && of("other").await.problem.is_empty());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await.unwrap();
    let (demo, other) = (of("demo").await, of("other").await);
    assert!(demo.rewritten_at_us.is_none() && demo.problem.contains(&damaged.path), "{demo:?}");
    assert_eq!((other.problem.as_str(), other.counts[0].rows), ("", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_under_a_legal_hold_is_kept_and_kept_from_readers() {
    let rig = forgotten().await;
    rig.store.set_hold(&change(), &tenant(), "case 17").await.unwrap();
    rig.frame(2, &at(-90, &[92.0]));
    rig.frame(3, &at(-1, &[93.0, 53.0]));
    rig.archive().await;
    let kept = async || values(&rig).await.into_iter().map(|row| row.1).collect::<Vec<_>>();
    assert_eq!(kept().await, [53.0]);
    let found = verify(&rig).await;
    assert!(found.is_clean() && found.erased == 2, "in their files: {found:?}");
    rig.store.release_hold(&change(), &tenant()).await.unwrap();
    rewrite(&rig).await;
    assert_eq!(kept().await, [53.0]);
    assert_eq!(verify(&rig).await.erased, 0, "and gone when nothing forbids it any more");
    rig.frame(4, &at(-80, &[94.0]));
    rig.archive().await;
    assert_eq!((kept().await, verify(&rig).await.erased), (vec![53.0], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_released_while_its_list_is_in_hand_ends_no_erasure() {
    let rig = Rig::new().await;
    wear(&rig).await;
    rig.frame(1, &at(-100, &[91.0]));
    rig.archive().await;
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    let running = rig.run(ArchiveOptions { erasure_poll: Duration::from_millis(700), ..eager(&rig) });
    let until = async |done: &dyn Fn(bool, bool) -> bool| loop {
        let is_held = !rig.store.holds().await.unwrap().is_empty();
        let is_rewritten = rig.store.erasures(None).await.unwrap()[0].rewritten_at_us.is_some();
        if done(is_held, is_rewritten) {
            return;
        }
        assert!(!running.task.is_finished(), "the worker has ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    until(&|_, is_rewritten| is_rewritten).await;
    // It goes when the worker has read it, and opens the erasures of its tenant.
    rig.execute(
        "CREATE TRIGGER released AFTER UPDATE ON erasure WHEN OLD.rewritten_at_us IS NOT NULL \
         AND NEW.rewritten_at_us IS NULL BEGIN DELETE FROM legal_hold; END",
    )
    .await;
    rig.store.set_hold(&change(), &tenant(), "case 17").await.unwrap();
    until(&|is_held, is_rewritten| !is_held && is_rewritten).await;
    rig.frame(2, &at(-90, &[92.0]));
    running.handle.flush_to(rig.end()).await.unwrap();
    assert_eq!(values(&rig).await, [], "it is rewritten: nothing of it is in a file");
    running.stop().await.unwrap();
    assert_eq!(verify(&rig).await.erased, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_heard_of_while_another_tenants_erasure_does_not_go_on() {
    let rig = Rig::new().await;
    wear(&rig).await;
    let other = eve(&rig).await;
    rig.frame(1, &at(-100, &[91.0]));
    rig.archive().await;
    rig.store.ask_erasure(&change(), &other.tenant, "p-eve", false).await.unwrap();
    rewrite(&rig).await;
    let damaged = rig.reader().files(Some(Table::Numerics)).await.unwrap().remove(0);
    rig.tamper(&damaged.path, Some(b"damaged")).await;
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    let running = rig.run(eager(&rig));
    let of = async |tenant: &str| rig.store.erasures(Some(tenant)).await.unwrap().remove(0);
    while of("demo").await.problem.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It is tried again after half a minute.
    rig.store.set_hold(&change(), &other.tenant, "case 17").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    publish(&rig, &other, 1, &at(-100, &[81.0]));
    running.handle.flush_to(rig.end()).await.unwrap();
    running.stop().await.unwrap();
    let files = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    assert_eq!(files.iter().filter(|file| file.tenant == "other").map(|file| file.rows).sum::<u64>(), 1);
    assert!(of("other").await.rewritten_at_us.is_none(), "kept from readers");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_once_makes_no_commit_more_frequent() {
    let rig = forgotten().await;
    let running = rig.run(ArchiveOptions { flush_interval: Duration::from_secs(600), ..eager(&rig) });
    rig.frame(2, &at(7, &[93.0]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(values(&rig).await, [], "twenty looks for erasures, and no commit");
    running.handle.flush_to(rig.end()).await.unwrap();
    assert_eq!(values(&rig).await.len(), 1);
    running.stop().await.unwrap();
}
