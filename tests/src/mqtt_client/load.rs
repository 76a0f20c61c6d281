//! Many connections at once, each with a fixed number of publishes in flight.

use super::{Connection, Session};
use anyhow::Context;
use hdrhistogram::Histogram;
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Handshakes at the same time: enough to keep a server busy, few enough for its accept queue.
pub const CONNECTING_MAX: usize = 16;
/// Significant digits of latencies.
const LATENCY_DIGITS: u8 = 3;

/// A client: who it is and where it publishes.
#[derive(Debug, Clone)]
pub struct Client {
    /// Client id.
    pub id: String,
    /// The topic that it publishes on.
    pub topic: String,
    /// Its certificate and what it trusts.
    pub tls: Arc<ClientConfig>,
}

/// A connected client with the payloads that it has still to send.
pub struct Publisher<F> {
    connection: Connection,
    topic: String,
    fill: F,
}

/// How fast each publisher goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as acknowledgements come, with so many publishes in flight.
    Window(u16),
    /// One at a time, one each period, the publishers spread over it. A late one does not make up for lost time.
    Every(Duration),
}

/// What a load did.
#[derive(Debug)]
pub struct LoadReport {
    /// Acknowledged publishes.
    pub acked: u64,
    /// From the first write to the last acknowledgement.
    pub elapsed: Duration,
    /// From write to acknowledgement, microseconds.
    pub latency_us: Histogram<u64>,
}

/// Opens a session for each client, a few at a time, in order.
pub async fn connect_all(address: SocketAddr, clients: &[Client]) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(clients.len());
    for group in clients.chunks(CONNECTING_MAX) {
        let mut tasks = Vec::with_capacity(group.len());
        for client in group.iter().cloned() {
            tasks.push(tokio::spawn(async move {
                Connection::connect(address, &client.tls, &client.id, Session::Clean).await
            }));
        }
        for task in tasks {
            connections.push(task.await??);
        }
    }
    Ok(connections)
}

/// Connects each client and pairs it with the payloads that `source` makes for it.
pub async fn publishers<F: FnMut(&mut Vec<u8>)>(
    address: SocketAddr,
    clients: &[Client],
    mut source: impl FnMut(usize) -> F,
) -> anyhow::Result<Vec<Publisher<F>>> {
    let connections = connect_all(address, clients).await?;
    let with_source = |(index, (connection, client)): (usize, (Connection, &Client))| Publisher {
        connection,
        topic: client.topic.clone(),
        fill: source(index),
    };
    Ok(connections.into_iter().zip(clients).enumerate().map(with_source).collect())
}

/// Publishes `messages_each` from every publisher at once.
pub async fn run<F>(
    publishers: Vec<Publisher<F>>,
    messages_each: usize,
    pace: Pace,
) -> anyhow::Result<(LoadReport, Vec<Publisher<F>>)>
where
    F: FnMut(&mut Vec<u8>) + Send + 'static,
{
    let mut back = Vec::with_capacity(publishers.len());
    let mut tasks = JoinSet::new();
    let (start, count) = (Instant::now(), publishers.len() as u32);
    for (index, mut publisher) in (0..).zip(publishers) {
        tasks.spawn(async move {
            let latencies = match pace {
                Pace::Window(window) => {
                    let Publisher { connection, topic, fill } = &mut publisher;
                    connection.publish(topic, messages_each, window, fill).await
                }
                Pace::Every(period) => publisher.paced(messages_each, period, period * index / count).await,
            };
            latencies.map(|latencies| (latencies, publisher))
        });
    }
    let mut latencies = Vec::with_capacity(back.capacity());
    while let Some(done) = tasks.join_next().await {
        let (of_one, publisher) = done.context("a client ended")??;
        latencies.push(of_one);
        back.push(publisher);
    }
    let elapsed = start.elapsed();
    let mut latency_us = Histogram::new(LATENCY_DIGITS)?;
    for latency in latencies.iter().flatten() {
        latency_us.record(u64::from(*latency).max(1))?;
    }
    Ok((LoadReport { acked: latency_us.len(), elapsed, latency_us }, back))
}

impl<F: FnMut(&mut Vec<u8>)> Publisher<F> {
    /// Publishes one each period, the first after `delay`; returns the latencies, microseconds.
    async fn paced(
        &mut self,
        messages: usize,
        period: Duration,
        delay: Duration,
    ) -> anyhow::Result<Vec<u32>> {
        let mut latencies = Vec::with_capacity(messages);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + delay, period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for _ in 0..messages {
            ticks.tick().await;
            latencies.extend(self.connection.publish(&self.topic, 1, 1, &mut self.fill).await?);
        }
        Ok(latencies)
    }
}

/// Ends every session.
pub async fn disconnect_all<F>(publishers: Vec<Publisher<F>>) {
    for publisher in publishers {
        // The measurement is done; a session that ended before is no news.
        let _ = publisher.connection.disconnect().await;
    }
}
