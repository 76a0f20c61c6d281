//! Killed in a flood of connects, the trail stays whole, and no session that a device knows of is missing from it.

use crate::gateway::{Gateway, Seen, client_config, flood};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wardline::audit::trail::Trail;

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

async fn opened(gateway: &Gateway) -> BTreeMap<String, u64> {
    let trail = Trail::open(gateway.dir.path()).await.unwrap();
    let mut rows = trail.newest.clone();
    for file in &trail.files {
        rows.extend(trail.events_of(file).unwrap());
    }
    let mut opened = BTreeMap::new();
    for event in rows.iter().map(|row| &row.event).filter(|event| event.action == "session_opened") {
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
    for cycle in 0..cycles() {
        flooded_and_killed(&mut gateway, &seen, cycle).await;
        assert_verifies(&gateway);
    }
    gateway.start();
    gateway.stop();
    assert_verifies(&gateway);
    let opened = opened(&gateway).await;
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
