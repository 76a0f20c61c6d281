//! Where the agent listens for its device.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// A link address: `tcp://HOST:PORT` or `unix:///PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkAddr {
    /// An IP address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A socket file, readable by the agent's user and group only.
    Unix(PathBuf),
}

/// Says why a text is not a link address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a link is tcp://IP:PORT or unix:///PATH")]
pub struct LinkAddrError;

impl LinkAddr {
    /// Returns the socket address of a TCP link.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for LinkAddr {
    type Err = LinkAddrError;

    fn from_str(text: &str) -> Result<Self, LinkAddrError> {
        match text.split_once("://") {
            Some(("tcp", addr)) => addr.parse().map(Self::Tcp).map_err(|_| LinkAddrError),
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(LinkAddrError),
        }
    }
}

impl fmt::Display for LinkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "tcp://{addr}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A byte stream of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A bound socket. A Unix socket's file goes with it.
pub(super) struct Listener {
    socket: Socket,
    addr: LinkAddr,
}

impl Listener {
    pub(super) async fn bind(addr: &LinkAddr) -> io::Result<Self> {
        match addr {
            LinkAddr::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await?;
                let addr = LinkAddr::Tcp(listener.local_addr()?);
                Ok(Self { socket: Socket::Tcp(listener), addr })
            }
            LinkAddr::Unix(path) => {
                remove_stale_socket(path)?;
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                Ok(Self { socket: Socket::Unix(listener), addr: addr.clone() })
            }
        }
    }

    pub(super) fn addr(&self) -> &LinkAddr {
        &self.addr
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Socket::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let LinkAddr::Unix(path) = &self.addr {
            // A file that stays is removed by the next start.
            let _gone = fs::remove_file(path);
        }
    }
}

/// Removes the socket of an agent that was killed. The spool's lock has shown that no agent runs on this spool.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_others_are_refused() {
        for text in ["tcp://127.0.0.1:7071", "tcp://[::1]:0", "unix:///run/wardline/link.sock"] {
            assert_eq!(text.parse::<LinkAddr>().unwrap().to_string(), text);
        }
        for text in ["127.0.0.1:7071", "tcp://localhost:7071", "unix://link.sock", "serial:///dev/ttyS0"] {
            assert_eq!(text.parse::<LinkAddr>(), Err(LinkAddrError), "{text}");
        }
    }
}
