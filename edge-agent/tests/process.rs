//! The agent as a process: what the service manager is told, and how it stops.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Est, Gateway, PATIENCE, Pki, enrolled, until};
use tempfile::tempdir;

/// Reads messages until one has all of `words`.
fn hear(socket: &UnixDatagram, words: &[&str]) -> String {
    let due = Instant::now() + PATIENCE;
    let mut bytes = [0; 4096];
    while Instant::now() < due {
        let Ok(n) = socket.recv(&mut bytes) else { continue };
        let message = String::from_utf8(bytes[..n].to_vec()).unwrap();
        if words.iter().all(|word| message.contains(word)) {
            return message;
        }
    }
    panic!("the service manager never heard {words:?}");
}

#[tokio::test]
async fn the_service_manager_hears_ready_alive_status_and_stopping() {
    let (pki, dir) = (Arc::new(Pki::new()), tempdir().unwrap());
    let (est, gateway) = (Est::start(Arc::clone(&pki)).await, Gateway::start(&pki).await);
    est.with(|state| state.fronts = vec![format!("localhost:{}", gateway.addr.port())]);
    let options = enrolled(&est, dir.path()).await;
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_wardline-edge"))
        .args(["run", "--link", "tcp://127.0.0.1:0", "--certs"])
        .arg(&options.certs_dir)
        .arg("--spool")
        .arg(&options.spool_dir)
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until("it connects", || gateway.connects() == 1).await;
    let heard = tokio::task::spawn_blocking(move || {
        hear(&socket, &["READY=1"]);
        hear(&socket, &["WATCHDOG=1"]);
        hear(&socket, &["STATUS=connected, 0 frames wait, certificate ends in 29 days"]);
        socket
    });
    let socket = heard.await.unwrap();
    let pid = agent.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let heard = tokio::task::spawn_blocking(move || hear(&socket, &["STOPPING=1"]));
    heard.await.unwrap();
    let status = tokio::task::spawn_blocking(move || agent.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status:?}");
}
