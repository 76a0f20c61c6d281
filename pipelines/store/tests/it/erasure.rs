//! What is asked to be erased stands in one transaction, is found again, and is refused under a hold.

use crate::rig::{NOW_US, at, audited, change, key, on_both};
use wardline_proto::TenantId;
use wardline_store::catalog::{Catalog, CommitError, FileRow, StreamId};
use wardline_store::erasure::{ErasedFile, ErasedFrames, SignedCertificate};
use wardline_store::registry::{NewBinding, NewDevice, Reject};
use wardline_store::retired::{Replacement, RetiredWhen};
use wardline_store::{Store, StoreError};

const A: &str = "numerics/st-mary/a";
const B: &str = "numerics/st-mary/b";
const C: &str = "numerics/st-mary/c";
const LATER: &str = "numerics/st-mary/later";
const OTHERS: &str = "numerics/other/x";

fn file(path: &str) -> FileRow {
    FileRow {
        path: path.into(),
        table: "numerics".into(),
        tenant: "st-mary".into(),
        day: "2026-02-02".into(),
        partition: 0,
        rows: 3,
        bytes: 100,
        sha256: vec![1],
        time_min_us: 1,
        time_max_us: 2,
        offset_first: 0,
        offset_last: 4,
    }
}

/// One device, worn by p-1, by p-2, and by p-1 again.
async fn wear(store: &Store) -> TenantId {
    let device = key("mon-1");
    store.register_device(&change(), &NewDevice::bare(device.clone())).await.unwrap();
    for (subject, from_us) in [("p-1", 10), ("p-2", 20), ("p-1", 30)] {
        let device = device.clone();
        let binding = NewBinding { device, subject: subject.into(), from_us, until_us: None };
        store.bind(&change(), &binding).await.unwrap();
    }
    device.tenant
}

async fn merge(catalog: &Catalog, lease: u64, (from, into, at_us): (&str, &str, i64)) {
    let (from, into) = (vec![from.to_owned()], file(into));
    catalog.replace(&Replacement { lease, from, into, at_us }).await.unwrap();
}

async fn is_opened_again(store: &Store, catalog: &Catalog, lease: u64) {
    for (tenant, is_rewritten) in [("other", true), ("st-mary", false)] {
        catalog.reopen_erasures(lease, tenant).await.unwrap();
        let ranges = store.erased_ranges().await.unwrap();
        assert!(ranges.iter().all(|range| range.is_rewritten == is_rewritten), "{tenant}: {ranges:?}");
    }
}

async fn a_hold_keeps_what_was_replaced(store: &Store, catalog: &Catalog, demo: &TenantId) {
    let of = async |when| catalog.retired_of("st-mary", when).await.unwrap();
    assert_eq!(of(RetiredWhen::Until(9)).await, [A, B]);
    assert_eq!(of(RetiredWhen::After(9)).await, [LATER]);
    store.set_hold(&change(), demo, "case 18").await.unwrap();
    assert_eq!(catalog.removable(i64::MAX).await.unwrap(), [OTHERS, LATER]);
    store.release_hold(&change(), demo).await.unwrap();
}

#[test]
fn an_erasure_is_recorded_rewritten_and_certified_once() {
    on_both(|store| async move {
        let demo = wear(&store).await;
        store.set_hold(&change(), &demo, "case 17").await.unwrap();
        let held = store.ask_erasure(&at(NOW_US), &demo, "p-1", false).await;
        assert!(matches!(held, Err(StoreError::Reject(Reject::Held))), "{held:?}");
        assert!(store.erased_ranges().await.unwrap().is_empty());
        store.release_hold(&change(), &demo).await.unwrap();
        let asked = store.ask_erasure(&at(NOW_US), &demo, "p-1", false).await.unwrap();
        let ranges = store.erased_ranges().await.unwrap();
        let spans: Vec<_> = ranges.iter().map(|r| (r.device.as_str(), r.from_us, r.until_us)).collect();
        assert_eq!(spans, [("mon-1", 10, 20), ("mon-1", 30, NOW_US)], "what goes on ends with the request");
        let told = audited(&store).await;
        assert_eq!(told.iter().filter(|(action, _)| action == "erasure_asked").count(), 2, "{told:?}");
        let catalog = Catalog::new(store.clone());
        let lease = catalog.take_over(0, 0).await.unwrap();
        let commit = wardline_store::catalog::Commit {
            lease: lease.number,
            next_offset: 5,
            files: vec![file(A), file(B), file(OTHERS), file(LATER)],
            ..wardline_store::catalog::Commit::default()
        };
        catalog.commit(&commit).await.unwrap();
        let id = StreamId { tenant: "st-mary".into(), device: "mon-1".into(), epoch: 1, lane: 2 };
        let struck = |from: &str, into| ErasedFile {
            lease: lease.number,
            from: from.into(),
            into,
            table: "numerics".into(),
            tenant: "st-mary".into(),
            rows: vec![(asked.erasure_id.clone(), 2)],
            frames: vec![ErasedFrames { id: id.clone(), hour_us: 0, archived: 1, quarantined: 0 }],
            at_us: 7,
        };
        assert!(catalog.erase_file(&struck(A, Some(file(C)))).await.unwrap());
        assert!(catalog.erase_file(&struck(A, None)).await.is_err(), "it is gone: nothing is counted twice");
        assert!(catalog.erase_file(&struck(B, None)).await.unwrap());
        let paths: Vec<_> = catalog.files(None).await.unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(paths, [OTHERS, C, LATER]);
        assert_eq!(catalog.retired(None).await.unwrap(), [A, B]);
        merge(&catalog, lease.number, (OTHERS, "numerics/other/y", 7)).await;
        let removable = async |until_us| catalog.removable(until_us).await.unwrap();
        assert!(removable(6).await.is_empty(), "readers may still have them");
        store.ask_erasure(&change(), &demo, "p-1", true).await.unwrap();
        assert!(removable(6).await.is_empty(), "rows that are still to be struck may lie in them");

        let certificate = SignedCertificate { document: vec![1], signature: vec![2] };
        let other = SignedCertificate { document: vec![3], signature: vec![4] };
        store.certify_erasure(&change(), &asked.erasure_id, &other, "early").await.unwrap();
        assert_eq!(store.erasure_certificate(&asked.erasure_id).await.unwrap(), None, "not rewritten");
        catalog.end_erasing(lease.number, &asked.erasure_id, 9).await.unwrap();
        merge(&catalog, lease.number, (LATER, "numerics/st-mary/y", 10)).await;
        assert_eq!(removable(6).await, [A, B], "what it has replaced, and nothing else");
        assert_eq!(removable(7).await, [OTHERS, A, B]);
        a_hold_keeps_what_was_replaced(&store, &catalog, &demo).await;
        for given in [&certificate, &other] {
            store.certify_erasure(&change(), &asked.erasure_id, given, "st-mary").await.unwrap();
        }
        assert_eq!(store.erasure_certificate(&asked.erasure_id).await.unwrap(), Some(certificate));
        let erasure = store.erasures(Some("st-mary")).await.unwrap().remove(0);
        assert_eq!((erasure.counts[0].files, erasure.counts[0].rows), (2, 4));
        assert!(erasure.ranges.iter().all(|range| range.is_rewritten));
        assert!(catalog.open_erasures().await.unwrap().is_empty());
        is_opened_again(&store, &catalog, lease.number).await;
    });
}

#[test]
fn among_several_workers_an_erasure_ends_with_the_last_partition() {
    on_both(|store| async move {
        let demo = wear(&store).await;
        let asked = store.ask_erasure(&at(NOW_US), &demo, "p-1", true).await.unwrap();
        store.make_leases("archive", 2).await.unwrap();
        let take = async |partition: usize, holder: &str| {
            let row = store.leases("archive").await.unwrap().remove(partition);
            let claim = store.take_lease("archive", (&row, 2), holder).await.unwrap().unwrap();
            Catalog::of_partition(store.clone(), claim)
        };
        let (first, second) = (take(0, "a").await, take(1, "b").await);
        let id = asked.erasure_id.as_str();
        first.end_erasing(0, id, 5).await.unwrap();
        first.end_erasing(0, id, 6).await.unwrap();
        let ended = async || store.erasures(None).await.unwrap().remove(0).rewritten_at_us;
        assert_eq!(ended().await, None, "the other one has files");
        assert!(first.erased_here().await.unwrap().contains(id));
        assert!(second.erased_here().await.unwrap().is_empty());
        let third = take(1, "c").await;
        assert!(matches!(second.end_erasing(0, id, 7).await, Err(CommitError::Fenced)), "taken");
        assert_eq!(ended().await, None);
        third.end_erasing(0, id, 8).await.unwrap();
        assert_eq!(ended().await, Some(8));
    });
}

#[test]
fn what_one_worker_tells_of_an_erasure_stands_beside_what_another_tells() {
    on_both(|store| async move {
        let demo = wear(&store).await;
        let asked = store.ask_erasure(&at(NOW_US), &demo, "p-1", true).await.unwrap();
        let id = asked.erasure_id.as_str();
        store.make_leases("archive", 3).await.unwrap();
        let take = async |partition: usize| {
            let row = store.leases("archive").await.unwrap().remove(partition);
            let claim = store.take_lease("archive", (&row, 3), "a").await.unwrap().unwrap();
            Catalog::of_partition(store.clone(), claim)
        };
        let (first, second, third) = (take(0).await, take(1).await, take(2).await);
        let told = async || {
            let erasure = store.erasures(None).await.unwrap().remove(0);
            (erasure.files_left, erasure.problem)
        };
        first.tell_erasing(id, 4, "1 files do not read").await.unwrap();
        second.tell_erasing(id, 3, "").await.unwrap();
        assert_eq!(told().await, (Some(7), "1 files do not read".into()));
        first.tell_erasing(id, 2, "").await.unwrap();
        assert_eq!(told().await, (Some(5), String::new()), "it takes back its own");
        second.tell_erasing(id, 0, "legal hold").await.unwrap();
        first.end_erasing(0, id, 5).await.unwrap();
        assert_eq!(told().await, (Some(0), "legal hold".into()), "who is done has nothing left");
        first.tell_erasing(id, 9, "late").await.unwrap();
        assert_eq!(told().await, (Some(0), "legal hold".into()), "nor anything to tell");
        second.end_erasing(0, id, 6).await.unwrap();
        assert_eq!(told().await, (None, String::new()), "the third has not listed its files");
        third.end_erasing(0, id, 7).await.unwrap();
        assert_eq!(told().await, (Some(0), String::new()));
    });
}
