//! One connection: opened by [`super::opening`], then the session's loop over the socket.
//!
//! One task per connection. What arrived is decoded as a whole, its records are appended, and replies leave in one
//! write per wake. An idle session holds no read buffer and no timer entry but one.

use super::admission::HandshakePlace;
use super::codec::{self, Version};
use super::devices::{Device, SessionControl};
use super::downlink::Link;
use super::limits::{DRAIN_MAX, STALL_STEP};
use super::opening::{open, shake_hands};
use super::session::{Next, Session};
use super::{Front, reply};
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use wardline_journal::DurableWatch;
use wardline_proto::Identity;
use wardline_proto::refusal::Refusal;

pub(super) type Socket = TlsStream<TcpStream>;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The device said goodbye or closed.
    Closed,
    /// The network did.
    Lost,
    /// We did, with a reason.
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for End {
    fn from(_error: io::Error) -> Self {
        Self::Lost
    }
}

/// Serves one connection to its end. `handshake` is given back after the handshake.
pub(super) async fn serve(front: Arc<Front>, tcp: TcpStream, handshake: HandshakePlace) {
    // Each phase has its own box, and so has what one hands to the next: a future keeps room for every value that it ever
    // held, and an idle session is to carry neither its handshake nor copies of itself.
    let peer = Box::pin(shake_hands(&front, tcp)).await;
    drop(handshake);
    let Some(peer) = peer else { return };
    let opened = Box::pin(open(&front, peer)).await;
    if let Some(connection) = opened {
        Box::pin(connection.run()).await;
    }
}

/// Waits for bytes and takes what TLS has decrypted; 0 at the end. Needs no buffer while it waits.
pub(super) async fn read_some(socket: &mut Socket, buffer: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut socket = Pin::new(&mut *socket);
        let chunk = std::task::ready!(socket.as_mut().poll_fill_buf(cx))?;
        let bytes = chunk.len();
        buffer.extend_from_slice(chunk);
        socket.consume(bytes);
        std::task::Poll::Ready(Ok(bytes))
    })
    .await
}

/// Closes the books of a session however it ends, a panic included.
pub(super) struct Guard {
    pub(super) front: Arc<Front>,
    pub(super) device: Arc<Device>,
    pub(super) control: Arc<SessionControl>,
    pub(super) outcome: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let outcome = if std::thread::panicking() { "panicked" } else { self.outcome };
        self.front.devices.close(&self.device.key, &self.control);
        self.front.metrics.sessions.dec();
        let actor = Identity::Device(self.device.key.clone()).uri(&self.front.trust_domain);
        let target = format!("serial {}", self.control.serial());
        if self.front.auditor.record("session_closed", &actor, outcome, target).is_err() {
            tracing::warn!(device = %self.device.key, outcome, "session closed without an audit event");
        }
    }
}

/// An open session on its socket.
pub(super) struct Connection {
    pub(super) guard: Guard,
    pub(super) socket: Socket,
    pub(super) session: Session,
    pub(super) watch: DurableWatch,
    pub(super) buffer: BytesMut,
    pub(super) out: BytesMut,
    pub(super) idle_max: Duration,
    pub(super) link: Option<Box<Link>>,
    pub(super) heard_at: Instant,
    /// When the first byte of a packet came that is not whole yet.
    pub(super) partial_since: Option<Instant>,
    pub(super) expires_at: Instant,
}

impl Connection {
    async fn run(mut self: Box<Self>) {
        let end = self.serve().await;
        self.guard.outcome = match end {
            End::Closed => "ok",
            End::Lost => "lost",
            End::Refused(refusal) => {
                self.farewell(refusal).await;
                refusal.code()
            }
        };
    }

    async fn serve(&mut self) -> End {
        let control = self.guard.control.clone();
        let mut timer = pin!(sleep_until(self.deadline()));
        loop {
            // Before what has been read already: nothing is taken from a session that was cut (SEC-2).
            if let Some(refusal) = control.reason() {
                return refusal.into();
            }
            if let Err(end) = self.advance().await {
                return end;
            }
            if timer.deadline() > self.deadline() {
                timer.as_mut().reset(self.deadline());
            }
            let (awaited, has_room) = (self.session.awaited(), self.session.has_room());
            let turn: Result<(), End> = tokio::select! {
                biased;
                refusal = control.ended() => Err(refusal.into()),
                reached = self.watch.reached(awaited.unwrap_or_default()), if awaited.is_some() => {
                    reached.map_err(|_lost| Refusal::JournalFailed.into())
                }
                read = read_some(&mut self.socket, &mut self.buffer), if has_room => self.heard(read),
                down = Link::next(&mut self.link) => self.forward(down),
                () = timer.as_mut() => {
                    let late = self.late();
                    timer.as_mut().reset(self.deadline());
                    late
                }
            };
            if let Err(end) = turn {
                return end;
            }
        }
    }

    fn heard(&mut self, read: io::Result<usize>) -> Result<(), End> {
        if read? == 0 {
            return Err(End::Closed);
        }
        self.heard_at = Instant::now();
        self.guard.control.heard(self.heard_at.into_std());
        Ok(())
    }

    /// Decodes what is there, appends it, and writes every reply that is due.
    async fn advance(&mut self) -> Result<(), End> {
        let mut end = Ok(());
        while self.session.has_room() {
            let packet = match codec::read_packet(self.session.version(), &mut self.buffer) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(refusal) => {
                    end = Err(refusal.into());
                    break;
                }
            };
            end = self.handle(packet).await;
            if end.is_err() {
                break;
            }
        }
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.partial_since = None;
        } else if self.session.has_room() {
            self.partial_since.get_or_insert(self.heard_at);
        }
        self.session.release(&self.watch, &mut self.out)?;
        self.flush().await?;
        end
    }

    async fn handle(&mut self, packet: codec::Packet) -> Result<(), End> {
        self.partial_since = None;
        match self.session.handle(packet, &mut self.out)? {
            Next::Continue => Ok(()),
            Next::Goodbye => Err(End::Closed),
            Next::Down(packet) => {
                let front = self.guard.front.clone();
                let (key, version) = (self.guard.device.key.clone(), self.session.version());
                Ok(Link::handle(&mut self.link, &front, &key, version, packet, &mut self.out).await?)
            }
        }
    }

    /// Passes on what comes down. Without the router the subscriptions are gone: the device connects and asks anew.
    fn forward(&mut self, down: Option<BytesMut>) -> Result<(), End> {
        self.out.extend_from_slice(&down.ok_or(Refusal::Draining)?);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let write = async {
            self.socket.write_all(&self.out).await?;
            self.socket.flush().await
        };
        match timeout(self.guard.front.options.deadlines.write, write).await {
            Ok(written) => written?,
            Err(_elapsed) => return Err(Refusal::MqttTooSlow.into()),
        }
        self.out = BytesMut::new();
        Ok(())
    }

    fn deadline(&self) -> Instant {
        if self.session.is_stalled() {
            return Instant::now() + STALL_STEP;
        }
        let packet = self.partial_since.map(|since| since + self.guard.front.options.deadlines.packet);
        let idle = (self.heard_at + self.idle_max).min(self.expires_at);
        packet.map_or(idle, |packet| packet.min(idle))
    }

    fn late(&mut self) -> Result<(), End> {
        if self.session.is_stalled() {
            return Ok(self.session.retry()?);
        }
        let now = Instant::now();
        if now < self.deadline() {
            Ok(())
        } else if now >= self.expires_at {
            Err(Refusal::IdentityExpired.into())
        } else if now >= self.heard_at + self.idle_max {
            Err(Refusal::MqttKeepAlive.into())
        } else {
            Err(Refusal::MqttTooSlow.into())
        }
    }

    /// Ends the session from our side: what was taken is acknowledged first where that may still be.
    async fn farewell(&mut self, refusal: Refusal) {
        if !matches!(refusal, Refusal::MqttTakenOver | Refusal::Draining) {
            // The session ends either way; a failing audit shows in readiness.
            let _ = self.session.refused(refusal, "session");
        }
        if !matches!(refusal, Refusal::IdentityRevoked | Refusal::JournalFailed) {
            let settled = timeout(DRAIN_MAX, self.settle()).await;
            if !matches!(settled, Ok(Ok(()))) {
                return;
            }
        }
        if self.session.version() == Version::V5 {
            reply::disconnect(&mut self.out, refusal);
        }
        if self.flush().await.is_ok() {
            // The peer may be gone already.
            let _ = timeout(self.guard.front.options.deadlines.write, self.socket.shutdown()).await;
        }
    }

    async fn settle(&mut self) -> Result<(), End> {
        loop {
            self.session.release(&self.watch, &mut self.out)?;
            let Some(offset) = self.session.awaited() else { return Ok(()) };
            self.watch.reached(offset).await.map_err(|_lost| Refusal::JournalFailed)?;
        }
    }
}
