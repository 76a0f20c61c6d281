//! Ten thousand rows with a hundred bad ones; and a snapshot of a hundred thousand revoked certificates.

use crate::rig::{NOW_US, change, key, on_both};
use std::collections::HashSet;
use std::time::Instant;
use wardline_store::registry::{Imported, NewDevice, Reject};
use wardline_store::testing::fill_revoked;

#[test]
fn good_rows_are_in_bad_ones_are_told_and_a_second_run_changes_nothing() {
    on_both(|store| async move {
        // Every hundredth row has the serial number of the row before it.
        let rows: Vec<NewDevice> = (0..10_000_u32)
            .map(|at| NewDevice {
                model: "oxi-1".into(),
                serial_number: format!("sn-{}", if at % 100 == 99 { at - 1 } else { at }),
                ..NewDevice::bare(key(&format!("mon-{at}")))
            })
            .collect();
        let mut totals = Vec::new();
        for _run in 0..2 {
            let started = Instant::now();
            let (mut created, mut same, mut refused) = (0, 0, 0);
            for chunk in rows.chunks(500) {
                for done in store.import_devices(&change(), chunk).await.unwrap() {
                    match done {
                        Ok(Imported::Created) => created += 1,
                        Ok(Imported::Same) => same += 1,
                        Err(Reject::Conflict("serial number")) => refused += 1,
                        other => panic!("{other:?}"),
                    }
                }
            }
            println!("created {created}, same {same}, refused {refused} in {:?}", started.elapsed());
            totals.push((created, same, refused));
        }
        assert_eq!(totals, [(9_900, 0, 100), (0, 9_900, 100)]);
        assert_eq!(store.registry_snapshot(NOW_US).await.unwrap().active.len(), 9_900);
    });
}

#[test]
fn a_snapshot_holds_every_revoked_certificate() {
    const COUNT: i64 = 100_000;
    on_both(|store| async move {
        let before = store.registry_version().await.unwrap();
        let filled = fill_revoked(&store, COUNT, NOW_US + 1).await.unwrap();
        assert_eq!(filled, COUNT as u64);
        let started = Instant::now();
        let snapshot = store.registry_snapshot(NOW_US).await.unwrap();
        println!("{COUNT} revoked certificates in a snapshot of {:?}", started.elapsed());
        let distinct: HashSet<_> = snapshot.revoked.iter().collect();
        assert_eq!((snapshot.revoked.len(), distinct.len()), (COUNT as usize, COUNT as usize));
        assert!(snapshot.version > before);
        assert!(store.registry_snapshot(NOW_US + 1).await.unwrap().revoked.is_empty(), "expired");
    });
}
