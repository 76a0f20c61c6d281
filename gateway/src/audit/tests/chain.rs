//! Numbers without a hole, in the journal's order, over crashes and refusals.

use super::{Rig, events};
use crate::audit::chain::{Head, hash_of};
use crate::audit::{Auditor, CannotAudit};
use std::sync::Arc;
use wardline_journal::fault::Fault;
use wardline_proto::v1::AuditEvent;
use wardline_store::catalog::{AuditHead, Catalog, Commit};

fn assert_is_chain(events: &[AuditEvent]) {
    let mut head = Head::START;
    for event in events {
        assert_eq!((event.n, event.prev_hash.as_slice()), (head.n + 1, &head.hash[..]));
        assert_eq!(event.hash, hash_of(event));
        head.resume(event);
    }
}

async fn one(auditor: &Auditor, target: &str) -> Result<(), CannotAudit> {
    auditor.record_durable("tested", "", "ok", target.to_owned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_make_one_chain_in_the_journals_order() {
    let rig = Rig::new().await;
    let journal = rig.journal();
    let auditor = Arc::new(rig.auditor(&journal).await);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let auditor = auditor.clone();
            tokio::task::spawn_blocking(move || {
                (0..200).for_each(|i| auditor.record("tested", "", "ok", format!("{writer} {i}")).unwrap());
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    one(&auditor, "last").await.unwrap();
    let events = events(&journal);
    assert_eq!(events.len(), 1601);
    assert_is_chain(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_goes_on_after_every_loss_of_power() {
    let rig = Rig::new().await;
    let mut durable = 0;
    for life in 0..8 {
        let journal = rig.journal();
        let auditor = rig.auditor(&journal).await;
        assert!(auditor.head().n >= durable, "life {life} begins at {}", auditor.head().n);
        for i in 0..3 {
            one(&auditor, &format!("{life} {i}")).await.unwrap();
        }
        durable = auditor.head().n;
        // Appended, and lost or kept as the power loss has it.
        for i in 0..life {
            auditor.record("tested", "", "ok", format!("{life} late {i}")).unwrap();
        }
        rig.disk.lose_power();
        drop((auditor, journal));
    }
    let journal = rig.journal();
    let events = events(&journal);
    assert!(events.len() as u64 >= durable);
    assert_is_chain(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_takes_no_number_and_the_auditor_knows_beforehand() {
    let rig = Rig::new().await;
    let journal = rig.journal();
    let auditor = rig.auditor(&journal).await;
    one(&auditor, "first").await.unwrap();
    rig.disk.set_free_bytes(0);
    let mut written = 1;
    while !auditor.is_broken() {
        one(&auditor, &"x".repeat(900)).await.expect("an auditor that is not broken can audit");
        written += 1;
    }
    assert_eq!(auditor.guard(), Err(CannotAudit));
    while auditor.record("tested", "", "ok", "y".repeat(900)).is_ok() {
        written += 1;
    }
    assert_eq!(auditor.head().n, written);
    rig.disk.set_free_bytes(64 << 20);
    while auditor.is_broken() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    one(&auditor, "room again").await.unwrap();
    let events = events(&journal);
    assert_eq!(events.len() as u64, written + 1);
    assert_is_chain(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_journal_is_known_before_the_next_event() {
    let rig = Rig::new().await;
    let journal = rig.journal();
    let auditor = rig.auditor(&journal).await;
    one(&auditor, "first").await.unwrap();
    assert!(!auditor.is_broken());
    rig.disk.inject(Fault::Sync, 0);
    assert_eq!(one(&auditor, "never durable").await, Err(CannotAudit));
    assert!(auditor.is_broken());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_the_archives_when_the_journal_was_trimmed_past_it() {
    let rig = Rig::new().await;
    let journal = rig.journal();
    let auditor = rig.auditor(&journal).await;
    one(&auditor, "first").await.unwrap();
    one(&auditor, "second").await.unwrap();
    let head = auditor.head();
    let catalog = Catalog::new(rig.store.clone());
    let lease = catalog.take_over(0, 0).await.unwrap();
    let row = |n: u64, outbox_id| {
        let node = rig.node.as_str().to_owned();
        vec![AuditHead { node, n, hash: head.hash.to_vec(), outbox_id }]
    };
    let commit = Commit { lease: lease.number, next_offset: 2, audit_heads: row(2, 41), ..Commit::default() };
    catalog.commit(&commit).await.unwrap();
    assert_eq!(rig.auditor(&journal).await.head(), Head { relayed: 41, ..head });

    one(&auditor, "third, in the journal alone").await.unwrap();
    let resumed = rig.auditor(&journal).await.head();
    assert_eq!((resumed.n, resumed.hash, resumed.relayed), (3, auditor.head().hash, 41));

    let late = Commit { from_offset: 2, audit_heads: row(1, 7), ..commit };
    catalog.commit(&late).await.unwrap();
    let rows = catalog.audit_heads().await.unwrap();
    assert_eq!((rows[0].n, rows[0].outbox_id), (2, 41), "a head never goes back");
}
