//! A clean archive verifies; each kind of damage is named.

use crate::rig::{Rig, on_both, readings};
use std::time::Duration;
use wardline_archive::verify::{Discrepancy, Verification, Verifier};
use wardline_archive::{ArchiveOptions, Table};

on_both! {
    a_whole_archive_is_clean_and_its_hole_is_known,
    a_file_that_is_merged_away_during_the_walk_is_not_missing,
    each_damage_is_named,
}

pub(crate) async fn verify(rig: &Rig) -> Verification {
    let mut verifier = Verifier::start(rig.reader()).await.unwrap();
    while verifier.step() {}
    verifier.finish().await.unwrap()
}

/// An archive of three files of readings, with one hole.
async fn archive(rig: &Rig) {
    for seq in [1, 2, 3, 5] {
        rig.frame(seq, &readings(&[seq as f64]));
        rig.archive().await;
    }
}

async fn numerics(rig: &Rig, at: usize) -> String {
    rig.reader().files(Some(Table::Numerics)).await.unwrap()[at].path.clone()
}

async fn a_whole_archive_is_clean_and_its_hole_is_known(rig: Rig) {
    archive(&rig).await;
    let found = verify(&rig).await;
    assert!(found.is_clean(), "{:?}", found.discrepancies);
    assert_eq!((found.discrepancies.len(), found.holes), (0, 1));
    assert!(found.rows >= 4 && found.streams >= 1 && found.files >= 4, "{found:?}");
}

/// A walk that lasts longer than the grace: its files are merged away before it comes to them.
async fn a_file_that_is_merged_away_during_the_walk_is_not_missing(rig: Rig) {
    archive(&rig).await;
    let mut verifier = Verifier::start(rig.reader()).await.unwrap();
    let listed = rig.reader().files(None).await.unwrap();
    let eager = ArchiveOptions {
        compact_interval: Some(Duration::ZERO),
        compact_files_min: 2,
        retired_grace: Duration::ZERO,
        ..rig.options()
    };
    let running = rig.run(eager);
    for _ in 0..10 {
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    let gone: Vec<_> = listed.iter().filter(|file| rig.stored(&file.path).is_none()).collect();
    let of = |table: Table| gone.iter().filter(|file| file.table == table.name()).count();
    assert!(of(Table::Numerics) > 0, "{gone:?}");
    let missing = numerics(&rig, 0).await;
    while verifier.step() {}
    let found = verifier.finish().await.unwrap();
    assert_eq!(found.discrepancies, [], "{} of {} files were merged away", gone.len(), listed.len());
    assert_eq!(found.files as usize, listed.len());
    // One that is gone and committed is missing all the same.
    let mut verifier = Verifier::start(rig.reader()).await.unwrap();
    rig.tamper(&missing, None).await;
    while verifier.step() {}
    assert_eq!(verifier.finish().await.unwrap().discrepancies, [Discrepancy::Missing(missing)]);
}

async fn each_damage_is_named(rig: Rig) {
    archive(&rig).await;
    let changed = numerics(&rig, 0).await;
    let mut bytes = rig.stored(&changed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    rig.tamper(&changed, Some(&bytes)).await;
    let missing = numerics(&rig, 1).await;
    rig.tamper(&missing, None).await;
    let stray = "numerics/demo/2026-10-18/0/stray.parquet".to_owned();
    std::fs::create_dir_all(rig.archive_dir().join("numerics/demo/2026-10-18/0")).unwrap();
    rig.tamper(&stray, Some(b"x")).await;
    let found = verify(&rig).await;
    let expected = [Discrepancy::Changed(changed), Discrepancy::Missing(missing), Discrepancy::Stray(stray)];
    assert_eq!(found.discrepancies, expected);
    assert!(!found.is_clean() && !expected[2].is_damage());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_says_otherwise_is_named() {
    for (statement, is_it) in [
        (
            "UPDATE archive_file SET row_count = row_count + 1 WHERE table_name = 'numerics'",
            (|d| matches!(d, Discrepancy::Rows(_, 1, 2))) as fn(&Discrepancy) -> bool,
        ),
        ("UPDATE archive_file SET time_max_us = 0 WHERE table_name = 'numerics'", |d| {
            matches!(d, Discrepancy::Times(_))
        }),
        ("UPDATE archive_file SET tenant = 'other' WHERE table_name = 'numerics'", |d| {
            matches!(d, Discrepancy::Tenant(_) | Discrepancy::Unseen(..))
        }),
        ("DELETE FROM archive_stream WHERE epoch > 0", |d| matches!(d, Discrepancy::Unseen(..))),
        ("UPDATE archive_stream SET seen = x'00ff' WHERE epoch > 0", |d| {
            matches!(d, Discrepancy::Catalog(_) | Discrepancy::Unseen(..))
        }),
    ] {
        let rig = Rig::new().await;
        archive(&rig).await;
        rig.execute(statement).await;
        let found = verify(&rig).await;
        assert!(found.discrepancies.len() >= 4, "{statement}: {:?}", found.discrepancies);
        assert!(found.discrepancies.iter().all(is_it), "{statement}: {:?}", found.discrepancies);
    }
}

/// Each kind of discrepancy is made, one at a time, in an archive that is clean without it.
#[tokio::test(flavor = "multi_thread")]
async fn each_discrepancy_has_its_code_and_none_is_missed() {
    for (code, statement) in [
        ("rows", "UPDATE archive_file SET row_count = row_count + 1 WHERE table_name = 'numerics'"),
        ("times", "UPDATE archive_file SET time_min_us = time_max_us + 1 WHERE table_name = 'numerics'"),
        ("tenant", "UPDATE archive_file SET tenant = 'other' WHERE table_name = 'numerics'"),
        ("offsets", "UPDATE archive_file SET offset_first = offset_first + 1 WHERE table_name = 'numerics'"),
        ("offsets", "UPDATE archive_file SET offset_last = offset_last - 1 WHERE table_name = 'audit'"),
        ("offsets", "UPDATE archive_position SET next_offset = 1"),
        ("frames", "DELETE FROM archive_file WHERE table_name = 'numerics' AND offset_first = 0"),
        ("frames", "UPDATE archive_stream SET archived = archived - 1 WHERE epoch > 0"),
        ("intervals", "UPDATE archive_stream SET archived = archived + 1 WHERE epoch > 0"),
        ("unseen", "UPDATE archive_stream SET seen = x'0100' WHERE epoch > 0"),
        ("completeness", "UPDATE archive_hour SET placed = placed + 1 WHERE epoch > 0"),
        ("completeness", "UPDATE archive_hour SET late = late + 1 WHERE epoch > 0"),
        ("completeness", "UPDATE archive_hour SET duplicates = 7"),
        ("completeness", "DELETE FROM archive_hour"),
        ("catalog", "UPDATE archive_stream SET seen = x'00ff' WHERE epoch > 0"),
        ("catalog", "UPDATE archive_file SET table_name = 'nothing' WHERE table_name = 'audit'"),
        ("stray", "DELETE FROM archive_file WHERE table_name = 'audit'"),
    ] {
        let rig = Rig::new().await;
        archive(&rig).await;
        assert!(verify(&rig).await.discrepancies.is_empty(), "{statement}");
        rig.execute(statement).await;
        let found = verify(&rig).await;
        let codes: Vec<_> = found.discrepancies.iter().map(Discrepancy::code).collect();
        assert!(codes.contains(&code), "{statement}: {:?}", found.discrepancies);
        assert!(found.discrepancies.iter().all(|d| d.to_string().starts_with(&format!("{}: ", d.code()))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_named_twice_and_a_key_that_is_another_are_named() {
    let rig = Rig::new().await;
    archive(&rig).await;
    // The same rows in two files: a copy under another name, as a commit that was made twice would leave it.
    let path = numerics(&rig, 0).await;
    let place = rig.archive_dir().join(&path);
    let copy = place.with_file_name("copy.parquet");
    std::fs::copy(&place, &copy).unwrap();
    rig.execute(
        "INSERT INTO archive_file SELECT replace(path, substr(path, length(path) - 39), 'copy.parquet'), table_name, \
         tenant, day, partition_id, row_count, byte_count, sha256, time_min_us, time_max_us, offset_first, offset_last, \
         committed_at_us FROM archive_file WHERE table_name = 'numerics' ORDER BY offset_first LIMIT 1",
    )
    .await;
    let copies = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    let named = copies.iter().find(|file| file.path.ends_with("copy.parquet")).unwrap();
    let other = rig.archive_dir().join(&named.path);
    if other != copy {
        std::fs::rename(&copy, &other).unwrap();
    }
    let codes = |found: &Verification| found.discrepancies.iter().map(Discrepancy::code).collect::<Vec<_>>();
    assert!(codes(&verify(&rig).await).contains(&"twice"), "{path}");
    let keyring = rig.folder.path().join("keyring.json");
    let text = std::fs::read_to_string(&keyring).unwrap();
    let mut keys: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in keys["keys"].as_array_mut().unwrap() {
        if key["purpose"] == "measurements" {
            key["key"] = serde_json::json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        }
    }
    std::fs::write(&keyring, keys.to_string()).unwrap();
    let found = verify(&rig).await;
    assert!(codes(&found).contains(&"unreadable") && !found.is_clean(), "{:?}", found.discrepancies);
}
