//! The subscribers, and the one that takes nothing.

use crate::alarms::now_us;
use anyhow::Context;
use hdrhistogram::Histogram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Streaming;
use tonic::transport::Channel;
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{Listener, SubscribeRequest, SubscribeResponse};
use wardline_tests::alert_client::connect;

/// Subscriptions that are opened at one time.
const AT_ONCE: usize = 16;
/// A stuck subscriber is given up after 10 s: another one takes its place before.
const SITS: Duration = Duration::from_secs(8);
/// What a stuck subscriber's connection holds, bytes: little, so that it is soon stuck.
const STUCK_WINDOW: u32 = 4096;

#[derive(Debug)]
struct Heard {
    latency_us: Histogram<u64>,
    is_measured: bool,
    /// Of each subscriber: its steps of devices, the last cursor, and what came twice.
    each: Vec<(u64, u64, u64)>,
}

/// Subscribers that take what comes.
pub(super) struct Crowd {
    heard: Arc<Mutex<Heard>>,
}

impl Crowd {
    /// Subscribes `count` times, from now on.
    pub(super) async fn gather(port: u16, certs: &Path, count: usize) -> anyhow::Result<Self> {
        let latency_us = Histogram::new_with_bounds(1, 3_600_000_000, 3)?;
        let heard = Heard { latency_us, is_measured: false, each: vec![(0, 0, 0); count] };
        let heard = Arc::new(Mutex::new(heard));
        let mut opening = JoinSet::new();
        for number in 0..count {
            if opening.len() >= AT_ONCE {
                opening.join_next().await.context("one is opening")???;
            }
            let (certs, heard) = (certs.to_owned(), heard.clone());
            opening.spawn(async move {
                let (client, stream) = subscribe(port, &certs, &format!("sub-{number}"), None).await?;
                tokio::spawn(listen(client, stream, number, heard));
                anyhow::Ok(())
            });
        }
        while let Some(opened) = opening.join_next().await {
            opened??;
        }
        Ok(Self { heard })
    }

    /// Begins a round.
    pub(super) fn begin(&self) {
        if let Ok(mut heard) = self.heard.lock() {
            heard.latency_us.reset();
            heard.is_measured = true;
        }
    }

    /// Ends a round; returns how late each event was heard in it.
    pub(super) fn end(&self) -> Histogram<u64> {
        let mut heard = self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        heard.is_measured = false;
        heard.latency_us.clone()
    }

    /// Returns the fewest steps that one of them heard, and how much came twice to all.
    pub(super) fn counts(&self) -> (u64, u64) {
        let heard = self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fewest = heard.each.iter().map(|(steps, ..)| *steps).min().unwrap_or(0);
        (fewest, heard.each.iter().map(|(.., twice)| twice).sum())
    }
}

/// A subscriber that takes nothing.
pub(super) struct Stuck(JoinHandle<()>);

impl Stuck {
    /// The same, without another one in its place.
    pub(super) async fn sit_once(port: u16, certs: &Path) -> anyhow::Result<Self> {
        let open = subscribe(port, certs, "stuck", Some(STUCK_WINDOW)).await?;
        Ok(Self(tokio::spawn(async move {
            let _held = &open;
            std::future::pending::<()>().await;
        })))
    }

    /// Subscribes from the beginning of the log, and reads nothing, until it is dropped.
    pub(super) async fn sit(port: u16, certs: &Path) -> anyhow::Result<Self> {
        let certs: PathBuf = certs.to_owned();
        let mut open = subscribe(port, &certs, "stuck", Some(STUCK_WINDOW)).await?;
        Ok(Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(SITS).await;
                match subscribe(port, &certs, "stuck", Some(STUCK_WINDOW)).await {
                    Ok(again) => open = again,
                    Err(error) => eprintln!("the stuck subscriber did not come back: {error:#}"),
                }
                let _held = &open;
            }
        })))
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Open = (AlertServiceClient<Channel>, Streaming<SubscribeResponse>);

async fn subscribe(port: u16, certs: &Path, name: &str, stuck: Option<u32>) -> anyhow::Result<Open> {
    let mut client = AlertServiceClient::new(connect(port, certs, stuck).await?);
    let listener = Some(Listener { name: name.to_owned(), ..Listener::default() });
    let request = SubscribeRequest { listener, from_now: stuck.is_none(), ..SubscribeRequest::default() };
    let stream = client.subscribe(request).await?.into_inner();
    Ok((client, stream))
}

async fn listen(
    _connection: AlertServiceClient<Channel>,
    mut stream: Streaming<SubscribeResponse>,
    number: usize,
    heard: Arc<Mutex<Heard>>,
) {
    loop {
        let event = match stream.message().await {
            Ok(Some(SubscribeResponse { kind: Some(Kind::Event(event)) })) => event,
            Ok(Some(_heartbeat)) => continue,
            Ok(None) => return eprintln!("subscriber {number} ended"),
            Err(status) => return eprintln!("subscriber {number} ended: {status}"),
        };
        let late_us = u64::try_from(now_us() - event.at_us).unwrap_or(0).max(1);
        let is_device = event.alert.is_some_and(|alert| alert.rule_id.starts_with("device/"));
        let Ok(mut heard) = heard.lock() else { return };
        if let Some((steps, last, twice)) = heard.each.get_mut(number) {
            *steps += u64::from(is_device);
            *twice += u64::from(event.cursor <= *last);
            *last = event.cursor.max(*last);
        }
        if is_device && heard.is_measured {
            heard.latency_us.saturating_record(late_us);
        }
    }
}
