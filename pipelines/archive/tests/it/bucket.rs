//! What a bucket does that a folder does not: it is away, it refuses, it loses an answer, it is somebody else's.

use crate::rig::{Rig, readings, store};
use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt, PutPayload};
use std::time::Duration;
use wardline_archive::bucket::BucketError;
use wardline_archive::read::ArchiveReader;
use wardline_archive::testing::{BUCKET, READER_KEY, TestSeaweed, Wire};
use wardline_archive::{
    ArchiveError, ArchiveMetrics, ArchiveOptions, ArchiveService, ErrorKind, Files, Table,
};

fn service(rig: &Rig) -> ArchiveService {
    let metrics = std::sync::Arc::new(ArchiveMetrics::default());
    let (journal, store, keyring) = (rig.journal.clone(), rig.store.clone(), rig.keyring.clone());
    ArchiveService::new(rig.options(), journal, store, keyring, metrics)
}

/// Puts `[archive.bucket]` into the data directory and opens the archive as every command does.
async fn opened(rig: &Rig, settings: &str) -> Result<ArchiveReader, ArchiveError> {
    let text = format!("[archive]\nflush_interval_ms = 500\n[archive.bucket]\n{settings}");
    std::fs::write(rig.folder.path().join("wardline.toml"), text).unwrap();
    ArchiveReader::open(rig.folder.path()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_answer_is_lost_neither_loses_nor_doubles() {
    let wire = Wire::to(store().await.port()).await.unwrap();
    let rig = Rig::in_bucket_at(wire.port()).await;
    for seq in 1..=20 {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    let end = rig.end();
    wire.swallow_puts(true);
    let options = ArchiveOptions { flush_rows_max: 1, ..rig.options() };
    let running = rig.run(options);
    while wire.swallowed() == 0 || rig.files_there().await == 0 {
        assert!(!running.task.is_finished());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(rig.reader().files(None).await.unwrap().is_empty());
    wire.swallow_puts(false);
    running.finish(end).await.unwrap();
    assert_eq!(rig.count(Table::Numerics).await, 20);
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    assert!(streams.iter().all(|s| s.missing.is_empty() && s.counts.duplicates == 0));
    rig.age().await;
    rig.archive().await;
    let committed = rig.reader().files(None).await.unwrap().len();
    assert_eq!(rig.files_there().await, committed, "what landed without a commit is swept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_waited_for_and_caught_up_with_once() {
    let mut store = tokio::task::spawn_blocking(TestSeaweed::start).await.unwrap().unwrap();
    let rig = Rig::in_bucket_at(store.port()).await;
    store.kill().unwrap();
    service(&rig).probe().await.unwrap();
    let reader = rig.place();
    let error = tokio::task::spawn_blocking(move || reader.read("x")).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Bucket(error @ BucketError::Away(..)) if error.refusal().code() == "WL-ARC-001")
    );
    assert!(error.kind() == ErrorKind::Retry && error.to_string().starts_with("WL-ARC-001: "), "{error}");
    let running = rig.run(rig.options());
    for seq in 1..=10 {
        rig.frame(seq, &readings(&[seq as f64]));
    }
    let end = rig.end();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!running.task.is_finished() && running.handle.progress().next_offset.get() == 0);
    let store = tokio::task::spawn_blocking(move || store.start_again().map(|()| store));
    let store = store.await.unwrap().unwrap();
    running.finish(end).await.unwrap();
    assert_eq!(rig.count(Table::Numerics).await, 10);
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_is_told_before_anything_is_served() {
    let (port, rig) = (store().await.port(), Rig::in_bucket().await);
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    let of = |user| TestSeaweed::settings(rig.folder.path(), port, "refused", user).unwrap();
    let probe = async |settings: &str| {
        let settings: wardline_archive::bucket::BucketSettings = toml::from_str(settings).unwrap();
        let other = Rig { bucket: Some(settings.resolve(rig.folder.path()).unwrap()), ..Rig::new().await };
        service(&other).probe().await.unwrap_err().to_string()
    };
    let unwritable = probe(&of(READER_KEY)).await;
    assert!(unwritable.starts_with("WL-ARC-002") && unwritable.contains("AccessDenied"), "{unwritable}");
    let unknown = probe(&of("nobody")).await;
    assert!(unknown.starts_with("WL-ARC-002") && unknown.contains("InvalidAccessKeyId"), "{unknown}");
    let none = probe(&of("wardline").replace(BUCKET, "nowhere")).await;
    assert!(none.starts_with("WL-ARC-002") && none.contains("NoSuchBucket"), "{none}");
    for (settings, code) in
        [(of("nobody"), "WL-ARC-002"), ("url = \"s3://x\"".into(), "[archive.bucket] url")]
    {
        let error = opened(&rig, &settings).await.unwrap_err().to_string();
        assert!(error.starts_with(code) && !error.contains(wardline_archive::testing::SECRET_KEY), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_of_another_archive_is_refused_and_left_alone() {
    let (rig, other) = (Rig::in_bucket().await, Rig::new().await);
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    rig.age().await;
    let other = Rig { bucket: rig.bucket.clone(), ..other };
    let error = service(&other).probe().await.unwrap_err();
    assert!(error.to_string().starts_with("WL-ARC-003") && error.kind() == ErrorKind::Fatal, "{error}");
    assert!(other.run(other.options()).task.await.unwrap().is_err());
    assert_eq!(rig.count(Table::Numerics).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_finds_the_bucket_by_the_settings() {
    let port = store().await.port();
    let rig = Rig::new().await;
    let prefix = TestSeaweed::fresh_prefix();
    let options = TestSeaweed::options(rig.folder.path(), port, &prefix).unwrap();
    let rig = Rig { bucket: Some(options), ..rig };
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    // A reader needs no right to write.
    let settings = TestSeaweed::settings(rig.folder.path(), port, &prefix, READER_KEY).unwrap();
    let reader = opened(&rig, &settings).await.unwrap();
    let file = &reader.files(Some(Table::Numerics)).await.unwrap()[0];
    assert_eq!(reader.read(file).unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 1);
    assert!(!rig.archive_dir().exists(), "nothing lies on this machine");
}

/// Says why an archive does not begin at a prefix.
async fn refused_at(prefix: &str) -> String {
    let other = Rig::new().await;
    let options = TestSeaweed::options(other.folder.path(), store().await.port(), prefix).unwrap();
    let other = Rig { bucket: Some(options), ..other };
    let error = service(&other).probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(other.run(other.options()).task.await.unwrap().is_err());
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_begins_neither_in_nor_around_another_and_not_among_other_data() {
    let rig = Rig::new().await;
    let (port, outer) = (store().await.port(), TestSeaweed::fresh_prefix());
    let options = TestSeaweed::options(rig.folder.path(), port, &format!("{outer}/icu")).unwrap();
    let rig = Rig { bucket: Some(options), ..rig };
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    rig.age().await;
    let around = refused_at(&outer).await;
    assert!(around.starts_with("WL-ARC-004") && around.contains("it holds icu/"), "{around}");
    let inside = refused_at(&format!("{outer}/icu/a/b")).await;
    let said = format!("it lies in the archive of s3://{BUCKET}/{outer}/icu;");
    assert!(inside.starts_with("WL-ARC-004") && inside.contains(&said), "{inside}");
    let Files::Bucket(bucket) = rig.place() else { panic!("a bucket") };
    let (other, none) = (format!("{outer}/other"), format!("{outer}/none"));
    let at = |path: String| ObjectPath::from(path);
    bucket.store().put(&at(format!("{other}/notes.txt")), PutPayload::from("theirs")).await.unwrap();
    let beside = refused_at(&other).await;
    assert!(beside.starts_with("WL-ARC-004") && beside.contains("it holds notes.txt"), "{beside}");
    assert_eq!(bucket.store().list(Some(&at(other))).count().await, 1, "nothing was written");
    assert_eq!(rig.count(Table::Numerics).await, 1);
    // Files that moved here with their catalog are at home.
    let moved = Rig::new().await;
    moved.frame(1, &readings(&[1.0]));
    moved.archive().await;
    for file in moved.reader().files(None).await.unwrap() {
        let bytes = PutPayload::from(moved.stored(&file.path).unwrap());
        bucket.store().put(&at(format!("{none}/{}", file.path)), bytes).await.unwrap();
    }
    let options = TestSeaweed::options(moved.folder.path(), port, &none).unwrap();
    let moved = Rig { bucket: Some(options), ..moved };
    moved.frame(2, &readings(&[2.0]));
    moved.archive().await;
    assert_eq!(moved.count(Table::Numerics).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_reached_over_tls_by_its_authority_alone() {
    let (rig, store) = (Rig::new().await, store().await);
    let prefix = TestSeaweed::fresh_prefix();
    let plain = TestSeaweed::settings(rig.folder.path(), store.port(), &prefix, "wardline").unwrap();
    let tls = plain.replace(
        &format!("http://127.0.0.1:{}", store.port()),
        &format!("https://127.0.0.1:{}", store.tls_port()),
    );
    let trusted = format!("{tls}ca_file = \"{}\"\n", store.ca_file().display());
    let of = |text: &str| {
        let settings: wardline_archive::bucket::BucketSettings = toml::from_str(text).unwrap();
        settings.resolve(rig.folder.path()).unwrap()
    };
    let rig = Rig { bucket: Some(of(&trusted)), ..rig };
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    // A front does not wait for a store, so what does not trust it is a reader.
    let error = opened(&rig, &format!("{tls}timeout_ms = 2000\n")).await.unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("WL-ARC-001") && said.contains("certificate"), "{said}");
    assert_eq!(error.kind(), ErrorKind::Retry);
    let reader = opened(&rig, &trusted).await.unwrap();
    let file = &reader.files(Some(Table::Numerics)).await.unwrap()[0];
    assert_eq!(reader.read(file).unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 1);
    assert!(!rig.archive_dir().exists(), "nothing lies on this machine");
}
