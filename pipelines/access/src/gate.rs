//! A connection that ends with its certificate.
//!
//! HTTP/2 writes nothing to a caller that takes nothing, so no status reaches it, and its streams would live on. The
//! connection itself is ended: every stream on it ends, and nothing that waits in its buffers is written.

use super::fence::fenced;
use super::limits::FAREWELL;
use super::{Access, Credential, now_us};
use futures::{Stream, StreamExt};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};
use wardline_proto::refusal::Refusal;

enum Gate {
    /// Nobody's, so nothing ends it but its peer.
    None,
    /// Ready when the connection must end.
    Open(Pin<Box<dyn Future<Output = Refusal> + Send>>),
    Shut(Refusal),
}

/// The connection of a peer whose certificate has been verified.
pub struct Gated<IO> {
    io: IO,
    gate: Gate,
}

impl Access {
    /// Puts a gate on each connection. Who has no identity here is let in: each of its calls is told so.
    pub fn gate<S, IO>(&self, incoming: S) -> impl Stream<Item = io::Result<Gated<IO>>> + Send + use<S, IO>
    where
        S: Stream<Item = io::Result<IO>> + Send,
        IO: Connected<ConnectInfo = TlsConnectInfo<TcpConnectInfo>> + Send,
    {
        let access = self.clone();
        incoming.map(move |io| io.map(|io| access.gated(io)))
    }

    fn gated<IO>(&self, io: IO) -> Gated<IO>
    where
        IO: Connected<ConnectInfo = TlsConnectInfo<TcpConnectInfo>>,
    {
        let chain = io.connect_info().peer_certs();
        let chain = chain.as_ref().map_or(&[][..], |chain| chain.as_slice());
        let (shared, domain) = (self.shared.clone(), &self.shared.trust_domain);
        let credential = Credential::read(chain, domain, now_us());
        let Ok(Credential { serial, not_after_s, .. }) = credential else {
            return Gated { io, gate: Gate::None };
        };
        let fence = async move {
            let refusal = fenced(shared, serial, not_after_s).await;
            tokio::time::sleep(FAREWELL).await;
            refusal
        };
        Gated { io, gate: Gate::Open(Box::pin(fence)) }
    }
}

impl<IO> Gated<IO> {
    /// Fails once the certificate may no longer be used. HTTP/2 always reads, so its task is woken for this.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let refusal = match &mut self.gate {
            Gate::None => return Ok(()),
            Gate::Shut(refusal) => *refusal,
            Gate::Open(fence) => match fence.as_mut().poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(refusal) => refusal,
            },
        };
        self.gate = Gate::Shut(refusal);
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, refusal.code()))
    }
}

impl<IO: Connected> Connected for Gated<IO> {
    type ConnectInfo = IO::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Gated<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Gated<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
