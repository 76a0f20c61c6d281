//! The archive's catalog: one transaction, one writer.

use crate::rig::on_both;
use std::sync::Arc;
use wardline_store::Store;
use wardline_store::catalog::{AuditHead, Catalog, Commit, CommitError, FileRow, StreamId, StreamRow};
use wardline_store::retired::Replacement;

fn file(path: &str, offset: u64) -> FileRow {
    FileRow {
        path: path.into(),
        table: "numerics".into(),
        tenant: "demo".into(),
        day: "2026-11-21".into(),
        partition: 3,
        rows: 10,
        bytes: 1 << 33,
        sha256: vec![7; 32],
        time_min_us: -1,
        time_max_us: 5,
        offset_first: offset,
        offset_last: offset + 4,
    }
}

fn stream(epoch: u64, archived: u64) -> StreamRow {
    StreamRow {
        id: StreamId { tenant: "demo".into(), device: "mon-1".into(), epoch, lane: 2 },
        seen: vec![0, 255],
        recent: Vec::new(),
        archived,
        duplicates: 1,
        quarantined: 0,
        late: 0,
        erased: 0,
    }
}

fn head(n: u64, outbox_id: u64) -> AuditHead {
    AuditHead { node: "node-1".into(), n, hash: vec![n as u8], outbox_id }
}

fn commit(lease: u64, (from_offset, next_offset): (u64, u64)) -> Commit {
    let path = format!("numerics/{from_offset}");
    Commit {
        lease,
        from_offset,
        next_offset,
        files: vec![file(&path, from_offset)],
        streams: vec![stream(1, next_offset)],
        audit_heads: vec![head(next_offset, 9)],
        at_us: 1,
        ..Commit::default()
    }
}

fn fenced(result: Result<(), CommitError>) -> bool {
    matches!(result, Err(CommitError::Fenced))
}

#[test]
fn files_position_and_streams_change_together_or_not_at_all() {
    on_both(|store| async move {
        let catalog = Catalog::new(store);
        assert_eq!(catalog.position().await.unwrap(), None);
        let lease = catalog.take_over(5, 1).await.unwrap();
        assert_eq!((lease.next_offset, lease.number), (5, 1));
        catalog.commit(&commit(1, (5, 10))).await.unwrap();
        assert_eq!(catalog.position().await.unwrap(), Some(10));
        assert_eq!(catalog.files(None).await.unwrap(), [file("numerics/5", 5)]);
        assert_eq!(catalog.files(Some("waveforms")).await.unwrap(), []);
        assert_eq!(catalog.stream(&stream(1, 0).id).await.unwrap(), Some(stream(1, 10)));
        // The second file fails on its path, after the position, a file and a stream were written.
        let twice = Commit { files: vec![file("new", 10), file("numerics/5", 10)], ..commit(1, (10, 15)) };
        assert!(matches!(catalog.commit(&twice).await, Err(CommitError::Store(_))));
        assert_eq!(catalog.position().await.unwrap(), Some(10));
        assert_eq!(catalog.files(None).await.unwrap().len(), 1);
        assert_eq!(catalog.stream(&stream(1, 0).id).await.unwrap(), Some(stream(1, 10)));
        assert_eq!(catalog.audit_heads().await.unwrap(), [head(10, 9)]);
        let older = Commit { audit_heads: vec![head(3, 50)], files: Vec::new(), ..commit(1, (10, 11)) };
        catalog.commit(&older).await.unwrap();
        assert_eq!(catalog.audit_heads().await.unwrap(), [head(10, 9)], "a head never goes back");
        let later = Commit { audit_heads: vec![head(12, 2)], files: Vec::new(), ..commit(1, (11, 12)) };
        catalog.commit(&later).await.unwrap();
        assert_eq!(catalog.audit_heads().await.unwrap(), [head(12, 9)], "nor does its row of the outbox");
        let more = Commit { streams: vec![stream(2, 1)], ..commit(1, (12, 13)) };
        catalog.commit(&more).await.unwrap();
        assert_eq!(catalog.epochs(&stream(9, 0).id).await.unwrap(), 2);
        assert_eq!(catalog.streams(Some("mon-1")).await.unwrap().len(), 2);
        assert_eq!(catalog.streams(Some("mon-2")).await.unwrap(), []);
        assert_eq!(
            catalog.rows_per_table().await.unwrap().into_iter().collect::<Vec<_>>(),
            [("numerics".to_owned(), 20)]
        );
        assert_eq!(catalog.secret("salt", &[1, 2]).await.unwrap(), [1, 2]);
        assert_eq!(catalog.secret("salt", &[3]).await.unwrap(), [1, 2], "the first stays");
    });
}

#[test]
fn a_commit_of_an_earlier_lease_or_of_another_position_fails() {
    on_both(|store| async move {
        let catalog = Catalog::new(store);
        catalog.take_over(0, 1).await.unwrap();
        catalog.commit(&commit(1, (0, 5))).await.unwrap();
        assert!(fenced(catalog.commit(&commit(1, (0, 5))).await), "the same again");
        assert!(fenced(catalog.commit(&commit(2, (5, 6))).await), "a lease that nobody took");
        let second = catalog.take_over(0, 2).await.unwrap();
        assert_eq!((second.next_offset, second.number), (5, 2), "the position stays");
        assert!(fenced(catalog.commit(&commit(1, (5, 6))).await), "a stale lease");
        let stale =
            Replacement { lease: 1, from: vec!["numerics/0".into()], into: file("merged", 0), at_us: 3 };
        assert!(fenced(catalog.replace(&stale).await), "a stale lease merges nothing");
        assert_eq!(catalog.files(None).await.unwrap(), [file("numerics/0", 0)]);
        catalog.commit(&commit(2, (5, 6))).await.unwrap();
    });
}

#[test]
fn of_two_workers_that_commit_at_once_one_wins_each_position() {
    on_both(|store| async move {
        let catalog = Catalog::new(store);
        catalog.take_over(0, 1).await.unwrap();
        let committed = |worker: u64| {
            let catalog = catalog.clone();
            async move {
                let mut won = 0;
                for from in 0..40 {
                    let files = vec![file(&format!("{worker}/{from}"), from)];
                    let step = Commit { files, ..commit(1, (from, from + 1)) };
                    match catalog.commit(&step).await {
                        Ok(()) => won += 1,
                        Err(CommitError::Fenced) => {}
                        Err(error) => panic!("{error}"),
                    }
                    while catalog.position().await.unwrap() == Some(from) {
                        tokio::task::yield_now().await;
                    }
                }
                won
            }
        };
        let (one, other) = tokio::join!(tokio::spawn(committed(1)), tokio::spawn(committed(2)));
        assert_eq!(one.unwrap() + other.unwrap(), 40);
        assert_eq!(catalog.position().await.unwrap(), Some(40));
        assert_eq!(catalog.files(None).await.unwrap().len(), 40);
    });
}

#[test]
fn a_merge_takes_files_out_and_remembers_them_until_they_are_removed() {
    on_both(|store: Store| async move {
        let catalog = Catalog::new(store);
        catalog.take_over(0, 1).await.unwrap();
        for from in 0..3 {
            catalog.commit(&commit(1, (from, from + 1))).await.unwrap();
        }
        let from = vec!["numerics/0".to_owned(), "numerics/1".to_owned()];
        let merge = Replacement { lease: 1, from: from.clone(), into: file("merged", 0), at_us: 50 };
        catalog.replace(&merge).await.unwrap();
        let paths: Vec<_> = catalog.files(None).await.unwrap().into_iter().map(|row| row.path).collect();
        assert_eq!(paths, ["merged", "numerics/2"]);
        assert!(
            fenced(catalog.replace(&Replacement { into: file("again", 0), ..merge }).await),
            "they are gone"
        );
        assert_eq!(catalog.files(None).await.unwrap().len(), 2, "so nothing came");
        assert_eq!(catalog.retired(Some(49)).await.unwrap(), Vec::<String>::new());
        assert_eq!(catalog.retired(Some(50)).await.unwrap(), from);
        catalog.forget_retired(&from[..1]).await.unwrap();
        assert_eq!(catalog.retired(None).await.unwrap(), from[1..]);
    });
}

#[test]
fn a_moment_lists_the_files_of_its_own_and_the_same_list_while_nothing_changes() {
    on_both(|store| async move {
        let catalog = Catalog::new(store);
        let files = async || catalog.moment(&[]).await.unwrap().files;
        assert!(files().await.is_empty());
        catalog.take_over(0, 1).await.unwrap();
        for from in [0, 5, 10] {
            catalog.commit(&commit(1, (from, from + 5))).await.unwrap();
            let listed = files().await;
            assert_eq!(*listed, catalog.files(None).await.unwrap());
            assert!(Arc::ptr_eq(&listed, &files().await));
        }
        // As many files as before, and no other position.
        let from = vec!["numerics/5".into()];
        catalog.replace(&Replacement { lease: 1, from, into: file("merged", 5), at_us: 2 }).await.unwrap();
        let listed = files().await;
        assert_eq!(*listed, catalog.files(None).await.unwrap());
        assert_eq!(listed.len(), 3);
        // More of them than are looked up one by one.
        let many = (0..300).map(|n| file(&format!("many/{n:03}"), 15)).collect();
        catalog.commit(&Commit { files: many, ..commit(1, (15, 20)) }).await.unwrap();
        assert_eq!(*files().await, catalog.files(None).await.unwrap());
    });
}
