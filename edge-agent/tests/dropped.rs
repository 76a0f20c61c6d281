//! A handle that is dropped: the agent runs on, and rests when there is nothing to do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Pki, connected, numeric, options, start, until};
use tempfile::tempdir;
use tokio::net::TcpListener;
use wardline_proto::v1::Lane;

/// How long the agent is watched doing nothing.
const WATCHED: Duration = Duration::from_secs(1);

/// Returns how long this thread has run. Every task of a test runs on its thread.
fn ran() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_connected_agent_goes_on_sending_and_does_not_spin() {
    let (_kept, gateway, agent, mut device) = connected().await;
    device.send(numeric(1.0)).await;
    until("the first frame", || gateway.acked(Lane::Numerics) == [1]).await;
    drop(agent);
    device.send(numeric(2.0)).await;
    device.wait_acked().await;
    until("the second frame", || gateway.acked(Lane::Numerics) == [1, 2]).await;
    let before = ran();
    tokio::time::sleep(WATCHED).await;
    let busy = ran() - before;
    println!("busy for {busy:?} of {WATCHED:?}");
    assert!(busy < WATCHED / 4, "busy for {busy:?} of {WATCHED:?}");
    assert_eq!(gateway.connects(), 1, "on the same connection");
}

#[tokio::test]
async fn an_agent_without_a_gateway_goes_on_trying_with_growing_delays() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    tokio::spawn(async move {
        while nobody.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    drop(start(options(&pki.device("m-1"), dir.path(), port)).await);
    until("it tries", || attempts.load(Ordering::SeqCst) > 2).await;
    let before = attempts.load(Ordering::SeqCst);
    tokio::time::sleep(WATCHED * 2).await;
    let tried = attempts.load(Ordering::SeqCst) - before;
    println!("{tried} attempts in {:?}", WATCHED * 2);
    // The delays here are 40 to 400 ms.
    assert!((2..=40).contains(&tried), "{tried} attempts");
}
