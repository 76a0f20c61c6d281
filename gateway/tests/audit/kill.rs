//! Killed in a flood of connects, the trail stays whole, and no session that a device knows of is missing from it.

use crate::gateway::{Gateway, Seen, client_config, flood};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wardline::audit::trail::Trail;
use wardline_proto::v1::AuditEvent;
use wardline_store::Store;
use wardline_store::outbox::Change;

const DEVICES: [&str; 4] = ["mon-1", "mon-2", "mon-3", "mon-4"];
const CLIENTS_PER_DEVICE: usize = 4;
/// Kills in the whole suite; `WARDLINE_KILL_CYCLES` raises it.
const CYCLES: u64 = 5;

fn cycles() -> u64 {
    std::env::var("WARDLINE_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(CYCLES)
}

/// Floods the gateway until it has taken some sessions, kills it, and waits for the clients to notice.
async fn flooded_and_killed(gateway: &mut Gateway, seen: &BTreeMap<&'static str, Arc<Seen>>, cycle: u64) {
    let at = gateway.start();
    let taken = || seen.values().map(|seen| seen.accepted.load(Ordering::SeqCst)).sum::<u64>();
    let (before, started) = (taken(), Instant::now());
    let clients: Vec<_> = seen
        .iter()
        .flat_map(|(device, seen)| std::iter::repeat_n((*device, seen.clone()), CLIENTS_PER_DEVICE))
        .map(|(device, seen)| {
            let config = client_config(&gateway.dir.path().join(device));
            tokio::spawn(async move { flood(config, at, device, &seen).await })
        })
        .collect();
    while taken() < before + 40 + 37 * cycle % 150 && started.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    gateway.kill();
    for client in clients {
        client.await.unwrap();
    }
    let rate = (taken() - before) as f64 / started.elapsed().as_secs_f64();
    println!("cycle {cycle}: {} sessions, {rate:.0} connects/s", taken() - before);
    assert!(taken() > before, "no session before the kill");
}

/// Writes into the outbox as a command beside the gateway does, all through the kills; returns how often.
async fn acts(dir: &Path, over: Arc<AtomicBool>) -> u64 {
    let store = Store::open_existing(&dir.join("wardline.db")).await.unwrap();
    let mut acts = 0;
    while !over.load(Ordering::SeqCst) {
        let change = Change { actor: "os:alice@front".into(), at_us: 1 };
        store.record_audit(&change, "tested", "ok", &acts.to_string()).await.unwrap();
        acts += 1;
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    store.close().await;
    acts
}

async fn events(gateway: &Gateway) -> Vec<AuditEvent> {
    let trail = Trail::open(gateway.dir.path()).await.unwrap();
    let mut rows = trail.newest.clone();
    for file in &trail.files {
        rows.extend(trail.events_of(file).unwrap().unwrap());
    }
    rows.into_iter().map(|row| row.event).collect()
}

fn opened(events: &[AuditEvent]) -> BTreeMap<String, u64> {
    let mut opened = BTreeMap::new();
    for event in events.iter().filter(|event| event.action == "session_opened") {
        let device = event.actor.rsplit('/').next().unwrap().to_owned();
        *opened.entry(device).or_default() += 1;
    }
    opened
}

fn assert_verifies(gateway: &Gateway) {
    let verified = gateway.run(&["audit", "verify"]);
    let told = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{told}{}", String::from_utf8_lossy(&verified.stderr));
    assert_eq!(told.matches("node ").count(), 1, "one chain over all lives:\n{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_breaks_the_chain_and_every_connack_has_its_event() {
    let mut gateway = Gateway::new(&DEVICES).await;
    let seen: BTreeMap<_, _> = DEVICES.map(|device| (device, Arc::new(Seen::default()))).into();
    let (dir, over) = (gateway.dir.path().to_owned(), Arc::new(AtomicBool::new(false)));
    let acting = tokio::spawn({
        let over = over.clone();
        async move { acts(&dir, over).await }
    });
    for cycle in 0..cycles() {
        flooded_and_killed(&mut gateway, &seen, cycle).await;
        assert_verifies(&gateway);
    }
    gateway.start();
    over.store(true, Ordering::SeqCst);
    let acts = acting.await.unwrap();
    gateway.stop();
    assert_verifies(&gateway);
    let events = events(&gateway).await;
    let told: BTreeSet<_> = events.iter().filter(|e| e.action == "tested").map(|e| &e.target).collect();
    let relayed: Vec<_> = events.iter().map(|event| event.outbox_id).filter(|id| *id > 0).collect();
    let ids: BTreeSet<_> = relayed.iter().copied().collect();
    println!("{} rows of the outbox relayed, {acts} of them acts during the kills", relayed.len());
    assert_eq!(told.len() as u64, acts, "every act is in the trail");
    assert_eq!(ids.len(), relayed.len(), "no row twice");
    assert!(ids.last().is_some_and(|last| *last == ids.len() as u64), "no row is missing: {ids:?}");
    let opened = opened(&events);
    let (mut accepted_all, mut opened_all) = (0, 0);
    for (device, seen) in &seen {
        let (sent, accepted) = (seen.sent.load(Ordering::SeqCst), seen.accepted.load(Ordering::SeqCst));
        let opened = opened.get(*device).copied().unwrap_or_default();
        println!("{device}: CONNECT sent {sent}, session_opened {opened}, CONNACK seen {accepted}");
        assert!(accepted <= opened, "{device}: a CONNACK without its event");
        assert!(opened <= sent, "{device}: an event without a CONNECT");
        (accepted_all, opened_all) = (accepted_all + accepted, opened_all + opened);
    }
    let cut_at_most = cycles() * (DEVICES.len() * CLIENTS_PER_DEVICE) as u64;
    assert!(opened_all - accepted_all <= cut_at_most, "more events than CONNACKs that kills can have cut");
}
