//! A sink that does not answer: an alarm of its own, nobody else's delay, and nothing lost when it is back.

use super::events;
use super::rig::{Rig, service};
use crate::alert_service::{WebhookSettings, Webhooks};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use wardline_proto::v1::{AlarmPhase, SubscribeRequest};

/// A receiver that stands still while it is dead, and then keeps what it is sent.
#[derive(Clone, Default)]
struct Receiver {
    is_dead: Arc<AtomicBool>,
    cursors: Arc<Mutex<Vec<u64>>>,
    heartbeats: Arc<Mutex<usize>>,
}

async fn receive(State(receiver): State<Receiver>, body: String) -> StatusCode {
    let told: Value = serde_json::from_str(&body).unwrap();
    if receiver.is_dead.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let cursors = told["events"].as_array().unwrap().iter().map(|event| event["cursor"].as_u64().unwrap());
    receiver.cursors.lock().unwrap().extend(cursors);
    *receiver.heartbeats.lock().unwrap() += usize::from(told["type"] == "heartbeat");
    StatusCode::NO_CONTENT
}

async fn settings(receiver: &Receiver, secret: &std::path::Path) -> WebhookSettings {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new().route("/", post(receive)).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    std::fs::write(secret, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "name = \"paging\"\nurl = \"http://127.0.0.1:{port}/\"\ntenant = \"demo\"\nsecret_file = {secret:?}\n\
         timeout_s = 1\nheartbeat_s = 1\n"
    );
    toml::from_str(&text).unwrap()
}

async fn until(what: &str, is_so: &dyn Fn() -> bool) {
    let so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), so).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sink_hears_what_was_raised_before_anybody_served_it() {
    let rig = Rig::new().await;
    let (receiver, folder) = (Receiver::default(), tempfile::tempdir().unwrap());
    let settings = settings(&receiver, &folder.path().join("secret")).await;
    let webhooks = Webhooks::load(&[settings]).unwrap();
    webhooks.expect(rig.feed.store()).await.unwrap();
    let mut client = rig.client(&rig.ca.issue(&service("demo"))).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    rig.alarms(1, 3);
    assert_eq!(events(&mut stream, 6).await.len(), 6, "all of it is stored");
    // Another node with the same settings changes nothing.
    webhooks.expect(rig.feed.store()).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(webhooks.run(rig.feed.clone(), rig.metrics.clone(), stopped));
    until("it has everything", &|| receiver.cursors.lock().unwrap().len() >= 6).await;
    assert_eq!(receiver.cursors.lock().unwrap()[..6], [1, 2, 3, 4, 5, 6]);
    stop.send_replace(true);
    running.await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_is_an_alarm_delays_nobody_and_hears_everything_when_it_is_back() {
    let rig = Rig::new().await;
    let (receiver, folder) = (Receiver::default(), tempfile::tempdir().unwrap());
    let settings = settings(&receiver, &folder.path().join("secret")).await;
    let webhooks = Webhooks::load(&[settings]).unwrap();
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(webhooks.run(rig.feed.clone(), rig.metrics.clone(), stopped));
    until("it is asked whether it is there", &|| *receiver.heartbeats.lock().unwrap() > 0).await;
    receiver.is_dead.store(true, Ordering::Relaxed);
    let ward = rig.ca.issue(&service("demo"));
    let mut client = rig.client(&ward).await.unwrap();
    let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    let raised = Instant::now();
    rig.alarms(1, 20);
    assert_eq!(events(&mut stream, 40).await.len(), 40);
    assert!(raised.elapsed() < Duration::from_secs(3), "{:?}", raised.elapsed());
    assert!(receiver.cursors.lock().unwrap().is_empty());
    let lost = events(&mut stream, 1).await.remove(0);
    let alert = lost.alert.as_ref().unwrap();
    assert_eq!((alert.rule_id.as_str(), alert.detail.as_str()), ("system/listener-lost", "webhook:paging"));
    receiver.is_dead.store(false, Ordering::Relaxed);
    let mended = events(&mut stream, 1).await.remove(0);
    assert_eq!((mended.phase(), mended.alert.unwrap().alert_id), (AlarmPhase::End, alert.alert_id.clone()));
    until("it has everything", &|| receiver.cursors.lock().unwrap().len() >= 42).await;
    assert_eq!(*receiver.cursors.lock().unwrap(), (1..=42).collect::<Vec<_>>(), "in order, each once");
    stop.send_replace(true);
    running.await.unwrap();
    rig.stop().await;
}
