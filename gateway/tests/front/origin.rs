//! A journal that is not the one that the database's positions count in.

use crate::support::{PATIENCE, Stand, TOPIC, data_dir, publish};
use std::path::Path;
use std::time::Duration;
use wardline::node::{Node, NodeOptions, Roles};
use wardline_store::StoreUrl;
use wardline_store::catalog::Catalog;

fn quick(options: &mut NodeOptions) {
    options.roles = Roles::default();
    options.archive.flush_interval = Duration::from_millis(200);
}

async fn stand(dir: Option<tempfile::TempDir>) -> Stand {
    match dir {
        None => Stand::with(quick).await,
        Some(dir) => Stand::again_with(dir, quick).await,
    }
}

/// Publishes, and waits until all that is in the journal was read by the archive. Returns how far that is.
async fn archived(stand: &Stand, ids: std::ops::RangeInclusive<u16>) -> u64 {
    let mut client = stand.session("mon-1", 5).await;
    for id in ids {
        client
            .send(&publish(
                5,
                1,
                id,
                TOPIC,
                b"{\"readings\":[{\"code\":\"MDC_PULS_OXIM_SAT_O2\",\"value\":97}]}",
            ))
            .await;
        assert_eq!(client.packet().await.unwrap()[0] >> 4, 4, "acknowledged");
    }
    let end = stand.node.journal().durable_end().get();
    let catalog = Catalog::new(stand.node.store().clone());
    let read = async {
        while catalog.position().await.unwrap().unwrap_or_default() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE * 3, read).await;
    let at = catalog.position().await;
    assert!(done.is_ok(), "{end} is not reached but {at:?}, from {}", stand.node.journal().start());
    end
}

async fn refused(dir: &Path) {
    refused_with(dir, |_| {}).await;
}

async fn refused_with(dir: &Path, change: impl FnOnce(&mut NodeOptions)) {
    let mut options = NodeOptions::on_loopback(dir);
    options.roles = Roles::default();
    change(&mut options);
    let error = Node::start(options).await.map(drop).unwrap_err().to_string();
    assert!(error.starts_with("WL-JRN-003"), "{error}");
}

#[tokio::test]
async fn a_second_gateway_with_an_empty_folder_takes_nothing_from_a_living_one() {
    let first = stand(None).await;
    let end = archived(&first, 1..=5).await;
    let beside = data_dir().await;
    let store = first.dir.path().join("wardline.db");
    refused_with(beside.path(), |options| options.store = StoreUrl::file(store.clone())).await;
    assert!(!beside.path().join("journal").join("id").exists(), "it has no journal");
    let other = Some("0".repeat(32));
    refused_with(beside.path(), |options| {
        (options.store, options.replaced_journal) = (StoreUrl::file(store), other);
    })
    .await;
    assert!(archived(&first, 6..=10).await > end, "the first goes on");
    first.node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_new_journal_goes_on_behind_the_positions_and_a_foreign_one_is_refused() {
    let first = stand(None).await;
    let end = archived(&first, 1..=20).await;
    let Stand { dir, node } = first;
    node.shutdown().await.unwrap();
    // The disk of the journal is replaced by an empty one.
    let (folder, kept) = (dir.path().join("journal"), dir.path().join("kept"));
    std::fs::rename(&folder, &kept).unwrap();
    refused(dir.path()).await;
    let lost = std::fs::read_to_string(kept.join("id")).unwrap().trim().to_owned();
    let second = Stand::again_with(dir, |options| {
        quick(options);
        options.replaced_journal = Some(lost.clone());
    })
    .await;
    assert!(second.node.journal().start().get() >= end, "no number is used twice");
    // Many more than the first wrote at its end, behind what was read of it.
    let end = archived(&second, 21..=60).await;
    let Stand { dir, node } = second;
    node.shutdown().await.unwrap();
    // The old folder comes back from somewhere.
    let current = dir.path().join("current");
    std::fs::rename(&folder, &current).unwrap();
    std::fs::rename(&kept, &folder).unwrap();
    let before = names(&folder);
    refused(dir.path()).await;
    refused_with(dir.path(), |options| options.replaced_journal = Some(lost)).await;
    assert_eq!(names(&folder), before, "nothing was removed");
    // Its id alone does not help: it ends before what was read.
    std::fs::copy(current.join("id"), folder.join("id")).unwrap();
    refused(dir.path()).await;
    // Without its id nobody can tell.
    std::fs::remove_file(folder.join("id")).unwrap();
    refused(dir.path()).await;
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&current, &folder).unwrap();
    let third = stand(Some(dir)).await;
    assert!(archived(&third, 61..=62).await > end);
    third.node.shutdown().await.unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".wal") && name.starts_with('0'))
        .collect();
    names.sort();
    names
}
