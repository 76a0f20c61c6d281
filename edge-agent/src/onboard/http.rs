//! One HTTPS request at a time: a connection of its own, bounded in time and size, nothing kept open.

use super::error::{EdgeError, answer};
use super::limits::{ANSWER_BYTES_MAX, REQUEST_TIME_MAX};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wardline_proto::refusal::Refusal;

/// Where the gateway's HTTPS listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    host: String,
    port: u16,
}

/// A request.
#[derive(Default)]
pub(super) struct Ask<'a> {
    pub(super) path: &'a str,
    /// Sent with POST as `application/pkcs10`; without it the request is a GET.
    pub(super) pkcs10: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) serial_number: Option<&'a str>,
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Origin {
    /// Reads `https://HOST[:PORT]`; the port is 9443 when left out.
    pub(crate) fn read(url: &str) -> Result<Self, EdgeError> {
        let wrong = || answer(format!("{url} is not https://HOST:PORT"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_plain = uri.path() == "/" && uri.query().is_none();
        let host = uri.host().filter(|_| is_plain && uri.scheme_str() == Some("https")).ok_or_else(wrong)?;
        Ok(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(EST_PORT_DEFAULT) })
    }

    /// Names the default HTTPS listener of a gateway.
    pub(crate) fn of_host(host: &str) -> Self {
        Self { host: host.to_owned(), port: EST_PORT_DEFAULT }
    }

    /// Sends a request and reads the answer.
    pub(super) async fn ask(&self, tls: &Arc<ClientConfig>, ask: Ask<'_>) -> Result<Answer, EdgeError> {
        let exchange = self.exchange(Arc::clone(tls), ask);
        match tokio::time::timeout(REQUEST_TIME_MAX, exchange).await {
            Ok(result) => result,
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    async fn exchange(&self, tls: Arc<ClientConfig>, ask: Ask<'_>) -> Result<Answer, EdgeError> {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| self.unreachable("not a host name"))?;
        let tcp = TcpStream::connect((bare, self.port)).await.map_err(|error| self.unreachable(error))?;
        let stream = TlsConnector::from(tls).connect(name, tcp).await;
        let stream = stream.map_err(|error| self.unreachable(tls_words(&error)))?;
        let io = TokioIo::new(stream);
        let handshake =
            hyper::client::conn::http1::Builder::new().max_buf_size(ANSWER_BYTES_MAX).handshake(io);
        let (mut sender, connection) = handshake.await.map_err(|error| self.unreachable(error))?;
        let request = self.request(ask)?;
        // The connection does the work; it is dropped, and so closed, with this future.
        let answered = async {
            let response = sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.unreachable(error))?.to_bytes();
            Ok(Answer { status, body })
        };
        tokio::pin!(answered, connection);
        tokio::select! {
            biased;
            result = &mut answered => result,
            ended = &mut connection => match ended {
                // The answer may have been read whole before the end.
                Ok(()) => answered.await,
                Err(error) => Err(self.unreachable(hyper_words(&error))),
            },
        }
    }

    fn request(&self, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, EdgeError> {
        let mut request =
            Request::builder().uri(ask.path).header(HOST, format!("{}:{}", self.host, self.port));
        request = request.header(ACCEPT, "*/*");
        if let Some(authorization) = ask.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(serial_number) = ask.serial_number {
            request = request.header("X-Wardline-Serial-Number", serial_number);
        }
        if ask.pkcs10.is_some() {
            request = request.method(Method::POST).header(CONTENT_TYPE, "application/pkcs10");
            request = request.header("Content-Transfer-Encoding", "base64");
        }
        let body = Full::new(Bytes::from(ask.pkcs10.unwrap_or_default()));
        request.body(body).map_err(|_| answer("a value cannot be sent in an HTTP header"))
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> EdgeError {
        let problem = format!("cannot ask https://{}:{}: {why}", self.host, self.port);
        EdgeError::retry(Refusal::EdgeUnreachable, problem)
    }
}

/// Port of the gateway's HTTPS listener.
const EST_PORT_DEFAULT: u16 = 9443;

/// Says what TLS had against it, in words that name the cause: rustls wraps it in an IO error.
pub(crate) fn tls_words(error: &std::io::Error) -> String {
    match error.get_ref() {
        Some(inner) => inner.to_string(),
        None => error.to_string(),
    }
}

fn hyper_words(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    io.map_or_else(|| error.to_string(), tls_words)
}
