//! Silence is never mistaken for health (ALR-2): each way in which nobody hears an alarm is an alarm.

use super::events;
use super::rig::{Certified, Rig, service};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tonic::Streaming;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Alert, ConfirmRequest, Listener, Priority, ReleaseListenerRequest,
    SubscribeRequest, SubscribeResponse,
};
use wardline_store::registry::Role;

/// A lease of two seconds, the watch's turn, and a loaded machine.
const NOTICED_MAX: Duration = Duration::from_secs(6);

async fn rig() -> (Rig, Certified, Streaming<SubscribeResponse>) {
    let rig = Rig::with(|options| options.heartbeat = Duration::from_millis(300)).await;
    let ward = rig.ca.issue(&service("demo"));
    rig.give(&ward, &[Role::Clinician]).await;
    let mut client = rig.client(&ward).await.unwrap();
    let stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    (rig, ward, stream)
}

async fn told(stream: &mut Streaming<SubscribeResponse>) -> (AlarmPhase, String, String) {
    let event = events(stream, 1).await.remove(0);
    let phase = event.phase();
    let Alert { rule_id, detail, .. } = check(event.alert.unwrap());
    (phase, rule_id, detail)
}

fn check(alert: Alert) -> Alert {
    assert_eq!((alert.kind(), alert.priority()), (AlarmKind::Technical, Priority::High));
    alert
}

fn started(rule: &str, detail: &str) -> (AlarmPhase, String, String) {
    (AlarmPhase::Start, rule.into(), detail.into())
}

fn ended(rule: &str, detail: &str) -> (AlarmPhase, String, String) {
    (AlarmPhase::End, rule.into(), detail.into())
}

fn listen(name: &str, site: &str, behind_s: u32) -> SubscribeRequest {
    let listener = Some(Listener { name: name.into(), lease_s: 2, behind_s });
    SubscribeRequest { listener, sites: vec![site.into()], from_now: true, ..SubscribeRequest::default() }
}

/// A listener as a task: it confirms what it hears, heartbeats too, until the flag is set. Then it stands still with
/// everything open, as a process after SIGSTOP.
async fn confirming(rig: &Rig, caller: &Certified, site: &str) -> Arc<AtomicBool> {
    let frozen = Arc::new(AtomicBool::new(false));
    let is_frozen = frozen.clone();
    let mut client = rig.client(caller).await.unwrap();
    let mut stream = client.subscribe(listen("desk", site, 0)).await.unwrap().into_inner();
    tokio::spawn(async move {
        while let Ok(Some(response)) = stream.message().await {
            let cursor = match response.kind {
                Some(Kind::Event(event)) => event.cursor,
                Some(Kind::Heartbeat(beat)) => beat.cursor,
                None => continue,
            };
            let request = ConfirmRequest { name: "desk".into(), cursor, release: false };
            if is_frozen.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if client.confirm(request).await.is_err() {
                return;
            }
        }
    });
    frozen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ward_without_a_listener_is_told_and_a_listener_mends_it() {
    let (rig, ward, mut stream) = rig().await;
    rig.place("mon-1", "icu-1").await;
    assert_eq!(told(&mut stream).await, started("system/ward-unheard", "icu-1"));
    assert_eq!(rig.metrics.wards_unheard.get(), 1);
    let desk = confirming(&rig, &ward, "icu-1").await;
    assert_eq!(told(&mut stream).await, ended("system/ward-unheard", "icu-1"));
    // Nothing closes, nothing is confirmed.
    desk.store(true, Ordering::Relaxed);
    let silent = Instant::now();
    let name = format!("{}#desk", service("demo"));
    let mut both = vec![told(&mut stream).await, told(&mut stream).await];
    assert!(silent.elapsed() < NOTICED_MAX, "{:?}", silent.elapsed());
    both.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(both, [started("system/listener-lost", &name), started("system/ward-unheard", "icu-1")]);
    // It comes back.
    let _desk = confirming(&rig, &ward, "icu-1").await;
    let mut both = vec![told(&mut stream).await, told(&mut stream).await];
    both.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(both, [ended("system/listener-lost", &name), ended("system/ward-unheard", "icu-1")]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_says_goodbye_or_is_released_is_not_missed() {
    let (rig, ward, mut stream) = rig().await;
    let mut client = rig.client(&ward).await.unwrap();
    let _open = client.subscribe(listen("one", "icu-1", 0)).await.unwrap();
    let _open = client.subscribe(listen("two", "icu-1", 0)).await.unwrap();
    let goodbye = ConfirmRequest { name: "one".into(), cursor: 0, release: true };
    assert_eq!(client.confirm(goodbye).await.unwrap().into_inner().leased_until_us, 0);
    let two = format!("{}#two", service("demo"));
    assert_eq!(told(&mut stream).await, started("system/listener-lost", &two));
    let release = ReleaseListenerRequest { listener: two.clone(), ..ReleaseListenerRequest::default() };
    client.release_listener(release).await.unwrap();
    assert_eq!(told(&mut stream).await, ended("system/listener-lost", &two));
    let pending = rig.store.audit_outbox_pending(100).await.unwrap();
    assert!(pending.iter().any(|row| row.action == "alert_listener_released"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_leaves_events_unconfirmed_is_behind() {
    let (rig, ward, mut stream) = rig().await;
    let mut client = rig.client(&ward).await.unwrap();
    let _open = client.subscribe(listen("desk", "icu-1", 1)).await.unwrap();
    rig.alarms(1, 1);
    events(&mut stream, 2).await;
    let name = format!("{}#desk", service("demo"));
    // It lives and confirms nothing new.
    let mut alive = rig.client(&ward).await.unwrap();
    let renewing = tokio::spawn(async move {
        loop {
            let request = ConfirmRequest { name: "desk".into(), cursor: 0, release: false };
            alive.confirm(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    assert_eq!(told(&mut stream).await, started("system/listener-behind", &name));
    renewing.abort();
    let request = ConfirmRequest { name: "desk".into(), cursor: 3, release: false };
    client.confirm(request).await.unwrap();
    assert_eq!(told(&mut stream).await, ended("system/listener-behind", &name));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_engine_is_told_through_the_service_and_ends_when_another_takes_its_place() {
    let (mut rig, _ward, mut stream) = rig().await;
    rig.alarms(1, 1);
    events(&mut stream, 2).await;
    rig.place("mon-1", "icu-1").await;
    assert_eq!(told(&mut stream).await, started("system/ward-unheard", "icu-1"));
    rig.kill_engine().await;
    assert_eq!(told(&mut stream).await, started("system/engine-silent", ""));
    rig.start_engine();
    assert_eq!(told(&mut stream).await, ended("system/engine-silent", ""));
    rig.alarms(2, 1);
    assert_eq!(events(&mut stream, 2).await[1].phase(), AlarmPhase::End, "and it decides again");
    rig.stop().await;
}
