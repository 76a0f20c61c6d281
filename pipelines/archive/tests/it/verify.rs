//! A clean archive verifies; each kind of damage is named.

use crate::rig::{Rig, on_both, readings};
use wardline_archive::Table;
use wardline_archive::verify::{Discrepancy, Verification, Verifier};

on_both! {
    a_whole_archive_is_clean_and_its_hole_is_known,
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
