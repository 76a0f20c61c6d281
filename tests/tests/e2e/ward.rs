//! Devices and a subscriber in this process that outlive their gateway: what is not acknowledged is sent again, and the
//! subscriber resumes by cursor.

use crate::frames::now_us;
use crate::stand::Stand;
use anyhow::ensure;
use prost::Message;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{AlertEvent, Frame, Lane, SubscribeResponse};
use wardline_tests::alert_client::subscribe;
use wardline_tests::enrolled::enrol;
use wardline_tests::mqtt_client::load::Client;
use wardline_tests::mqtt_client::{Connection, Session};

const AGAIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_millis(800);
const DELIVER: Duration = Duration::from_secs(240);

/// Reads a number of the environment.
pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Makes the runtime that devices and subscriber live in; the test itself blocks.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Registers `mon-0` and the others with a gateway that does not run yet.
pub(crate) async fn devices(stand: &Stand, count: usize) -> anyhow::Result<Vec<Sender>> {
    let ids: Vec<String> = (0..count).map(|number| format!("mon-{number}")).collect();
    let enrolled = enrol(&stand.data(), crate::stand::TENANT, &ids).await?;
    let address = SocketAddr::from(([127, 0, 0, 1], stand.mqtt));
    let sender = |(client, _)| Sender { client, address, connection: None, connects: 0 };
    Ok(enrolled.into_iter().map(sender).collect())
}

/// A device.
pub(crate) struct Sender {
    client: Client,
    address: SocketAddr,
    connection: Option<Connection>,
    /// How often it connected.
    pub(crate) connects: usize,
}

impl Sender {
    /// Sends a frame, with its one number, until it is acknowledged.
    pub(crate) async fn deliver(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let channel = if frame.lane() == Lane::Alarm { "/up/alarm" } else { "/up/telemetry" };
        let topic = self.client.topic.replace("/up/telemetry", channel);
        let bytes = frame.encode_to_vec();
        let (until, mut pause) = (Instant::now() + DELIVER, AGAIN);
        loop {
            if self.attempt(&topic, &bytes).await.is_ok() {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{} delivers nothing", self.client.id);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    /// Opens the session, if there is none.
    pub(crate) async fn connect(&mut self) -> anyhow::Result<&mut Connection> {
        if self.connection.is_none() {
            let Client { id, tls, .. } = &self.client;
            self.connection = Some(Connection::connect(self.address, tls, id, Session::Clean).await?);
            self.connects += 1;
        }
        self.connection.as_mut().ok_or_else(|| anyhow::anyhow!("no session"))
    }

    async fn attempt(&mut self, topic: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let connection = self.connect().await?;
        let sent = connection.publish(topic, 1, 1, |payload| payload.extend_from_slice(bytes)).await;
        if sent.is_err() {
            self.connection = None;
        }
        sent.map(drop)
    }
}

/// A subscriber in the background.
pub(crate) struct Subscriber {
    log: Arc<Mutex<Vec<AlertEvent>>>,
    resumes: Arc<AtomicUsize>,
}

impl Subscriber {
    /// Starts one from the beginning of the log.
    pub(crate) fn start(runtime: &Runtime, port: u16, certs: PathBuf) -> Self {
        let (log, resumes) = (Arc::<Mutex<Vec<AlertEvent>>>::default(), Arc::<AtomicUsize>::default());
        let (heard, times) = (log.clone(), resumes.clone());
        runtime.spawn(async move {
            loop {
                let last = lock(&heard).last().map_or(0, |event| event.cursor);
                if let Ok(mut stream) = subscribe(port, &certs, last).await {
                    times.fetch_add(1, Ordering::Relaxed);
                    while let Ok(Some(SubscribeResponse { kind: Some(kind) })) = stream.message().await {
                        if let Kind::Event(event) = kind {
                            lock(&heard).push(event);
                        }
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self { log, resumes }
    }

    /// Returns what was heard so far, of rules that begin with `prefix`.
    pub(crate) fn heard(&self, prefix: &str) -> Vec<AlertEvent> {
        let about = |e: &&AlertEvent| e.alert.as_ref().is_some_and(|a| a.rule_id.starts_with(prefix));
        lock(&self.log).iter().filter(about).cloned().collect()
    }

    /// Returns how often it subscribed.
    pub(crate) fn subscriptions(&self) -> usize {
        self.resumes.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the gateway was down, unix microseconds.
#[derive(Debug, Default)]
pub(crate) struct Downs(Vec<(i64, i64)>);

impl Downs {
    /// Ends the gateway with `end`, waits, and starts it again.
    pub(crate) fn restart(
        &mut self,
        stand: &mut Stand,
        end: fn(&mut Stand) -> anyhow::Result<()>,
        away: Duration,
    ) -> anyhow::Result<()> {
        let from_us = now_us();
        end(stand)?;
        std::thread::sleep(away);
        stand.start()?;
        self.0.push((from_us, now_us()));
        Ok(())
    }

    /// Returns how much of a time the gateway was down.
    pub(crate) fn within_us(&self, from_us: i64, to_us: i64) -> i64 {
        self.0.iter().map(|(from, to)| (to_us.min(*to) - from_us.max(*from)).max(0)).sum()
    }
}
