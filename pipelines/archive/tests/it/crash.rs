//! Exactly once whatever is killed, and honest about what cannot be mended.

use crate::rig::{Rig, on_both, readings};
use std::time::Duration;
use wardline_archive::{ArchiveError, ErrorKind, Table};
use wardline_store::catalog::Catalog;

on_both! {
    a_worker_killed_at_any_moment_archives_exactly_once,
    a_second_worker_is_fenced_off,
    a_changed_file_is_not_read,
}

async fn a_worker_killed_at_any_moment_archives_exactly_once(rig: Rig) {
    let mut seq = 0;
    for round in 0..25_u64 {
        for _ in 0..20 {
            seq += 1;
            rig.frame(seq, &readings(&[seq as f64]));
        }
        let options = wardline_archive::ArchiveOptions { flush_rows_max: 7, ..rig.options() };
        let running = rig.run(options);
        tokio::time::sleep(rig.pace(round * 4)).await;
        running.task.abort();
        let _cancelled = running.task.await;
    }
    rig.age().await;
    rig.archive().await;
    assert_eq!(rig.count(Table::Numerics).await, 500);
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    assert!(streams.iter().all(|s| s.missing.is_empty() && s.counts.duplicates == 0));
    let committed = rig.reader().files(None).await.unwrap().len();
    assert_eq!(rig.files_there().await, committed, "nothing uncommitted is left");
}

async fn a_second_worker_is_fenced_off(rig: Rig) {
    let first = rig.run(rig.options());
    first.handle.flush_to(rig.end()).await.unwrap();
    Catalog::new(rig.store.clone()).take_over(0, 0).await.unwrap();
    let lost = first.handle.flush_to(rig.end()).await;
    assert!(matches!(lost, Err(ArchiveError::Closed)));
    assert!(matches!(first.task.await.unwrap(), Err(ArchiveError::Fenced)));
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fails_is_tried_again_without_loss() {
    let rig = Rig::new().await;
    rig.frame(1, &readings(&[1.0]));
    let end = rig.end();
    std::fs::write(rig.archive_dir(), b"in the way").unwrap();
    let running = rig.run(rig.options());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!running.task.is_finished(), "a storage failure does not end the worker");
    std::fs::remove_file(rig.archive_dir()).unwrap();
    running.finish(end).await.unwrap();
    assert_eq!(rig.count(Table::Numerics).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_journal_is_refused() {
    let rig = Rig::new().await;
    Catalog::new(rig.store.clone()).take_over(1_000_000, 0).await.unwrap();
    let error = rig.run(rig.options()).task.await.unwrap().unwrap_err();
    assert!(matches!(error, ArchiveError::Position(_)) && error.kind() == ErrorKind::Fatal);
}

async fn a_changed_file_is_not_read(rig: Rig) {
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    let reader = rig.reader();
    let file = &reader.files(Some(Table::Numerics)).await.unwrap()[0];
    let mut bytes = rig.stored(&file.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    rig.tamper(&file.path, Some(&bytes)).await;
    assert!(matches!(reader.read(file), Err(ArchiveError::FileChanged(_))));
}
