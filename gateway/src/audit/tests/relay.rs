//! What lies in the outbox is in the chain exactly once, wherever the relay was killed.

use super::{Rig, events};
use crate::audit::AuditMetrics;
use crate::audit::relay::Relay;
use std::sync::Arc;
use wardline_journal::fault::Fault;
use wardline_journal::{Journal, KeyPurpose};
use wardline_proto::v1::AuditEvent;
use wardline_store::outbox::Change;

async fn act(rig: &Rig, target: &str) {
    let change = Change { actor: "os:alice@front".into(), at_us: 5 };
    rig.store.record_audit(&change, "device_registered", "ok", target).await.unwrap();
}

async fn relay(rig: &Rig, journal: &Journal) -> Relay {
    let auditor = Arc::new(rig.auditor(journal).await);
    Relay::new(auditor, rig.store.clone(), rig.keyring.clone(), AuditMetrics::default())
}

fn relayed(journal: &Journal) -> Vec<(u64, String)> {
    let all = events(journal).into_iter().filter(|event| event.outbox_id > 0);
    all.map(|event| (event.outbox_id, event.target)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_keys_come_into_the_chain_once() {
    let rig = Rig::new().await;
    let journal = rig.journal();
    let keys = rig.keyring.list().len() as u64;
    let mut relay = relay(&rig, &journal).await;
    act(&rig, "mon-1").await;
    relay.turn().await.unwrap();
    relay.turn().await.unwrap();
    assert_eq!(relayed(&journal).len() as u64, keys + 1);
    let created = events(&journal).iter().filter(|event| event.action == "master_key_created").count();
    assert_eq!(created as u64, keys);
    rig.keyring
        .ensure(KeyPurpose::Identifiers, Some(&wardline_proto::TenantId::new("demo").unwrap()))
        .unwrap();
    relay.turn().await.unwrap();
    let (id, told) = relayed(&journal).pop().unwrap();
    assert!(id == keys + 2 && told.contains("purpose identifiers tenant demo version 1"), "{id} {told}");
    assert_eq!(rig.store.audit_outbox_pending(10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_killed_before_it_marked_marks_and_does_not_repeat() {
    let rig = Rig::new().await;
    {
        let journal = rig.journal();
        relay(&rig, &journal).await.turn().await.unwrap();
        act(&rig, "mon-1").await;
        act(&rig, "mon-2").await;
        let auditor = rig.auditor(&journal).await;
        let row = &rig.store.audit_outbox_pending(1).await.unwrap()[0];
        let event = AuditEvent { outbox_id: row.id, target: row.target.clone(), ..AuditEvent::default() };
        let offset = auditor.append(event).unwrap().offset();
        auditor.durable(offset).await.unwrap();
        rig.disk.kill();
    }
    let journal = rig.journal();
    assert_eq!(rig.store.audit_outbox_pending(10).await.unwrap().len(), 2);
    relay(&rig, &journal).await.turn().await.unwrap();
    let relayed = relayed(&journal);
    assert_eq!(relayed.iter().filter(|(_, target)| target == "mon-1").count(), 1);
    assert_eq!(relayed.iter().filter(|(_, target)| target == "mon-2").count(), 1);
    assert_eq!(rig.store.audit_outbox_pending(10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_event_did_not_become_durable_is_not_marked() {
    let rig = Rig::new().await;
    {
        let journal = rig.journal();
        let mut relay = relay(&rig, &journal).await;
        relay.turn().await.unwrap();
        act(&rig, "mon-1").await;
        rig.disk.inject(Fault::Sync, 0);
        for _again in 0..2 {
            relay.turn().await.unwrap_err();
            assert_eq!(rig.store.audit_outbox_pending(10).await.unwrap().len(), 1);
        }
        rig.disk.lose_power();
    }
    let journal = rig.journal();
    relay(&rig, &journal).await.turn().await.unwrap();
    assert_eq!(relayed(&journal).iter().filter(|(_, target)| target == "mon-1").count(), 1);
}
