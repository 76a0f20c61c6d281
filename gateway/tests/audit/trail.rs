//! What operators do is in the trail, under their names, and can be told together.

use crate::gateway::{Gateway, Seen, client_config, key, open};
use serde_json::Value;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::process::Output;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use wardline::operate;
use wardline_proto::Identity;

fn listed(gateway: &Gateway, more: &[&str]) -> Vec<Value> {
    let output = gateway.run(&[&["audit", "list", "--json", "--limit", "1000"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until an event of this action is in the trail, and returns the newest.
async fn newest(gateway: &Gateway, action: &str) -> Value {
    let started = Instant::now();
    loop {
        if let Some(event) = listed(gateway, &["--action", action]).pop() {
            return event;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "no {action}: {:?}", listed(gateway, &[]));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn serial(event: &Value) -> &str {
    event["target"].as_str().unwrap().split("serial ").nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_its_session_its_revocation_and_the_cut_name_one_serial() {
    let mut gateway = Gateway::new(&["mon-1"]).await;
    let at = gateway.start();
    let config = client_config(&gateway.dir.path().join("mon-1"));
    let mut session = open(&config, at, "mon-1", &Seen::default()).await.unwrap();
    operate::revoke(gateway.dir.path(), &Identity::Device(key("mon-1"))).await.unwrap();
    // The session is cut within 2 s (SEC-2); a read then ends, one way or the other.
    let _cut = tokio::time::timeout(Duration::from_secs(4), session.read_u8()).await.unwrap();
    let issued = newest(&gateway, "certificate_issued").await;
    let actor = issued["actor"].as_str().unwrap().to_owned();
    assert!(actor.starts_with("os:") && actor.contains('@'), "{actor}");
    let revoked = newest(&gateway, "certificate_revoked").await;
    assert_eq!(revoked["actor"], issued["actor"]);
    let (opened, closed) =
        (newest(&gateway, "session_opened").await, newest(&gateway, "session_closed").await);
    assert_eq!(closed["outcome"], "WL-ID-002");
    for event in [&revoked, &opened, &closed] {
        assert_eq!(serial(event), serial(&issued), "{event}");
    }
    let own = listed(&gateway, &["--actor", &actor, "--since", "1h"]);
    assert!(own.iter().all(|event| event["actor"] == actor.as_str()) && own.len() >= 4, "{own:?}");
    assert!(listed(&gateway, &["--since", "2100-01-01T00:00:00Z"]).is_empty());
    gateway.stop();
    assert!(gateway.run(&["audit", "verify"]).status.success());
}

fn refused(output: &Output) -> bool {
    let told = String::from_utf8_lossy(&output.stderr);
    !output.status.success() && told.contains("WL-AUD-002") && output.stdout.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_the_archive_is_told_before_it_or_is_not_done() {
    let mut gateway = Gateway::new(&["mon-1"]).await;
    gateway.start();
    let shown = gateway.run(&["archive", "show", "--table", "audit", "--device", "mon-1"]);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let told = newest(&gateway, "archive_shown").await;
    assert_eq!(told["target"], "table audit device mon-1");
    assert!(told["outbox_id"].as_u64() > Some(0) && told["n"].as_u64() > Some(0), "{told}");
    newest(&gateway, "audit_listed").await;
    gateway.kill();
    let database = SqliteConnectOptions::new().filename(gateway.dir.path().join("wardline.db"));
    let mut connection = SqliteConnection::connect_with(&database).await.unwrap();
    sqlx::query("DROP TABLE audit_outbox").execute(&mut connection).await.unwrap();
    assert!(refused(&gateway.run(&["archive", "show"])));
    assert!(refused(&gateway.run(&["audit", "list"])));
    let verified = gateway.run(&["audit", "verify", "--json"]);
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((verified.status.success(), &report["ok"]), (true, &Value::Bool(true)), "{report}");
}
