//! One session: connect, publish with a window, subscribe, receive.

use super::packet::{self, Incoming};
use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The name that every server under test has a certificate for.
const SERVER_NAME: &str = "localhost";
const KEEP_ALIVE_SECONDS: u16 = 600;
const CONNECT_WAIT: Duration = Duration::from_secs(20);
/// No server is slower than this when it is alive.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 4 * 1024;

/// What the server keeps of a session when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Nothing.
    Clean,
    /// Subscriptions and what was not delivered.
    Kept,
}

/// An open session.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    inbound: BytesMut,
    outbound: BytesMut,
    session_present: bool,
}

impl Connection {
    /// Connects, shakes hands and waits for the server to accept the session.
    pub async fn connect(
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
        client_id: &str,
        session: Session,
    ) -> anyhow::Result<Self> {
        let connecting = Self::connect_unbounded(address, tls, client_id, session);
        tokio::time::timeout(CONNECT_WAIT, connecting).await.context("no connection in time")?
    }

    async fn connect_unbounded(
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
        client_id: &str,
        session: Session,
    ) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("connect")?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, socket).await.context("handshake")?;
        let (inbound, outbound) = (BytesMut::new(), BytesMut::new());
        let mut connection = Self { stream, inbound, outbound, session_present: false };
        let clean = session == Session::Clean;
        packet::connect(&mut connection.outbound, client_id, clean, KEEP_ALIVE_SECONDS);
        connection.flush().await?;
        match connection.next_unbounded().await? {
            Incoming::ConnAck { code: 0, session_present } => {
                connection.session_present = session_present;
                Ok(connection)
            }
            other => bail!("the server answered CONNECT with {other:?}"),
        }
    }

    /// Says whether the server knew the session.
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// Publishes `count` messages with at most `window` in flight; returns the microseconds that each
    /// acknowledgement took, from the write. `fill` writes the next payload into an empty buffer.
    pub async fn publish(
        &mut self,
        topic: &str,
        count: usize,
        window: u16,
        mut fill: impl FnMut(&mut Vec<u8>),
    ) -> anyhow::Result<Vec<u32>> {
        let mut free: VecDeque<u16> = (1..=window).collect();
        let mut sent_at = vec![None; usize::from(window)];
        let (mut sent, mut latencies_us) = (0, Vec::with_capacity(count));
        let mut payload = Vec::new();
        while latencies_us.len() < count {
            let now = Instant::now();
            while sent < count {
                let Some(packet_id) = free.pop_front() else { break };
                payload.clear();
                fill(&mut payload);
                packet::publish(&mut self.outbound, packet_id, topic, &payload);
                sent_at[usize::from(packet_id) - 1] = Some(now);
                sent += 1;
            }
            self.flush().await?;
            self.acknowledged(|packet_id, now| {
                let slot = sent_at.get_mut(usize::from(packet_id).wrapping_sub(1));
                let at = slot.and_then(Option::take).context("an acknowledgement of nothing in flight")?;
                latencies_us.push(u32::try_from((now - at).as_micros()).unwrap_or(u32::MAX));
                free.push_back(packet_id);
                Ok(())
            })
            .await?;
        }
        Ok(latencies_us)
    }

    /// Waits for at least one PUBACK and takes all that came with it.
    async fn acknowledged(
        &mut self,
        mut take: impl FnMut(u16, Instant) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut next = Some(self.next().await?);
        let now = Instant::now();
        while let Some(incoming) = next {
            match incoming {
                Incoming::PubAck(packet_id) => take(packet_id, now)?,
                other => bail!("{other:?} instead of an acknowledgement"),
            }
            next = packet::decode(&mut self.inbound)?;
        }
        Ok(())
    }

    /// Subscribes with QoS 1.
    pub async fn subscribe(&mut self, filter: &str) -> anyhow::Result<()> {
        packet::subscribe(&mut self.outbound, 1, filter);
        self.flush().await?;
        match self.next().await? {
            Incoming::SubAck(0..=2) => Ok(()),
            other => bail!("the server answered SUBSCRIBE with {other:?}"),
        }
    }

    /// Receives and acknowledges publishes until none comes for `quiet`.
    pub async fn receive(&mut self, quiet: Duration) -> anyhow::Result<Vec<Bytes>> {
        let mut payloads = Vec::new();
        while let Ok(incoming) = tokio::time::timeout(quiet, self.next_unbounded()).await {
            if let Incoming::Publish { packet_id, payload } = incoming? {
                payloads.push(payload);
                if packet_id > 0 {
                    packet::puback(&mut self.outbound, packet_id);
                    self.flush().await?;
                }
            }
        }
        Ok(payloads)
    }

    /// Ends the session in order.
    pub async fn disconnect(mut self) -> anyhow::Result<()> {
        packet::disconnect(&mut self.outbound);
        self.flush().await?;
        // The server may have closed first.
        let _ = self.stream.shutdown().await;
        Ok(())
    }

    async fn next(&mut self) -> anyhow::Result<Incoming> {
        tokio::time::timeout(ANSWER_WAIT, self.next_unbounded()).await.context("the server is silent")?
    }

    async fn next_unbounded(&mut self) -> anyhow::Result<Incoming> {
        loop {
            if let Some(incoming) = packet::decode(&mut self.inbound)? {
                return Ok(incoming);
            }
            self.inbound.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.inbound).await.context("read")?;
            ensure!(read > 0, "the server closed the connection");
        }
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.outbound.is_empty() {
            self.stream.write_all(&self.outbound).await.context("write")?;
            self.stream.flush().await.context("write")?;
            self.outbound.clear();
        }
        Ok(())
    }
}
