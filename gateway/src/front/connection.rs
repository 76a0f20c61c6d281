//! One connection: opened by [`super::opening`], then the session's loop over the socket.
//!
//! One task per connection. What arrived is decoded as a whole, its records are appended, and replies leave in one
//! write per wake. An idle session holds no read buffer and no timer entry but one.

use super::admission::HandshakePlace;
use super::codec::{self, Version};
use super::devices::{Device, SessionControl};
use super::limits::{DRAIN_MAX, OUT_KEPT_BYTES_MAX, STALL_STEP};
use super::link::Link;
use super::opening::{open, shake_hands};
use super::session::{Heard, Next, Session};
use super::wire::Wire;
use super::{Front, reply};
use bytes::{Buf, BytesMut};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use wardline_journal::{DurableWatch, Lost, Waiter};
use wardline_proto::Identity;
use wardline_proto::refusal::Refusal;

pub(super) type Socket = TlsStream<Wire>;

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
    poll_fn(|cx| poll_read_some(socket, buffer, cx)).await
}

fn poll_read_some(
    socket: &mut Socket,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut socket = Pin::new(socket);
    let chunk = ready!(socket.as_mut().poll_fill_buf(cx))?;
    let bytes = chunk.len();
    buffer.extend_from_slice(chunk);
    socket.consume(bytes);
    Poll::Ready(Ok(bytes))
}

/// What a session does next.
enum Turn {
    Ended(Refusal),
    Reached(Result<(), Lost>),
    Read(io::Result<usize>),
    Down(Option<BytesMut>),
    Late,
}

/// Looks at what wakes a session once in its life: its end from outside, and its timer. Both keep the waker that they
/// were polled with, so they are polled again only when it or the deadline is another than in `armed`: their memory is
/// cold, and looking there would be much of what a wake costs beside the socket.
fn poll_rare(
    armed: &mut Option<Waker>,
    ended: Pin<&mut impl Future<Output = Refusal>>,
    timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<Turn> {
    if armed.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        return if timer.is_elapsed() { Poll::Ready(Turn::Late) } else { Poll::Pending };
    }
    // Without budget the timer does not take the waker; it is polled again then.
    *armed = has_budget_remaining().then(|| cx.waker().clone());
    if let Poll::Ready(refusal) = ended.poll(cx) {
        return Poll::Ready(Turn::Ended(refusal));
    }
    timer.poll(cx).map(|()| Turn::Late)
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
    pub(super) waiter: Waiter,
    pub(super) buffer: BytesMut,
    pub(super) out: BytesMut,
    pub(super) idle_max: Duration,
    pub(super) link: Option<Box<Link>>,
    pub(super) heard: Heard,
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
        let mut ended = pin!(control.ended());
        let mut timer = pin!(sleep_until(self.deadline()));
        let mut armed = None;
        loop {
            // Before what has been read already: nothing is taken from a session that was cut (SEC-2).
            if let Some(refusal) = control.reason() {
                return refusal.into();
            }
            if let Err(end) = self.advance().await {
                return end;
            }
            if timer.deadline() > self.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(self.deadline());
                armed = None;
            }
            let turn = match self.turn(&control, &mut armed, ended.as_mut(), timer.as_mut()).await {
                Turn::Ended(refusal) => Err(refusal.into()),
                Turn::Reached(reached) => reached.map_err(|_lost| Refusal::JournalFailed.into()),
                Turn::Read(read) => self.heard(read),
                Turn::Down(down) => self.forward(down),
                Turn::Late => self.late(),
            };
            if let Err(end) = turn {
                return end;
            }
        }
    }

    /// Waits for something to do. The first two are what wakes a session all the time.
    async fn turn(
        &mut self,
        control: &SessionControl,
        armed: &mut Option<Waker>,
        mut ended: Pin<&mut impl Future<Output = Refusal>>,
        mut timer: Pin<&mut Sleep>,
    ) -> Turn {
        let (awaited, has_room) = (self.session.awaited(), self.session.has_room());
        let has_link = self.link.is_some();
        let mut down = pin!(Link::next(&mut self.link));
        let turn = poll_fn(|cx| {
            if let Some(refusal) = control.reason() {
                return Poll::Ready(Turn::Ended(refusal));
            }
            if let Some(Poll::Ready(reached)) = awaited.map(|offset| self.waiter.poll(offset, cx)) {
                return Poll::Ready(Turn::Reached(reached));
            }
            if has_room && let Poll::Ready(read) = poll_read_some(&mut self.socket, &mut self.buffer, cx) {
                return Poll::Ready(Turn::Read(read));
            }
            if has_link && let Poll::Ready(down) = down.as_mut().poll(cx) {
                return Poll::Ready(Turn::Down(down));
            }
            poll_rare(armed, ended.as_mut(), timer.as_mut(), cx)
        });
        turn.await
    }

    fn heard(&mut self, read: io::Result<usize>) -> Result<(), End> {
        if read? == 0 {
            return Err(End::Closed);
        }
        self.heard = Heard::now();
        self.guard.control.heard(self.heard.at);
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
            self.partial_since.get_or_insert(self.heard.at.into());
        }
        self.session.release(&self.watch, &mut self.out)?;
        self.flush().await?;
        end
    }

    async fn handle(&mut self, packet: codec::Packet) -> Result<(), End> {
        self.partial_since = None;
        match self.session.handle(packet, self.heard, &mut self.out)? {
            Next::Continue => Ok(()),
            Next::Goodbye => Err(End::Closed),
            Next::Down(packet) => {
                let front = self.guard.front.clone();
                let (key, session) = (self.guard.device.key.clone(), &self.session);
                Ok(Link::handle(&mut self.link, &front, &key, session, packet, &mut self.out).await?)
            }
        }
    }

    /// Passes on what comes down. Without a router the subscriptions are gone: the device connects and asks anew.
    fn forward(&mut self, down: Option<BytesMut>) -> Result<(), End> {
        self.out.extend_from_slice(&down.ok_or(Refusal::Draining)?);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        // Nearly always the socket takes it at once, and no timer is made.
        let sent = poll_fn(|cx| Poll::Ready(self.poll_send(cx))).await;
        if sent.is_pending() {
            let write = async {
                self.socket.write_all(&self.out).await?;
                self.socket.flush().await
            };
            match timeout(self.guard.front.options.deadlines.write, write).await {
                Ok(written) => written?,
                Err(_elapsed) => return Err(Refusal::MqttTooSlow.into()),
            }
        } else if let Poll::Ready(sent) = sent {
            sent?;
        }
        if self.out.capacity() > OUT_KEPT_BYTES_MAX {
            self.out = BytesMut::new();
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// Writes what the socket takes now, off the front of `out`; pending when that is not all.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.out))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(sent);
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn deadline(&self) -> Instant {
        if self.session.is_stalled() {
            return Instant::now() + STALL_STEP;
        }
        let packet = self.partial_since.map(|since| since + self.guard.front.options.deadlines.packet);
        let idle = (Instant::from(self.heard.at) + self.idle_max).min(self.expires_at);
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
        } else if now >= Instant::from(self.heard.at) + self.idle_max {
            Err(Refusal::MqttKeepAlive.into())
        } else {
            Err(Refusal::MqttTooSlow.into())
        }
    }

    /// Ends the session from our side: what was taken is acknowledged first where that may still be.
    async fn farewell(&mut self, refusal: Refusal) {
        if !matches!(refusal, Refusal::MqttTakenOver | Refusal::Draining | Refusal::Moved) {
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
            let elsewhere = self.guard.front.options.drain.reference();
            reply::disconnect(&mut self.out, refusal, &elsewhere);
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
