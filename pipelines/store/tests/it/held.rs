//! Records that are held back: named, counted off and let go by whoever has the right to commit, and by nobody else.

use crate::rig::on_both;
use std::collections::BTreeSet;
use wardline_store::Store;
use wardline_store::catalog::{Catalog, Commit, CommitError, HeldFile, TakenBack};
use wardline_store::cluster::Claim;

const ROLE: &str = "archive";

fn file(partition: u16, offset_first: u64) -> HeldFile {
    HeldFile {
        path: format!("held/demo/2026-11-21/{partition}/{offset_first}.sealed"),
        tenant: "demo".to_owned(),
        partition,
        offset_first,
        offset_last: offset_first + 9,
        records: 10,
        taken: 0,
        bytes: 100,
        sha256: vec![1; 32],
        sealed_key: vec![2; 60],
    }
}

fn demo() -> BTreeSet<String> {
    BTreeSet::from(["demo".to_owned()])
}

fn holding(lease: u64, (from_offset, next_offset): (u64, u64), held: HeldFile) -> Commit {
    let standing = wardline_store::cluster::Standing { next_offset, ..Default::default() };
    Commit { lease, from_offset, next_offset, held: vec![held], standing, ..Commit::default() }
}

fn taking(lease: u64, at: u64, path: &str, (from, to): (u64, Option<u64>)) -> Commit {
    let taken_back = vec![TakenBack { path: path.to_owned(), from, to }];
    let standing = wardline_store::cluster::Standing { next_offset: at, ..Default::default() };
    Commit { lease, from_offset: at, next_offset: at, taken_back, standing, ..Commit::default() }
}

#[test]
fn records_are_counted_off_once_and_their_file_goes_with_the_last() {
    on_both(|store| async move {
        let catalog = Catalog::new(store);
        let lease = catalog.take_over(0, 1).await.unwrap().number;
        catalog.hold_back(lease, &demo(), 5).await.unwrap();
        catalog.hold_back(lease, &demo(), 6).await.unwrap();
        let held = file(3, 0);
        catalog.commit(&holding(lease, (0, 10), held.clone())).await.unwrap();
        assert_eq!(catalog.held_tenants().await.unwrap(), demo());
        assert_eq!(catalog.held_files("demo", 9).await.unwrap(), std::slice::from_ref(&held));
        assert!(!catalog.let_go(lease, "demo").await.unwrap(), "records of it are held");
        assert_eq!(catalog.moment(&[]).await.unwrap().held, demo());
        catalog.commit(&taking(lease, 10, &held.path, (0, Some(4)))).await.unwrap();
        let again = catalog.commit(&taking(lease, 10, &held.path, (0, Some(4)))).await;
        assert!(matches!(again, Err(CommitError::Fenced)), "counted off once");
        let sum = catalog.held_sum().await.unwrap();
        assert_eq!((sum.records, sum.bytes), (6, 100));
        catalog.commit(&taking(lease, 10, &held.path, (4, None))).await.unwrap();
        assert!(matches!(
            catalog.commit(&taking(lease, 10, &held.path, (4, None))).await,
            Err(CommitError::Fenced)
        ));
        assert!(catalog.held_paths().await.unwrap().is_empty());
        assert_eq!(catalog.retired(None).await.unwrap(), [held.path]);
        assert_eq!(catalog.held_tenants().await.unwrap(), demo(), "until it is let go");
        assert!(catalog.let_go(lease, "demo").await.unwrap());
        assert!(catalog.held_tenants().await.unwrap().is_empty());
        assert!(catalog.moment(&[]).await.unwrap().held.is_empty());
    });
}

async fn take(store: &Store, partition: usize, holder: &str) -> Claim {
    let rows = store.leases(ROLE).await.unwrap();
    store.take_lease(ROLE, (&rows[partition], 2), holder).await.unwrap().unwrap()
}

#[test]
fn a_worker_whose_lease_was_taken_holds_takes_and_lets_go_nothing() {
    on_both(|store| async move {
        store.make_leases(ROLE, 2).await.unwrap();
        let first = Catalog::of_partition(store.clone(), take(&store, 1, "a").await);
        let neighbour = Catalog::of_partition(store.clone(), take(&store, 0, "a").await);
        first.hold_back(0, &demo(), 5).await.unwrap();
        let held = file(3, 0);
        first.commit(&holding(0, (0, 10), held.clone())).await.unwrap();
        assert!(neighbour.held_tenants().await.unwrap().is_empty(), "each partition has its own");
        assert!(neighbour.held_files("demo", 9).await.unwrap().is_empty());
        let second = Catalog::of_partition(store.clone(), take(&store, 1, "b").await);
        let late = [
            first.commit(&taking(0, 10, &held.path, (0, None))).await,
            first.commit(&holding(0, (10, 20), file(3, 10))).await,
            first.hold_back(0, &BTreeSet::from(["other".to_owned()]), 6).await,
            first.let_go(0, "demo").await.map(drop),
        ];
        assert!(late.iter().all(|late| matches!(late, Err(CommitError::Fenced))), "{late:?}");
        // Who has it now knows whom it holds back, and of what.
        assert_eq!(second.held_tenants().await.unwrap(), demo());
        assert_eq!(second.held_files("demo", 9).await.unwrap(), std::slice::from_ref(&held));
        second.commit(&taking(0, 10, &held.path, (0, None))).await.unwrap();
        assert!(second.let_go(0, "demo").await.unwrap());
        assert!(second.held_tenants().await.unwrap().is_empty());
    });
}

/// What one machine held back is found by the worker of each partition when there are several.
#[test]
fn what_one_machine_held_back_is_its_partitions_workers_later() {
    on_both(|store| async move {
        let alone = Catalog::new(store.clone());
        let lease = alone.take_over(0, 1).await.unwrap().number;
        alone.hold_back(lease, &demo(), 5).await.unwrap();
        alone.commit(&holding(lease, (0, 10), file(2, 0))).await.unwrap();
        alone.commit(&holding(lease, (10, 20), file(3, 10))).await.unwrap();
        store.make_leases(ROLE, 2).await.unwrap();
        for partition in [0, 1] {
            let claim = take(&store, partition, "a").await;
            let catalog = Catalog::of_partition(store.clone(), claim);
            assert_eq!(catalog.held_tenants().await.unwrap(), demo());
            let files = catalog.held_files("demo", 9).await.unwrap();
            assert!(files.len() == 1 && usize::from(files[0].partition) == 2 + partition, "{files:?}");
        }
    });
}
