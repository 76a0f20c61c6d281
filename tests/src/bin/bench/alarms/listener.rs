//! The ward: one subscriber over gRPC and mutual TLS.

use crate::lab::Place;
use crate::server::{binaries, wardline_data};
use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::Streaming;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{AlarmPhase, SubscribeResponse};
use wardline_tests::alert_client::subscribe;

/// The gateway's gRPC port opens after its MQTT port.
const CONNECT_WAIT: Duration = Duration::from_secs(20);
const CONNECT_POLL: Duration = Duration::from_millis(100);

/// What was heard: onset, and how much later.
type Log = Arc<Mutex<Vec<(u64, i64, u64)>>>;

/// A subscription in the background.
pub(super) struct Listener {
    log: Log,
}

/// What a subscriber heard, in numbers.
pub(super) struct Heard {
    /// From the alarm's timestamp to here, alarms raised before the surge.
    pub(super) steady_us: Histogram<u64>,
    /// The same of those raised in it.
    pub(super) surge_us: Histogram<u64>,
    pub(super) events: u64,
    pub(super) twice: u64,
}

/// Issues the subscriber's certificate, before the gateway starts.
pub(crate) fn issue(place: &Place) -> anyhow::Result<PathBuf> {
    let certs = place.folder.join("ward");
    let mut command = binaries::command("wardline")?;
    command.args(["service", "issue", "--tenant", "bench", "--name", "ward", "--data-dir"]);
    command.arg(wardline_data(place)).arg("--out").arg(&certs);
    let output = command.output().context("wardline service issue")?;
    ensure!(output.status.success(), "wardline service issue: {}", String::from_utf8_lossy(&output.stderr));
    Ok(certs)
}

/// Subscribes; returns when the gateway has taken the subscription.
pub(super) async fn start(port: u16, certs: &Path) -> anyhow::Result<Listener> {
    let until = Instant::now() + CONNECT_WAIT;
    let stream = loop {
        match subscribe(port, certs, 0).await {
            Ok(stream) => break stream,
            Err(error) => ensure!(Instant::now() < until, "no subscription: {error:#}"),
        }
        tokio::time::sleep(CONNECT_POLL).await;
    };
    let log = Log::default();
    tokio::spawn(listen(stream, log.clone()));
    Ok(Listener { log })
}

async fn listen(mut stream: Streaming<SubscribeResponse>, log: Log) {
    loop {
        let event = match stream.message().await {
            Ok(Some(SubscribeResponse { kind: Some(Kind::Event(event)) })) => event,
            Ok(Some(_heartbeat)) => continue,
            Ok(None) => return eprintln!("the subscription ended"),
            Err(status) => return eprintln!("the subscription ended: {status}"),
        };
        let device = event.alert.as_ref().is_some_and(|alert| alert.rule_id.starts_with("device/"));
        if !device {
            continue;
        }
        // An end has its time in the event, a start as well: both are steps of a device.
        let late_us = super::fleet::now_us() - event.at_us;
        let onset_us = if event.phase() == AlarmPhase::Start { event.at_us } else { 0 };
        if let Ok(mut log) = log.lock() {
            log.push((event.cursor, onset_us, u64::try_from(late_us).unwrap_or(0).max(1)));
        }
    }
}

impl Listener {
    /// Counts what was heard so far.
    pub(super) fn finish(&self, surge_at_us: i64) -> Heard {
        let log = self.log.lock().map(|log| log.clone()).unwrap_or_default();
        let empty = Histogram::new_with_bounds(1, 3_600_000_000, 3);
        let (mut steady_us, mut surge_us) = match (empty.clone(), empty) {
            (Ok(steady), Ok(surge)) => (steady, surge),
            _ => unreachable!("the bounds are constants"),
        };
        let mut cursors = HashSet::new();
        for (cursor, onset_us, late_us) in &log {
            cursors.insert(*cursor);
            match *onset_us {
                0 => {}
                onset_us if onset_us < surge_at_us => steady_us.saturating_record(*late_us),
                _ => surge_us.saturating_record(*late_us),
            }
        }
        let events = cursors.len() as u64;
        Heard { steady_us, surge_us, events, twice: log.len() as u64 - events }
    }
}
