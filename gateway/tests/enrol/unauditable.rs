//! What cannot be audited is not done (AUD-1): with a journal that takes nothing, no certificate is issued and nothing
//! in the registry changes, by whatever door; afterwards everything is as it was.

use crate::full::{fill, room, small};
use crate::rig::{Answer, Rig, SIMPLEREENROLL, tenant};
use wardline::operate;
use wardline_journal::fault::{Fault, FaultStorage};
use wardline_store::registry::Claim;

const CODE: &str = "WL-AUD-001";

/// A change by each of the registry's kinds of things.
const CHANGES: [&[&str]; 8] = [
    &["tenant", "create", "fresh", "--name", "Fresh"],
    &["device", "create", "--tenant", "demo", "--device", "mon-9"],
    &["device", "set-state", "--tenant", "demo", "--device", "mon-1", "--state", "suspended"],
    &["claim", "create", "--tenant", "demo"],
    &["claim", "revoke", "--tenant", "demo", "--batch", "geheim"],
    &["binding", "create", "--tenant", "demo", "--device", "mon-1", "--subject", "p-1"],
    &["cert", "revoke", "--tenant", "demo", "--device", "mon-1", "--reason", "stolen"],
    &["principal", "create", "--tenant", "demo", "--kind", "user", "--name", "eve", "--role", "operator"],
];

async fn rig(disk: &FaultStorage) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    operate::init(dir.path(), "wardline.local", &["localhost".to_owned()]).await.unwrap();
    let rig = Rig::on(dir, disk.process(), small).await;
    rig.device("mon-1").await;
    rig.claim("geheim", None).await;
    rig
}

async fn claim(rig: &Rig) -> Claim {
    let claims = rig.node.store().list_claims(&tenant(), Some("geheim"), 9).await.unwrap();
    claims.into_iter().next().unwrap()
}

/// Everything that a change changes.
async fn state(rig: &Rig) -> String {
    let store = rig.node.store();
    let (version, snapshot) = (store.registry_version().await.unwrap(), store.registry_snapshot(0).await);
    let certificates = store.list_certificates("", 100).await.unwrap();
    format!("{version} {:?} {certificates:?} {:?}", snapshot.unwrap(), claim(rig).await)
}

fn refused(answer: &Answer) {
    assert!(answer.status == 503 && answer.text().starts_with(CODE), "{answer:?}");
}

/// Tries every door, and returns how many there are.
async fn nothing_is_done(rig: &Rig) -> usize {
    let before = state(rig).await;
    for change in CHANGES {
        let output = rig.operator(change).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(CODE), "{change:?}: {output:?}");
    }
    let request = rig.request("mon", "").await;
    refused(&rig.enrol(&request, "mon-2", "geheim").await);
    let tls = ["--cert", "mon-1.pem", "--key", "mon-1.key", "-D", "headers"];
    refused(&rig.post(SIMPLEREENROLL, &request, &tls).await);
    let headers = std::fs::read_to_string(rig.path("headers")).unwrap().to_ascii_lowercase();
    assert!(headers.contains("retry-after: "), "{headers}");
    assert_eq!(rig.mqtt("mon-1.pem", "mon-1.key").await, Some(3), "server unavailable");
    assert_eq!(state(rig).await, before, "nothing was changed");
    assert_eq!(claim(rig).await.used_at_us, None, "the claim is unspent");
    CHANGES.len() + 3
}

/// The claim that was refused still enrols; what was refused is done when it is asked for again.
async fn everything_is_done(rig: &Rig) {
    let request = rig.request_of("mon", "").await;
    rig.save(&rig.enrol(&request, "mon-2", "geheim").await, "mon").await;
    assert_eq!(rig.mqtt("mon.pem", "mon.key").await, Some(0));
    let output = rig.operator(CHANGES[0]).await;
    assert!(output.status.success(), "{output:?}");
    rig.audited("the tenant", |event| event.action == "tenant_created" && event.target.contains("fresh"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_audit_events_nothing_is_issued_or_changed_until_there_is() {
    let disk = FaultStorage::new(12, 1 << 20);
    let rig = rig(&disk).await;
    disk.set_free_bytes(0);
    fill(&rig.node).await;
    println!("{} operations refused", nothing_is_done(&rig).await);
    disk.set_free_bytes(1 << 20);
    room(&rig.node).await;
    everything_is_done(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_issued_or_changed_until_the_disk_is_mended() {
    let disk = FaultStorage::new(12, 1 << 20);
    let rig = rig(&disk).await;
    disk.inject(Fault::Sync, 0);
    assert_eq!(rig.mqtt("mon-1.pem", "mon-1.key").await, Some(3), "its event failed");
    println!("{} operations refused", nothing_is_done(&rig).await);
    let Rig { dir, node } = rig;
    let _failed_as_told = node.shutdown().await;
    let rig = Rig::on(dir, disk.process(), small).await;
    everything_is_done(&rig).await;
}
