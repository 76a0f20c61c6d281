//! A port that speaks TLS: accepts, shakes hands beside each other, hands over sockets that are ready.
//!
//! What serves HTTP/2 or HTTP/1.1 behind it takes sockets from [`TlsListener::accept`] or as a stream. The
//! configuration is asked for at each accept, so that certificates change under a running port. Connections, handshakes
//! and the time of a handshake are bounded (LIM-1).

use futures::Stream;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};
use wardline_proto::refusal::Refusal;

/// How long the port rests when the system has no more file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Gives the configuration in force.
pub type ConfigSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// Is told of each certificate that TLS refused.
pub type CertificateRefused = Arc<dyn Fn(Refusal) + Send + Sync>;

/// Returns the code of a handshake that failed for the peer's certificate; everything else is a network's noise, or a
/// peer that showed none.
pub fn certificate_refusal(error: &io::Error) -> Option<Refusal> {
    use rustls::{CertificateError, Error};
    match error.get_ref()?.downcast_ref()? {
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Some(Refusal::IdentityExpired),
        Error::InvalidCertificate(_) => Some(Refusal::IdentityMissing),
        _ => None,
    }
}

/// How much a port carries.
#[derive(Debug, Clone, Copy)]
pub struct TlsBounds {
    /// Most connections at a time, those that shake hands included. What comes past it is closed.
    pub connections_max: usize,
    /// Most handshakes at a time. What comes past it waits in the kernel's queue.
    pub handshakes_max: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// Plaintext that may wait per connection and direction, bytes.
    pub buffer_bytes_max: usize,
}

impl Default for TlsBounds {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            handshakes_max: 128,
            handshake: Duration::from_secs(10),
            buffer_bytes_max: 64 * 1024,
        }
    }
}

/// What a port counts.
#[derive(Debug, Clone, Default)]
pub struct TlsListenerMetrics {
    /// Connections that came past the bound and were closed.
    pub connections_refused: Counter,
    /// Connections that never got past TLS.
    pub handshakes_failed: Counter,
}

impl TlsListenerMetrics {
    /// Registers the counters in a registry that already has the port's prefix.
    pub fn register(&self, registry: &mut Registry) {
        let refused = self.connections_refused.clone();
        registry.register("connections_refused", "Connections closed at the bound", refused);
        let failed = self.handshakes_failed.clone();
        registry.register("handshakes_failed", "Connections that never got past TLS", failed);
    }
}

/// A port that speaks TLS.
pub struct TlsListener {
    tcp: TcpListener,
    config: ConfigSource,
    bounds: TlsBounds,
    metrics: TlsListenerMetrics,
    refused: CertificateRefused,
    places: Arc<Semaphore>,
    shaking: JoinSet<Option<TlsSocket>>,
}

impl TlsListener {
    /// Makes the port of a bound listener. `refused` is told of each certificate that TLS refuses.
    pub fn new(
        tcp: TcpListener,
        config: ConfigSource,
        bounds: TlsBounds,
        metrics: TlsListenerMetrics,
        refused: CertificateRefused,
    ) -> Self {
        let places = Arc::new(Semaphore::new(bounds.connections_max));
        Self { tcp, config, bounds, metrics, refused, places, shaking: JoinSet::new() }
    }

    /// Waits for the next connection that has shaken hands. Cancel safe.
    pub async fn accept(&mut self) -> TlsSocket {
        loop {
            tokio::select! {
                Some(done) = self.shaking.join_next() => match done {
                    Ok(Some(socket)) => return socket,
                    Ok(None) => {}
                    Err(error) => tracing::error!(panicked = error.is_panic(), "a handshake's task failed"),
                },
                accepted = self.tcp.accept(), if self.shaking.len() < self.bounds.handshakes_max => {
                    match accepted {
                        Ok((tcp, peer)) => self.shake_hands(tcp, peer),
                        Err(error) => {
                            tracing::warn!(%error, "accept failed");
                            sleep(ACCEPT_REST).await;
                        }
                    }
                }
            }
        }
    }

    /// Turns the port into an endless stream, as [`tonic`]'s server takes it. Peer certificates stay readable by
    /// `Request::peer_certs`.
    pub fn incoming(self) -> impl Stream<Item = io::Result<TlsSocket>> + Send {
        futures::stream::unfold(self, |mut port| async move {
            let socket = port.accept().await;
            Some((Ok(socket), port))
        })
    }

    fn shake_hands(&mut self, tcp: TcpStream, peer: SocketAddr) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            return;
        };
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let (acceptor, bounds) = (TlsAcceptor::from((self.config)()), self.bounds);
        let (failed, refused) = (self.metrics.handshakes_failed.clone(), self.refused.clone());
        self.shaking.spawn(async move {
            let accept = acceptor.accept_with(tcp, |tls| tls.set_buffer_limit(Some(bounds.buffer_bytes_max)));
            match timeout(bounds.handshake, accept).await {
                Ok(Ok(tls)) => return Some(TlsSocket { tls: Box::new(tls), peer, _place: place }),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "handshake failed");
                    if let Some(refusal) = certificate_refusal(&error) {
                        refused(refusal);
                    }
                }
                Err(_elapsed) => tracing::debug!("handshake took too long"),
            }
            failed.inc();
            None
        });
    }
}

/// A connection after its handshake. Its place is free again when it is dropped.
pub struct TlsSocket {
    tls: Box<TlsStream<TcpStream>>,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
}

impl TlsSocket {
    /// Returns the other end's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns the TLS session, with the peer's certificates.
    pub fn session(&self) -> &rustls::ServerConnection {
        self.tls.get_ref().1
    }
}

impl Connected for TlsSocket {
    type ConnectInfo = TlsConnectInfo<TcpConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.tls.connect_info()
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_shutdown(cx)
    }
}
