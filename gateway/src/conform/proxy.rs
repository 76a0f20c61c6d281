//! A TCP proxy before the gateway that relays, delays, swallows the gateway's answers, refuses and cuts.
//!
//! It sees no plaintext: what it knows is when bytes went which way, and the TLS version that the gateway chose.

use super::hello::{TlsVersion, chosen};
use super::limits::{HELLO_BYTES_MAX, LINES_MAX, OPEN_LINES_MAX, RELAY_BYTES};
use crate::front::now_us;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// What happens to bytes and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Relayed at once.
    Pass,
    /// Relayed after a while.
    Delay(Duration),
    /// Relayed to the gateway; what it answers is swallowed.
    SwallowAnswers,
    /// Closed as soon as they are accepted: the gateway cannot be reached.
    Refuse,
}

/// One connection as the proxy saw it. Times are unix microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// When it was accepted.
    pub(super) opened_us: i64,
    /// When it ended.
    pub(super) closed_us: Option<i64>,
    /// Whether it was refused at once.
    pub(super) refused: bool,
    /// What the gateway chose, when it got that far.
    pub(super) tls: Option<TlsVersion>,
    /// When the device last sent something.
    pub(super) heard_us: i64,
    /// The longest that the device said nothing.
    pub(super) silence_us: i64,
}

#[derive(Debug)]
struct Shared {
    mode: watch::Sender<Mode>,
    cut: watch::Sender<u64>,
    lines: Mutex<Vec<Line>>,
    room: Semaphore,
}

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Relays what comes to `listen` on to `target`.
    pub(super) async fn start(listen: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(Mode::Pass),
            cut: watch::Sender::new(0),
            lines: Mutex::default(),
            room: Semaphore::new(OPEN_LINES_MAX),
        });
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&shared)));
        Ok(Self { addr, shared, accepting })
    }

    /// Returns where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what happens from now on.
    pub(super) fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Ends every open connection. What is not relayed yet is lost.
    pub(super) fn cut(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// Returns the connections so far.
    pub(super) fn lines(&self) -> Vec<Line> {
        self.shared.lines().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection; none when there are too many to keep.
    fn open(&self, refused: bool) -> Option<usize> {
        let now = now_us();
        let mut lines = self.lines();
        let closed_us = refused.then_some(now);
        let line = Line { opened_us: now, closed_us, refused, tls: None, heard_us: now, silence_us: 0 };
        (lines.len() < LINES_MAX).then(|| {
            lines.push(line);
            lines.len() - 1
        })
    }

    fn note(&self, number: Option<usize>, change: impl FnOnce(&mut Line)) {
        let Some(number) = number else { return };
        if let Some(line) = self.lines().get_mut(number) {
            change(line);
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok((device, _)) = listener.accept().await else {
            // Out of file descriptors does not pass by asking again at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let refuse = *shared.mode.borrow() == Mode::Refuse || shared.room.available_permits() == 0;
        let number = shared.open(refuse);
        if !refuse {
            tokio::spawn(serve(device, target, number, Arc::clone(&shared)));
        }
    }
}

async fn serve(device: TcpStream, target: SocketAddr, number: Option<usize>, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let Ok(_room) = shared.room.acquire().await else { return };
    if let Ok(gateway) = TcpStream::connect(target).await {
        // Nagle would add a delay of its own to what is measured.
        let _ = (device.set_nodelay(true), gateway.set_nodelay(true));
        let (from_device, to_device) = device.into_split();
        let (from_gateway, to_gateway) = gateway.into_split();
        tokio::select! {
            _ = cut.changed() => {}
            () = up(from_device, to_gateway, number, &shared) => {}
            () = down(from_gateway, to_device, number, &shared) => {}
        }
    }
    let now = now_us();
    shared.note(number, |line| {
        line.silence_us = line.silence_us.max(now - line.heard_us);
        line.closed_us = Some(now);
    });
}

/// Relays to the gateway until one side ends.
async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: Option<usize>, shared: &Shared) {
    let mut bytes = vec![0; RELAY_BYTES];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        let now = now_us();
        shared.note(number, |line| {
            line.silence_us = line.silence_us.max(now - line.heard_us);
            line.heard_us = now;
        });
        wait(shared).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Relays to the device until one side ends.
async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: Option<usize>, shared: &Shared) {
    let (mut bytes, mut hello) = (vec![0; RELAY_BYTES], Some(Vec::new()));
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        if let Some(mut seen) = hello.take() {
            seen.extend_from_slice(&bytes[..count]);
            match chosen(&seen) {
                Some(version) => shared.note(number, |line| line.tls = Some(version)),
                None if seen.len() < HELLO_BYTES_MAX => hello = Some(seen),
                None => {}
            }
        }
        wait(shared).await;
        if *shared.mode.borrow() == Mode::SwallowAnswers {
            continue;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

async fn wait(shared: &Shared) {
    let mode = *shared.mode.borrow();
    if let Mode::Delay(delay) = mode {
        tokio::time::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        addr
    }

    async fn asks(stream: &mut TcpStream) -> Option<u8> {
        stream.write_all(b"x").await.ok()?;
        let mut answer = [0];
        let read = stream.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_millis(400), read).await.ok()?.ok()?;
        Some(answer[0])
    }

    #[tokio::test]
    async fn it_relays_delays_swallows_cuts_and_refuses() {
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(asks(&mut stream).await, Some(b'x'));
        proxy.set(Mode::Delay(Duration::from_millis(50)));
        let begun = std::time::Instant::now();
        assert_eq!(asks(&mut stream).await, Some(b'x'));
        assert!(begun.elapsed() >= Duration::from_millis(100), "both ways wait");
        proxy.set(Mode::SwallowAnswers);
        assert_eq!(asks(&mut stream).await, None);
        proxy.cut();
        proxy.set(Mode::Refuse);
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "cut");
        let mut refused = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(refused.read(&mut [0]).await.unwrap_or(0), 0, "refused");
        proxy.set(Mode::Pass);
        let mut again = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(asks(&mut again).await, Some(b'x'));
        let lines = proxy.lines();
        assert_eq!(lines.iter().map(|l| l.refused).collect::<Vec<_>>(), [false, true, false]);
        assert!(lines[0].silence_us >= 400_000, "the wait for the swallowed answer");
    }
}
