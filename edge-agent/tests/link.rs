//! The device's side: acknowledged means durable, sent again means once, damaged means sent again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Device, Gateway, PATIENCE, Pki, alarm, connected, numeric, options, start, until, waveform};
use tempfile::tempdir;
use wardline_edge::{LaneIndex, LinkAddr};
use wardline_proto::v1::{Body, Lane};

#[tokio::test]
async fn a_damaged_message_is_not_acknowledged_nor_is_what_follows_it() {
    let (_kept, gateway, agent, mut device) = connected().await;
    device.send(numeric(1.0)).await;
    device.wait_acked().await;
    device.send_raw(b"\x05noise\0").await;
    device.skip();
    device.send(numeric(3.0)).await;
    assert_eq!(device.read_acks_for(Duration::from_millis(300)).await, 0, "3 must wait for 2");
    assert_eq!(agent.stats().link_damaged, 1);
    device.fill_skipped(numeric(2.0)).await;
    device.wait_acked().await;
    assert!(agent.wait_until_sent(PATIENCE).await);
    let values: Vec<_> = gateway.bodies(Lane::Numerics).into_iter().map(|(_, body)| body).collect();
    assert_eq!(values, [numeric(1.0), numeric(2.0), numeric(3.0)]);
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_device_that_reconnects_is_acknowledged_again_and_makes_no_second_reading() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    let certs = pki.device("m-1");
    let agent = start(options(&certs, dir.path(), gateway.addr.port())).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    let bodies: Vec<(u64, Body)> =
        vec![(1, numeric(1.0)), (2, alarm("a")), (3, waveform(1, 50)), (4, numeric(2.0))];
    for (_, body) in &bodies {
        device.send(body.clone()).await;
    }
    device.wait_acked().await;
    // The acknowledgements never arrived: the device sends everything again, to this agent and to its next start.
    device.forget_acks(bodies.clone());
    device.connect(agent.link_addr()).await;
    device.wait_acked().await;
    assert_eq!(agent.stats().duplicates, 4);
    assert!(agent.wait_until_sent(PATIENCE).await);
    agent.shutdown().await.unwrap();

    let agent = start(options(&certs, dir.path(), gateway.addr.port())).await;
    device.forget_acks(bodies);
    device.connect(agent.link_addr()).await;
    device.send(numeric(3.0)).await;
    device.wait_acked().await;
    assert!(agent.wait_until_sent(PATIENCE).await);
    assert_eq!(agent.stats().total().framed, 1);
    agent.shutdown().await.unwrap();
    let numerics: Vec<_> = gateway.bodies(Lane::Numerics).into_iter().map(|(_, body)| body).collect();
    assert_eq!(numerics, [numeric(1.0), numeric(2.0), numeric(3.0)]);
    assert_eq!((gateway.acked(Lane::Alarm), gateway.acked(Lane::Waveforms)), (vec![1], vec![1]));
}

#[tokio::test]
async fn dropped_frames_leave_a_hole_and_an_event_that_names_it() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    let addr = gateway.addr;
    drop(gateway);
    let mut options = options(&pki.device("m-1"), dir.path(), addr.port());
    options.spool_bytes_max = wardline_edge::SPOOL_BYTES_MIN;
    let agent = start(options).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    for seed in 0..60 {
        device.send(waveform(seed, 9_000)).await;
    }
    device.send(alarm("asystole")).await;
    device.wait_acked().await;
    let dropped = agent.stats().lane(LaneIndex::WAVEFORMS).dropped;
    assert!(dropped > 0 && dropped < 60, "{dropped}");
    let gateway = Gateway::start_on(&pki, addr).await;
    assert!(agent.wait_until_sent(PATIENCE).await);
    until("the gap is reported", || !gateway.acked(Lane::Events).is_empty()).await;
    let kept = 60 - dropped;
    assert_eq!(gateway.acked(Lane::Waveforms), (1..=kept).collect::<Vec<_>>());
    assert_eq!(gateway.acked(Lane::Alarm), [1]);
    let event = gateway.bodies(Lane::Events)[0].1.events[0].clone();
    let gap = event.spool_gap.unwrap();
    assert_eq!((event.name.as_str(), gap.lane()), ("spool_gap", Lane::Waveforms));
    assert_eq!((gap.first_seq, gap.last_seq), (kept + 1, 60));
    // What comes after the gap goes on counting behind it.
    device.send(waveform(99, 100)).await;
    device.wait_acked().await;
    until("it goes on", || gateway.acked(Lane::Waveforms).last() == Some(&61)).await;
    agent.shutdown().await.unwrap();
}

fn spawn(certs: &std::path::Path, spool: &std::path::Path, server_port: u16, link: &LinkAddr) -> Child {
    Command::new(env!("CARGO_BIN_EXE_wardline-edge"))
        .args(["run", "--server", &format!("localhost:{server_port}"), "--link", &link.to_string()])
        .args(["--backoff-min-ms", "40", "--backoff-max-ms", "200"])
        .arg("--certs")
        .arg(certs)
        .arg("--spool")
        .arg(spool)
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a real agent again and again while the device sends; every reading arrives once.
#[tokio::test]
async fn killed_at_any_moment_every_reading_arrives_once() {
    const CYCLES: u64 = 8;
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let gateway = Gateway::start(&pki).await;
    let certs = pki.device("m-1");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let link = LinkAddr::Tcp(([127, 0, 0, 1], port).into());
    let mut device = Device::new(7);
    for cycle in 0..CYCLES {
        let mut agent = spawn(&certs, dir.path(), gateway.addr.port(), &link);
        device.connect_when_up(&link).await;
        for reading in 1..=25 {
            device.send(numeric((cycle * 25 + reading) as f64)).await;
        }
        // Odd moments: before, between and after the syncs, the publishes and the acknowledgements.
        device.read_acks_for(Duration::from_millis(3 * cycle)).await;
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    let mut agent = spawn(&certs, dir.path(), gateway.addr.port(), &link);
    device.connect_when_up(&link).await;
    device.wait_acked().await;
    let total = CYCLES * 25;
    until("all have arrived", || gateway.acked(Lane::Numerics).len() as u64 >= total).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    let expected: Vec<_> = (1..=total).map(|seq| (seq, numeric(seq as f64))).collect();
    assert_eq!(gateway.bodies(Lane::Numerics), expected);
}
