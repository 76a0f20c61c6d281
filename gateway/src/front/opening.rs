//! From an accepted socket to an open session: TLS, identity, CONNECT.

use super::codec::{self, Version};
use super::connection::{Connection, End, Guard, Socket, read_some};
use super::identity::{self, Credential};
use super::limits::{IDLE_MAX, KEEP_ALIVE_SECONDS_MAX, TLS_BUFFER_BYTES_MAX};
use super::session::{Heard, Session};
use super::wire::Wire;
use super::{Front, now_us, reply};
use crate::tls_listener::certificate_refusal;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;

/// A peer that has shaken hands.
pub(super) struct Peer {
    socket: Socket,
    credential: Credential,
    admitted: Result<DeviceKey, Refusal>,
}

/// TLS and the identity step. Who has no certificate of ours never gets further: one that TLS refuses is audited
/// without an actor, none at all is counted.
pub(super) async fn shake_hands(front: &Arc<Front>, tcp: TcpStream) -> Option<Box<Peer>> {
    let limit = front.options.deadlines.handshake;
    let acceptor = TlsAcceptor::from(front.tls.current());
    let accept = acceptor.accept_with(Wire::new(tcp), |tls| tls.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX)));
    let socket = match timeout(limit, accept).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            tracing::debug!(%error, "handshake failed");
            front.metrics.handshakes_failed.inc();
            if let Some(refusal) = certificate_refusal(&error) {
                front.refused_unnamed(refusal);
            }
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
            let admitted = match front.tls.screen(chain) {
                Ok(()) => identity::admit(&credential, &front.directory).await,
                Err(refusal) => Err(refusal),
            };
            Some(Box::new(Peer { socket, credential, admitted }))
        }
        Err(refusal) => {
            front.refused_unnamed(refusal);
            None
        }
    }
}

/// Reads the CONNECT and answers it.
pub(super) async fn open(front: &Arc<Front>, mut peer: Box<Peer>) -> Option<Box<Connection>> {
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
    let key = match peer
        .admitted
        .clone()
        .and_then(|key| front.check_connect(&connect, &key).map(|()| key))
        .and_then(|key| front.refuses_sessions().map(|()| key))
        .and_then(|key| front.admit_session(key, &peer.credential.serial))
    {
        Ok(key) => key,
        Err(refusal) => return refuse_open(front, peer, &actor, Some(version), refusal).await,
    };
    let serial = peer.credential.serial.to_string();
    // Durable before the CONNACK: every session that a device knows of is in the audit trail, whatever is killed.
    if front.auditor.record_durable("session_opened", &actor, "ok", format!("serial {serial}")).await.is_err()
    {
        return refuse_open(front, peer, &actor, Some(version), Refusal::JournalFailed).await;
    }
    let device = front.devices.get(&key, &front.options.budget);
    let control =
        front.open_session(&key, peer.credential.serial.clone(), peer.socket.get_ref().0.peer_addr().ok());
    let (idle_max, server_keep_alive) = keep_alive(version, connect.keep_alive);
    let assigned = connect.client_id.is_empty().then(|| key.device.as_str());
    reply::connack(&mut out, version, server_keep_alive, assigned);
    let session = Session::new(front.clone(), device.clone(), version, peer.credential.serial.as_bytes());
    front.metrics.sessions.inc();
    let expires_in = (peer.credential.not_after_s - now_us() / 1_000_000).max(0) as u64;
    let watch = front.acknowledgeable(&key);
    Some(Box::new(Connection {
        waiter: watch.waiter(),
        watch,
        guard: Guard { front: front.clone(), device, control, outcome: "lost" },
        socket: peer.socket,
        session,
        buffer,
        out,
        idle_max,
        link: None,
        heard: Heard::now(),
        partial_since: None,
        expires_at: Instant::now() + Duration::from_secs(expires_in),
    }))
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
    mut peer: Box<Peer>,
    actor: &str,
    version: Option<Version>,
    refusal: Refusal,
) -> Option<T> {
    front.refused_peer(actor, refusal);
    let mut out = BytesMut::new();
    // Before the version is known there is but one refusal with an answer: the version itself.
    let elsewhere = front.options.drain.reference();
    match version {
        Some(version) => reply::connack_refused(&mut out, version, refusal, &elsewhere),
        None if refusal == Refusal::MqttVersion => {
            reply::connack_refused(&mut out, Version::V4, refusal, &elsewhere);
        }
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
