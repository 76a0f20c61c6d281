//! A device against an agent that tears the link, keeps silent and checks every position.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use firmware_sim::outbox::OutboxLimits;
use firmware_sim::{DeviceOptions, Faults, LinkAddr, SourceOptions, Speed, SynthOptions, run_device};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wardline_proto::link::{Decoder, encode};
use wardline_proto::v1::{Body, LinkDown, LinkUp, link_up};

/// What an agent holds: bodies in order, and what it saw of the link.
#[derive(Default)]
struct Agent {
    durable: Vec<Body>,
    boot_ids: Vec<u64>,
    times_us: Vec<i64>,
    damaged: usize,
}

impl Agent {
    /// Serves one connection until `cut_after` messages were read or the device is gone.
    async fn serve(&mut self, mut stream: TcpStream, cut_after: usize) {
        let (mut decoder, mut bytes, mut seen) = (Decoder::default(), vec![0; 65536], 0);
        loop {
            let n = stream.read(&mut bytes).await.unwrap_or(0);
            if n == 0 {
                return;
            }
            decoder.push(&bytes[..n]);
            while let Some(message) = decoder.next_message::<LinkUp>() {
                match message {
                    Ok(up) => self.take(up, seen == 0),
                    Err(_) => self.damaged += 1,
                }
                seen += 1;
                if seen >= cut_after {
                    return;
                }
            }
            let mut ack = Vec::new();
            encode(&LinkDown { acked_seq: self.durable.len() as u64 }, &mut ack).unwrap();
            if stream.write_all(&ack).await.is_err() {
                return;
            }
        }
    }

    fn take(&mut self, up: LinkUp, first: bool) {
        match up.kind.unwrap() {
            link_up::Kind::Hello(hello) => {
                assert!(first, "hello comes first and once");
                assert!(up.seq <= self.durable.len() as u64, "bodies follow from what was acknowledged");
                self.boot_ids.push(hello.boot_id);
            }
            link_up::Kind::Time(time) => self.times_us.push(time.now_us),
            // Only what is next in line is kept; all else is a repetition or follows a damaged message.
            link_up::Kind::Body(body) if up.seq == self.durable.len() as u64 + 1 => self.durable.push(body),
            link_up::Kind::Body(_) => {}
        }
    }
}

fn options(listener: &TcpListener) -> DeviceOptions {
    let link = LinkAddr::from(listener.local_addr().unwrap());
    DeviceOptions {
        source: SourceOptions::Synthetic(SynthOptions { seed: 4, ..SynthOptions::default() }),
        speed: Speed::Max,
        start_us: Some(1_800_000_000_000_000),
        duration: Some(Duration::from_secs(200)),
        outbox: OutboxLimits { queue_bodies_max: 16, window_messages_max: 32 },
        ..DeviceOptions::new(link, "mon-1")
    }
}

async fn agent(
    listener: TcpListener,
    mut cuts: impl Iterator<Item = usize>,
    mut stop: watch::Receiver<bool>,
) -> Agent {
    let mut agent = Agent::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = stop.wait_for(|s| *s) => return agent,
        };
        tokio::select! {
            () = agent.serve(accepted, cuts.next().unwrap_or(usize::MAX)) => {}
            _ = stop.wait_for(|s| *s) => return agent,
        }
    }
}

async fn run(cuts: Vec<usize>, faults: Faults) -> Agent {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let device = DeviceOptions { faults, ..options(&listener) };
    let stats = device.stats.clone();
    let (stop, stopped) = watch::channel(false);
    let agent = tokio::spawn(agent(listener, cuts.into_iter(), stopped.clone()));
    let report = run_device(device, stopped).await.unwrap();
    stop.send(true).unwrap();
    let agent = agent.await.unwrap();
    assert!(report.complete);
    assert_eq!((report.bodies, report.acked, stats.dropped.get()), (400, 400, 0));
    assert_eq!(agent.durable.len(), 400);
    let readings = agent.durable.iter().flat_map(|b| &b.numerics).filter(|s| s.mdc_code == 150_456);
    assert!(readings.map(|s| s.start_us).is_sorted_by(|a, b| a < b), "every second once, in order");
    agent
}

#[tokio::test]
async fn everything_arrives_once_over_a_link_that_breaks() {
    let agent = run(vec![1, 7, 2, 40, 3, 90], Faults::default()).await;
    assert!(agent.boot_ids.len() >= 6);
    assert!(agent.boot_ids.iter().all(|id| *id == agent.boot_ids[0]));
}

#[tokio::test]
async fn everything_arrives_once_over_a_link_that_damages() {
    let agent = run(Vec::new(), Faults { corrupt: 0.01, ..Faults::default() }).await;
    assert!(agent.damaged > 0);
}

#[tokio::test]
async fn a_skewed_clock_shows_in_data_and_in_link_time() {
    let skew_us = 3_600_000_000;
    let agent = run(Vec::new(), Faults { clock_skew_us: skew_us, ..Faults::default() }).await;
    assert_eq!(agent.durable[0].numerics[0].start_us, 1_800_000_001_000_000 + skew_us);
    let wall_us = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64;
    assert!((agent.times_us[0] - wall_us - skew_us).abs() < 60_000_000);
}

/// A live monitor that could not send gives up waveforms, says so, and drains when it is told to stop.
#[tokio::test]
async fn a_live_device_tells_what_it_gave_up_and_drains_at_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let outbox = OutboxLimits { queue_bodies_max: 8, window_messages_max: 4 };
    let device = DeviceOptions { speed: Speed::Times(40.0), duration: None, outbox, ..options(&listener) };
    let (stats, (stop, stopped)) = (device.stats.clone(), watch::channel(false));
    let running = tokio::spawn(run_device(device, stopped.clone()));
    while stats.dropped.get() < 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (stop_agent, agent_stopped) = watch::channel(false);
    let serving = tokio::spawn(agent(listener, std::iter::empty(), agent_stopped));
    while stats.acked.get() < 30 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send(true).unwrap();
    let report = running.await.unwrap().unwrap();
    stop_agent.send(true).unwrap();
    let agent = serving.await.unwrap();
    assert!(report.complete && report.dropped.waveforms >= 8, "{report:?}");
    assert_eq!(agent.durable.len() as u64, report.acked);
    assert!(agent.boot_ids.iter().all(|id| *id == agent.boot_ids[0]));
    let events: Vec<_> = agent.durable.iter().flat_map(|b| &b.events).map(|e| e.name.as_str()).collect();
    assert!(!events.is_empty() && events.iter().all(|name| *name == "outbox_overflow"), "{events:?}");
}
