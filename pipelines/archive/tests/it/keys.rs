//! Keys are renewed without a word to the data, and destroyed with it.

use crate::rig::{NOW_US, Rig, files_below, key, readings};
use std::time::Duration;
use wardline_archive::verify::{Discrepancy, Verifier};
use wardline_archive::{ArchiveError, ArchiveOptions, Table};
use wardline_journal::{KeyPurpose, Keyring};
use wardline_store::registry::Change;

/// Another process on the same keyring.
fn another(rig: &Rig) -> Keyring {
    Keyring::open(rig.keyring.path()).unwrap()
}

/// Returns how many files of readings name a master key in their clear bytes.
fn files_under(rig: &Rig, id: &str) -> usize {
    let numerics = files_below(&rig.archive_dir().join("numerics"));
    let names = |bytes: &[u8]| bytes.windows(id.len()).any(|window| window == id.as_bytes());
    numerics.iter().filter(|file| names(&std::fs::read(file).unwrap())).count()
}

fn merging(rig: &Rig) -> ArchiveOptions {
    let (at_once, none) = (Some(Duration::ZERO), Duration::ZERO);
    ArchiveOptions { compact_interval: at_once, compact_files_min: 2, retired_grace: none, ..rig.options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_key_is_for_new_files_and_merging_brings_the_old_ones_under_it() {
    let rig = Rig::new().await;
    rig.frame(1, &readings(&[91.0]));
    rig.archive().await;
    let tenant = key().tenant;
    let old = rig.keyring.ensure(KeyPurpose::Footer, Some(&tenant)).unwrap();
    let before = std::fs::read(&files_below(&rig.archive_dir().join("numerics"))[0]).unwrap();
    let new = another(&rig).rotate(KeyPurpose::Footer, Some(&tenant)).unwrap();
    rig.frame(2, &readings(&[92.0]));
    rig.archive().await;
    assert_eq!((files_under(&rig, old.as_str()), files_under(&rig, new.as_str())), (1, 1));
    let files = files_below(&rig.archive_dir().join("numerics"));
    assert!(files.iter().any(|file| std::fs::read(file).unwrap() == before), "nothing was rewritten");
    assert_eq!(rig.count(Table::Numerics).await, 2, "both are readable");
    for seq in 3..=4 {
        rig.frame(seq, &readings(&[93.0]));
        rig.run(merging(&rig)).finish(rig.end()).await.unwrap();
    }
    assert_eq!((files_under(&rig, old.as_str()), rig.count(Table::Numerics).await), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shredded_tenant_is_unreadable_and_the_archive_goes_on() {
    let rig = Rig::new().await;
    for seq in 1..=2 {
        rig.frame(seq, &readings(&[91.0]));
        rig.archive().await;
    }
    let tenant = key().tenant;
    rig.store.begin_shred(&Change::new("os:test@here", NOW_US), &tenant).await.unwrap();
    assert_eq!(another(&rig).shred(&tenant).unwrap().len(), 3);
    let reader = rig.reader();
    for file in reader.files(Some(Table::Numerics)).await.unwrap() {
        assert!(
            matches!(reader.read(&file), Err(ArchiveError::Parquet(_))),
            "a refusal, not an empty answer"
        );
    }
    let mut verifier = Verifier::start(rig.reader()).await.unwrap();
    while verifier.step() {}
    let found = verifier.finish().await.unwrap();
    let of_tenant = |d: &&Discrepancy| matches!(d, Discrepancy::Shredded(_));
    assert!(found.is_clean() && found.discrepancies.iter().filter(of_tenant).count() >= 2);
    // The worker that wrote under the old keys goes on under new ones, and merges what can be read.
    for seq in 3..=9 {
        rig.frame(seq, &readings(&[95.0]));
        rig.run(merging(&rig)).finish(rig.end()).await.unwrap();
    }
    let files = reader.files(Some(Table::Numerics)).await.unwrap();
    let readable: usize =
        files.iter().filter_map(|f| reader.read(f).ok()).flatten().map(|b| b.unwrap().num_rows()).sum();
    assert_eq!(readable, 7, "what came after is readable");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_after_a_shredding_is_merged_as_everybodys() {
    let rig = Rig::new().await;
    rig.execute("INSERT INTO tenant_shred (tenant, asked_at_us, done_at_us) VALUES ('demo', 1, 2)").await;
    for seq in 1..=6 {
        rig.frame(seq, &readings(&[95.0]));
        rig.run(merging(&rig)).finish(rig.end()).await.unwrap();
    }
    let files = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    assert!(files.len() <= 2, "{} files of six commits", files.len());
    assert_eq!(rig.count(Table::Numerics).await, 6);
    // What is under destroyed keys stays as it is.
    rig.execute("UPDATE tenant_shred SET done_at_us = 1792300000000000").await;
    for seq in 7..=9 {
        rig.frame(seq, &readings(&[95.0]));
        rig.run(merging(&rig)).finish(rig.end()).await.unwrap();
    }
    assert_eq!(rig.reader().files(Some(Table::Numerics)).await.unwrap().len(), files.len() + 3);
}
