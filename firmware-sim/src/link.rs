//! One connection of a device to its agent: hello, then numbered bodies out and acknowledgements in.
//!
//! | message | `LinkUp.seq` |
//! |---|---|
//! | `LinkHello`, first of every connection | the last acknowledged one: bodies follow from the next |
//! | `LinkTime`, at once and every 10 s | 0: not numbered, not acknowledged |
//! | `Body` | from 1, without holes, the same again when it is sent again |
//!
//! So an agent knows which body comes first even when that one arrives damaged.

use crate::device::Shared;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use wardline_proto::link::{self, Decoder, LinkError};
use wardline_proto::v1::{LinkDown, LinkHello, LinkTime, LinkUp, link_up};

/// How often the device tells its clock.
const TIME_EVERY: Duration = Duration::from_secs(10);
/// When acknowledgements stay away this long, the window is sent again; then after twice as long, up to the maximum:
/// an agent with a full spool takes nothing, however often it is told.
const RESEND_AFTER: Duration = Duration::from_secs(1);
const RESEND_AFTER_MAX: Duration = Duration::from_secs(16);
/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 32 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A link that takes no bytes for so long is dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where an agent listens for its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkAddr {
    /// `tcp://HOST:PORT`.
    Tcp(String),
    /// `unix:///PATH`.
    Unix(PathBuf),
}

/// Says why a text is no link address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a link is tcp://HOST:PORT or unix:///PATH")]
pub struct LinkAddrError;

impl FromStr for LinkAddr {
    type Err = LinkAddrError;

    fn from_str(text: &str) -> Result<Self, LinkAddrError> {
        match text.split_once("://") {
            Some(("tcp", address)) if address.contains(':') => Ok(Self::Tcp(address.to_owned())),
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(LinkAddrError),
        }
    }
}

impl fmt::Display for LinkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl From<SocketAddr> for LinkAddr {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.to_string())
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkEnd {
    /// The transport failed or was closed.
    #[error("link lost")]
    Io(#[from] std::io::Error),
    /// A body does not fit a link message: a fault of the source, trying again does not help.
    #[error("a body does not fit the link")]
    Body(#[from] LinkError),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl LinkAddr {
    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let connected = async {
            Ok::<Box<dyn Stream>, std::io::Error>(match self {
                Self::Tcp(address) => {
                    let stream = tokio::net::TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                Self::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
            })
        };
        timeout(CONNECT_TIMEOUT, connected).await?
    }
}

/// Connects and serves until the link ends. Cancel safe: what was not acknowledged stays in the outbox.
pub(crate) async fn serve(addr: &LinkAddr, hello: LinkHello, shared: &Shared) -> LinkEnd {
    let stream = match addr.connect().await {
        Ok(stream) => stream,
        Err(e) => return e.into(),
    };
    shared.connected();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let end = tokio::select! {
        end = read_acks(&mut reader, shared) => end,
        end = write_bodies(&mut writer, hello, shared) => end,
        () = shared.faults.link_drops() => Ok(()),
    };
    shared.disconnected();
    match end {
        Ok(()) => std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into(),
        Err(end) => end,
    }
}

async fn read_acks(reader: &mut (impl AsyncRead + Unpin), shared: &Shared) -> Result<(), LinkEnd> {
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 4096];
    loop {
        let n = reader.read(&mut bytes).await?;
        if n == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        decoder.push(&bytes[..n]);
        while let Some(message) = decoder.next_message::<LinkDown>() {
            match message {
                Ok(down) => shared.acknowledge(down.acked_seq),
                Err(_) => shared.stats.damaged.add(1),
            }
        }
    }
}

async fn write_bodies(
    writer: &mut (impl AsyncWrite + Unpin),
    hello: LinkHello,
    shared: &Shared,
) -> Result<(), LinkEnd> {
    let mut out = Vec::with_capacity(2 * WRITE_BYTES);
    let (mut acked_seq, mut progress_at) = (shared.acked_seq(), Instant::now());
    link::encode(&LinkUp { seq: acked_seq, kind: Some(link_up::Kind::Hello(hello)) }, &mut out)?;
    let (mut time_due, mut resend_after) = (Instant::now(), RESEND_AFTER);
    loop {
        // Registered before the outbox is looked at, so that no wake-up is missed.
        let woken = shared.to_send.notified();
        if Instant::now() >= time_due {
            let now = LinkTime { now_us: shared.device_now_us() };
            link::encode(&LinkUp { seq: 0, kind: Some(link_up::Kind::Time(now)) }, &mut out)?;
            time_due = Instant::now() + TIME_EVERY;
        }
        if acked_seq != shared.acked_seq() || !shared.awaits_ack() {
            (acked_seq, progress_at, resend_after) = (shared.acked_seq(), Instant::now(), RESEND_AFTER);
        } else if progress_at.elapsed() >= resend_after {
            shared.rewind();
            (progress_at, resend_after) = (Instant::now(), (resend_after * 2).min(RESEND_AFTER_MAX));
        }
        shared.encode_next(&mut out, WRITE_BYTES)?;
        if !out.is_empty() {
            timeout(WRITE_TIMEOUT, writer.write_all(&out)).await.map_err(std::io::Error::from)??;
            out.clear();
            continue;
        }
        let wait = time_due.min(progress_at + resend_after).max(Instant::now() + Duration::from_millis(1));
        let _ = tokio::time::timeout_at(wait, woken).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for good in ["tcp://127.0.0.1:7071", "unix:///run/wardline/link.sock"] {
            assert_eq!(good.parse::<LinkAddr>().unwrap().to_string(), good);
        }
        for bad in ["", "127.0.0.1:1", "tcp://x", "unix://relative", "serial:///dev/ttyS0"] {
            assert!(bad.parse::<LinkAddr>().is_err(), "{bad}");
        }
    }
}
