//! One MQTT 5 connection over mutual TLS: dials, reads and writes packets.
//!
//! The codec is rumqttc's; the loop is our own, because that library's drops what a refused CONNACK and a DISCONNECT
//! say of another server (ADR 0011). Packets are looked at before the codec sees them: only kinds that a gateway may
//! send, none larger than its bound.

use super::fronts::Redirect;
use crate::onboard::{FrontAddr, tls_words};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet,
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Largest packet that the gateway may send down.
const INCOMING_PACKET_BYTES_MAX: u32 = 16 * 1024;
/// Messages down that may be unanswered.
const INCOMING_RECEIVE_MAXIMUM: u16 = 8;
/// Kinds of packet that a gateway may send: CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT.
const KINDS: [u8; 6] = [2, 3, 4, 9, 13, 14];

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// Nobody answers there.
    #[error("cannot reach {0}: {1}")]
    Unreachable(FrontAddr, io::Error),
    /// TCP, TLS and CONNACK took too long.
    #[error("no connection in time")]
    Timeout,
    /// TLS or TCP failed.
    #[error("{}", tls_words(.0))]
    Io(#[from] io::Error),
    /// Closed without a word.
    #[error("the gateway closed the connection")]
    Closed,
    /// What came is not MQTT, or not from a gateway.
    #[error("the gateway sent what is not MQTT 5: {0}")]
    Malformed(String),
    /// No answer to a ping.
    #[error("the gateway fell silent")]
    Silent,
    /// A CONNACK that refuses.
    #[error("the gateway refused the connection: {0:?}")]
    Refused(ConnectReturnCode, Option<Redirect>),
    /// A DISCONNECT.
    #[error("the gateway ended the connection: {0:?}")]
    Disconnected(DisconnectReasonCode, Option<Redirect>),
}

impl WireError {
    /// Returns where the gateway sends us, when it does.
    pub(super) fn redirect(&self) -> Option<&Redirect> {
        match self {
            Self::Refused(_, redirect) | Self::Disconnected(_, redirect) => redirect.as_ref(),
            _ => None,
        }
    }

    /// Says whether the identity may be to blame, rather than the network or a busy gateway.
    pub(super) fn blames_identity(&self) -> bool {
        match self {
            Self::Io(_) | Self::Closed => true,
            Self::Refused(code, redirect) => {
                let is_busy = matches!(
                    code,
                    ConnectReturnCode::ServerBusy
                        | ConnectReturnCode::ServiceUnavailable
                        | ConnectReturnCode::QuotaExceeded
                        | ConnectReturnCode::ConnectionRateExceeded
                );
                !is_busy && redirect.is_none()
            }
            _ => false,
        }
    }
}

/// Whom to call, as whom.
pub(super) struct Dial<'a> {
    pub(super) front: &'a FrontAddr,
    pub(super) config: Arc<ClientConfig>,
    pub(super) client_id: &'a str,
    pub(super) keep_alive: Duration,
    pub(super) timeout: Duration,
}

/// A connection.
pub(super) struct Wire {
    tls: TlsStream<TcpStream>,
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Wire {
    /// Connects; returns what the gateway said with its consent.
    pub(super) async fn dial(dial: Dial<'_>) -> Result<(Self, ConnAck), WireError> {
        let timeout = dial.timeout;
        tokio::time::timeout(timeout, Self::connect(dial)).await.map_err(|_| WireError::Timeout)?
    }

    async fn connect(dial: Dial<'_>) -> Result<(Self, ConnAck), WireError> {
        let front = dial.front;
        let unreachable = |error| WireError::Unreachable(front.clone(), error);
        let name = ServerName::try_from(front.host.clone())
            .map_err(|_| unreachable(io::Error::new(io::ErrorKind::InvalidInput, "not a host name")))?;
        let tcp = TcpStream::connect((front.host.as_str(), front.port)).await.map_err(unreachable)?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(dial.config).connect(name, tcp).await?;
        let mut wire = Self { tls, incoming: BytesMut::new(), outgoing: BytesMut::new() };
        let mut properties = ConnectProperties::new();
        properties.max_packet_size = Some(INCOMING_PACKET_BYTES_MAX);
        properties.receive_maximum = Some(INCOMING_RECEIVE_MAXIMUM);
        let connect = Connect {
            keep_alive: u16::try_from(dial.keep_alive.as_secs()).unwrap_or(u16::MAX),
            client_id: dial.client_id.to_owned(),
            clean_start: true,
            properties: Some(properties),
        };
        wire.put(&Packet::Connect(connect, None, None))?;
        wire.flush().await?;
        match wire.read().await? {
            Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => Ok((wire, connack)),
            Packet::ConnAck(connack) => Err(refused(connack)),
            _ => Err(WireError::Malformed("no CONNACK".to_owned())),
        }
    }

    /// Reads the next packet. Cancel safe.
    pub(super) async fn read(&mut self) -> Result<Packet, WireError> {
        loop {
            if let Some(first) = self.incoming.first().filter(|first| !KINDS.contains(&(**first >> 4))) {
                return Err(WireError::Malformed(format!("a packet of kind {}", first >> 4)));
            }
            match Packet::read(&mut self.incoming, Some(INCOMING_PACKET_BYTES_MAX)) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => return Err(WireError::Malformed(error.to_string())),
            }
            if self.tls.read_buf(&mut self.incoming).await? == 0 {
                return Err(WireError::Closed);
            }
        }
    }

    /// Puts a packet into the buffer.
    pub(super) fn put(&mut self, packet: &Packet) -> Result<(), WireError> {
        let put = packet.write(&mut self.outgoing, None);
        put.map(drop).map_err(|error| WireError::Malformed(error.to_string()))
    }

    /// Writes what was put. Not cancel safe.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        self.tls.write_all(&self.outgoing).await?;
        self.tls.flush().await?;
        self.outgoing.clear();
        Ok(())
    }

    /// Says goodbye.
    pub(super) async fn leave(mut self) -> Result<(), WireError> {
        self.put(&Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)))?;
        self.flush().await?;
        self.tls.shutdown().await.map_err(WireError::from)
    }
}

fn refused(connack: ConnAck) -> WireError {
    let reference = connack.properties.and_then(|properties| properties.server_reference);
    let redirect = match connack.code {
        ConnectReturnCode::UseAnotherServer => Some(Redirect { reference, is_for_good: false }),
        ConnectReturnCode::ServerMoved => Some(Redirect { reference, is_for_good: true }),
        _ => None,
    };
    WireError::Refused(connack.code, redirect)
}

/// Makes the end of a connection of a DISCONNECT.
pub(super) fn disconnected(disconnect: Disconnect) -> WireError {
    let reference = disconnect.properties.and_then(|properties| properties.server_reference);
    let redirect = match disconnect.reason_code {
        DisconnectReasonCode::UseAnotherServer => Some(Redirect { reference, is_for_good: false }),
        DisconnectReasonCode::ServerMoved => Some(Redirect { reference, is_for_good: true }),
        _ => None,
    };
    WireError::Disconnected(disconnect.reason_code, redirect)
}
