//! A clean archive verifies; each kind of damage is named.

use crate::rig::{Rig, readings};
use wardline_archive::Table;
use wardline_archive::verify::{Discrepancy, Verification, Verifier};

pub(crate) async fn verify(rig: &Rig) -> Verification {
    let mut verifier = Verifier::start(rig.reader()).await.unwrap();
    while verifier.step() {}
    verifier.finish().await.unwrap()
}

/// An archive of three files of readings, with one hole.
async fn archive() -> Rig {
    let rig = Rig::new().await;
    for seq in [1, 2, 3, 5] {
        rig.frame(seq, &readings(&[seq as f64]));
        rig.archive().await;
    }
    rig
}

async fn numerics(rig: &Rig, at: usize) -> (String, std::path::PathBuf) {
    let reader = rig.reader();
    let file = &reader.files(Some(Table::Numerics)).await.unwrap()[at];
    (file.path.clone(), reader.path_of(file))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_archive_is_clean_and_its_hole_is_known() {
    let rig = archive().await;
    let found = verify(&rig).await;
    assert!(found.is_clean(), "{:?}", found.discrepancies);
    assert_eq!((found.discrepancies.len(), found.holes), (0, 1));
    assert!(found.rows >= 4 && found.streams >= 1 && found.files >= 4, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_damage_is_named() {
    let rig = archive().await;
    let (changed, changed_path) = numerics(&rig, 0).await;
    let mut bytes = std::fs::read(&changed_path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&changed_path, bytes).unwrap();
    let (missing, missing_path) = numerics(&rig, 1).await;
    std::fs::remove_file(missing_path).unwrap();
    let stray = "numerics/demo/2026-10-18/0/stray.parquet".to_owned();
    std::fs::create_dir_all(rig.archive_dir().join("numerics/demo/2026-10-18/0")).unwrap();
    std::fs::write(rig.archive_dir().join(&stray), b"x").unwrap();
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
        let rig = archive().await;
        rig.execute(statement).await;
        let found = verify(&rig).await;
        assert!(found.discrepancies.len() >= 4, "{statement}: {:?}", found.discrepancies);
        assert!(found.discrepancies.iter().all(is_it), "{statement}: {:?}", found.discrepancies);
    }
}
