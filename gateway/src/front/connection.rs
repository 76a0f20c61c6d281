//! One connection: TLS, identity, CONNECT, then the session's loop over the socket.
//!
//! One task per connection. What arrived is decoded as a whole, its records are appended, and replies leave in one
//! write per wake. An idle session holds no read buffer and no timer entry but one.

use super::codec::{self, Version};
use super::devices::{Device, SessionControl};
use super::downlink::Link;
use super::identity::{self, Credential};
use super::limits::{DRAIN_MAX, IDLE_MAX, KEEP_ALIVE_SECONDS_MAX, TLS_BUFFER_BYTES_MAX};
use super::session::{Next, Session};
use super::{Front, now_us, reply};
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wardline_journal::DurableWatch;
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;

type Socket = TlsStream<TcpStream>;

/// How a connection ended.
#[derive(Debug)]
enum End {
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

/// A peer that has shaken hands.
struct Peer {
    socket: Socket,
    credential: Credential,
    admitted: Result<DeviceKey, Refusal>,
}

/// Serves one connection to its end. `handshake` is given back after the handshake.
pub(super) async fn serve(front: Arc<Front>, tcp: TcpStream, handshake: OwnedSemaphorePermit) {
    // Each phase has its own box, so that an idle session does not carry the room of its handshake.
    let peer = Box::pin(shake_hands(&front, tcp)).await;
    drop(handshake);
    let Some(peer) = peer else { return };
    let opened = Box::pin(open(&front, peer)).await;
    if let Some(connection) = opened {
        Box::pin(connection.run()).await;
    }
}

/// TLS and the identity step. Who has no certificate of ours never gets further; that is counted, not audited.
async fn shake_hands(front: &Arc<Front>, tcp: TcpStream) -> Option<Peer> {
    let limit = front.options.deadlines.handshake;
    let acceptor = TlsAcceptor::from(front.tls.current());
    let accept = acceptor.accept_with(tcp, |tls| tls.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX)));
    let socket = match timeout(limit, accept).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            tracing::debug!(%error, "handshake failed");
            front.metrics.handshakes_failed.inc();
            return None;
        }
        Err(_elapsed) => {
            front.metrics.handshakes_failed.inc();
            return None;
        }
    };
    let chain = socket.get_ref().1.peer_certificates().unwrap_or_default();
    match identity::read(chain, &front.trust_domain, now_us()) {
        Ok(credential) => {
            let admitted = identity::admit(&credential, &front.directory).await;
            Some(Peer { socket, credential, admitted })
        }
        Err(refusal) => {
            front.refused_unnamed(refusal);
            None
        }
    }
}

/// Reads the CONNECT and answers it.
async fn open(front: &Arc<Front>, mut peer: Peer) -> Option<Connection> {
    let actor = peer.credential.identity.uri(&front.trust_domain);
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    let deadline = Instant::now() + front.options.deadlines.connect;
    let connect = match timeout_at(deadline, read_connect(&mut peer.socket, &mut buffer)).await {
        Ok(Ok(connect)) => connect,
        Ok(Err(End::Refused(refusal))) => return refuse_open(front, peer, &actor, None, refusal).await,
        Ok(Err(End::Closed | End::Lost)) => return None,
        Err(_elapsed) => return refuse_open(front, peer, &actor, None, Refusal::MqttTooSlow).await,
    };
    let version = connect.version;
    let key = match peer.admitted.clone().and_then(|key| front.check_connect(&connect, &key).map(|()| key)) {
        Ok(key) => key,
        Err(refusal) => return refuse_open(front, peer, &actor, Some(version), refusal).await,
    };
    let serial = peer.credential.serial.to_string();
    if front.auditor.record("session_opened", &actor, "ok", format!("serial {serial}")).is_err() {
        return refuse_open(front, peer, &actor, Some(version), Refusal::JournalFailed).await;
    }
    let device = front.devices.get(&key, &front.options.budget);
    let control = front.devices.open(&key, peer.credential.serial.clone());
    let (idle_max, server_keep_alive) = keep_alive(version, connect.keep_alive);
    let assigned = connect.client_id.is_empty().then(|| key.device.as_str());
    reply::connack(&mut out, version, server_keep_alive, assigned);
    let session = Session::new(front.clone(), device.clone(), version, peer.credential.serial.as_bytes());
    front.metrics.sessions.inc();
    let expires_in = (peer.credential.not_after_s - now_us() / 1_000_000).max(0) as u64;
    Some(Connection {
        watch: front.journal.durable(),
        guard: Guard { front: front.clone(), device, control, outcome: "lost" },
        socket: peer.socket,
        session,
        buffer,
        out,
        idle_max,
        link: None,
        heard_at: Instant::now(),
        partial_since: None,
        expires_at: Instant::now() + Duration::from_secs(expires_in),
    })
}

/// Returns how long the session may be silent, and the keep-alive that a v5 device is told.
fn keep_alive(version: Version, asked: u16) -> (Duration, Option<u16>) {
    let granted = match (version, asked) {
        (Version::V4, 0) => return (IDLE_MAX, None),
        (Version::V4, seconds) => return (Duration::from_millis(u64::from(seconds) * 1500), None),
        (Version::V5, 0) => KEEP_ALIVE_SECONDS_MAX,
        (Version::V5, seconds) => seconds.min(KEEP_ALIVE_SECONDS_MAX),
    };
    let told = (granted != asked).then_some(granted);
    (Duration::from_millis(u64::from(granted) * 1500), told)
}

async fn read_connect(socket: &mut Socket, buffer: &mut BytesMut) -> Result<codec::Connect, End> {
    loop {
        if let Some(connect) = codec::read_connect(buffer)? {
            return Ok(connect);
        }
        if read_some(socket, buffer).await? == 0 {
            return Err(End::Closed);
        }
    }
}

async fn refuse_open<T>(
    front: &Front,
    mut peer: Peer,
    actor: &str,
    version: Option<Version>,
    refusal: Refusal,
) -> Option<T> {
    front.refused_peer(actor, refusal);
    let mut out = BytesMut::new();
    // Before the version is known there is but one refusal with an answer: the version itself.
    match version {
        Some(version) => reply::connack_refused(&mut out, version, refusal),
        None if refusal == Refusal::MqttVersion => reply::connack_refused(&mut out, Version::V4, refusal),
        None => {}
    }
    let farewell = async {
        peer.socket.write_all(&out).await?;
        peer.socket.shutdown().await
    };
    // The peer is refused whether it hears so or not.
    let _ = timeout(front.options.deadlines.write, farewell).await;
    None
}

/// Waits for bytes and takes what TLS has decrypted; 0 at the end. Needs no buffer while it waits.
async fn read_some(socket: &mut Socket, buffer: &mut BytesMut) -> io::Result<usize> {
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
struct Guard {
    front: Arc<Front>,
    device: Arc<Device>,
    control: Arc<SessionControl>,
    outcome: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let outcome = if std::thread::panicking() { "panicked" } else { self.outcome };
        self.front.devices.close(&self.device.key, &self.control);
        self.front.metrics.sessions.dec();
        let actor = wardline_proto::Identity::Device(self.device.key.clone()).uri(&self.front.trust_domain);
        if self.front.auditor.record("session_closed", &actor, outcome, String::new()).is_err() {
            tracing::warn!(device = %self.device.key, outcome, "session closed without an audit event");
        }
    }
}

/// An open session on its socket.
struct Connection {
    guard: Guard,
    socket: Socket,
    session: Session,
    watch: DurableWatch,
    buffer: BytesMut,
    out: BytesMut,
    idle_max: Duration,
    link: Option<Box<Link>>,
    heard_at: Instant,
    /// When the first byte of a packet came that is not whole yet.
    partial_since: Option<Instant>,
    expires_at: Instant,
}

impl Connection {
    async fn run(mut self) {
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
            if let Err(end) = self.advance().await {
                return end;
            }
            if timer.deadline() > self.deadline() {
                timer.as_mut().reset(self.deadline());
            }
            let (waiting, has_room) = (self.session.is_waiting(), self.session.has_room());
            let turn: Result<(), End> = tokio::select! {
                biased;
                refusal = control.ended() => Err(refusal.into()),
                changed = self.watch.changed(), if waiting => {
                    changed.map(drop).map_err(|_lost| Refusal::JournalFailed.into())
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
        let packet = self.partial_since.map(|since| since + self.guard.front.options.deadlines.packet);
        let idle = (self.heard_at + self.idle_max).min(self.expires_at);
        packet.map_or(idle, |packet| packet.min(idle))
    }

    fn late(&self) -> Result<(), End> {
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
            if !self.session.is_waiting() {
                return Ok(());
            }
            self.watch.changed().await.map_err(|_lost| Refusal::JournalFailed)?;
        }
    }
}
