//! What a device of a fleet says and hears, in either version of MQTT: bytes in, bytes out.
//!
//! In MQTT 5 a front may send a device elsewhere, and refuse one publish alone. A refused publish ends the session, as a
//! front ends one of 3.1.1: the frame is sent again on the next.

use super::session::KEEP_ALIVE_S;
use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::mqttbytes::{Error as V4Error, QoS};
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, PingReq, PubAckReason, Publish,
};
use rumqttc::v5::mqttbytes::{Error as V5Error, QoS as V5QoS};

/// Largest packet that a gateway may send.
const RECEIVE_BYTES_MAX: u32 = 64 * 1024;

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mqtt {
    /// 3.1.1.
    #[default]
    V3,
    /// 5, in which devices follow a front that sends them elsewhere.
    V5,
}

/// What is no packet, or cannot be written as one.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error(transparent)]
    V3(#[from] V4Error),
    #[error(transparent)]
    V5(#[from] V5Error),
}

/// What a front said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The session is open.
    Accepted,
    /// A publish is acknowledged.
    Acknowledged(u16),
    /// The session is, or stays, closed; why.
    Refused(String),
    /// The same, and where to go instead, if it said so.
    SentOn(Option<String>),
    /// Nothing that matters here.
    Other,
}

/// Publishes of one topic.
#[derive(Debug)]
pub(super) enum Up {
    V3(v4::Publish),
    V5(Publish),
}

impl Up {
    /// Writes a publish.
    pub(super) fn write(&mut self, id: u16, payload: Bytes, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::V3(publish) => {
                (publish.pkid, publish.payload) = (id, payload);
                publish.write(out)?;
            }
            Self::V5(publish) => {
                (publish.pkid, publish.payload) = (id, payload);
                publish.write(out)?;
            }
        }
        Ok(())
    }
}

impl Mqtt {
    /// Makes what publishes to a topic.
    pub(super) fn up(self, topic: String) -> Up {
        match self {
            Self::V3 => Up::V3(v4::Publish::from_bytes(topic, QoS::AtLeastOnce, Bytes::new())),
            Self::V5 => Up::V5(Publish::new(topic, V5QoS::AtLeastOnce, Bytes::new(), None)),
        }
    }

    /// Writes a CONNECT.
    pub(super) fn connect(self, client_id: &str, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::V3 => {
                let mut connect = v4::Connect::new(client_id);
                connect.keep_alive = KEEP_ALIVE_S;
                connect.write(out)?;
            }
            Self::V5 => {
                let (keep_alive, client_id) = (KEEP_ALIVE_S, client_id.to_owned());
                let connect = Connect { keep_alive, client_id, clean_start: true, properties: None };
                connect.write(&None, &None, out)?;
            }
        }
        Ok(())
    }

    /// Writes a PINGREQ.
    pub(super) fn ping(self, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::V3 => v4::PingReq.write(out).map(drop)?,
            Self::V5 => PingReq::write(out).map(drop)?,
        }
        Ok(())
    }

    /// Writes a DISCONNECT.
    pub(super) fn leave(self, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::V3 => v4::Disconnect.write(out).map(drop)?,
            Self::V5 => Disconnect::new(DisconnectReasonCode::NormalDisconnection).write(out).map(drop)?,
        }
        Ok(())
    }

    /// Takes the next whole packet of `input`; none when there is no whole one.
    pub(super) fn next(self, input: &mut BytesMut) -> Result<Option<Heard>, WireError> {
        match self {
            Self::V3 => match v4::Packet::read(input, RECEIVE_BYTES_MAX as usize) {
                Ok(packet) => Ok(Some(heard_v3(&packet))),
                Err(V4Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::V5 => match Packet::read(input, Some(RECEIVE_BYTES_MAX)) {
                Ok(packet) => Ok(Some(heard_v5(packet))),
                Err(V5Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }
}

fn heard_v3(packet: &v4::Packet) -> Heard {
    match packet {
        v4::Packet::ConnAck(ack) if ack.code == v4::ConnectReturnCode::Success => Heard::Accepted,
        v4::Packet::ConnAck(ack) => Heard::Refused(format!("connack: {:?}", ack.code)),
        v4::Packet::PubAck(ack) => Heard::Acknowledged(ack.pkid),
        _ => Heard::Other,
    }
}

fn heard_v5(packet: Packet) -> Heard {
    match packet {
        Packet::ConnAck(ack) => match ack.code {
            ConnectReturnCode::Success => Heard::Accepted,
            ConnectReturnCode::UseAnotherServer | ConnectReturnCode::ServerMoved => {
                Heard::SentOn(ack.properties.and_then(|properties| properties.server_reference))
            }
            code => Heard::Refused(format!("connack: {code:?}")),
        },
        Packet::PubAck(ack) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Heard::Acknowledged(ack.pkid),
            reason => Heard::Refused(format!("puback: {reason:?}")),
        },
        Packet::Disconnect(disconnect) => match disconnect.reason_code {
            DisconnectReasonCode::UseAnotherServer | DisconnectReasonCode::ServerMoved => {
                Heard::SentOn(disconnect.properties.and_then(|properties| properties.server_reference))
            }
            code => Heard::Refused(format!("disconnect: {code:?}")),
        },
        _ => Heard::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::{DisconnectProperties, PubAck};

    fn heard(mqtt: Mqtt, write: impl Fn(&mut BytesMut)) -> Heard {
        let mut bytes = BytesMut::new();
        write(&mut bytes);
        let mut half = BytesMut::from(&bytes[..bytes.len() - 1]);
        assert!(mqtt.next(&mut half).unwrap().is_none(), "half a packet is none");
        let heard = mqtt.next(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty());
        heard
    }

    #[test]
    fn only_what_was_taken_is_acknowledged() {
        let v3 = heard(Mqtt::V3, |out| _ = v4::PubAck::new(7).write(out).unwrap());
        assert_eq!(v3, Heard::Acknowledged(7));
        let v5 = |reason: PubAckReason| {
            heard(Mqtt::V5, |out| _ = PubAck { reason, ..PubAck::new(7, None) }.write(out).unwrap())
        };
        assert_eq!(v5(PubAckReason::Success), Heard::Acknowledged(7));
        assert_eq!(v5(PubAckReason::QuotaExceeded), Heard::Refused("puback: QuotaExceeded".into()));
    }

    #[test]
    fn a_front_that_stops_says_where_to_go() {
        let moved = |server_reference: &str| {
            let properties = DisconnectProperties {
                session_expiry_interval: None,
                reason_string: None,
                user_properties: Vec::new(),
                server_reference: Some(server_reference.to_owned()),
            };
            let mut moved = Disconnect::new(DisconnectReasonCode::UseAnotherServer);
            moved.properties = Some(properties);
            heard(Mqtt::V5, |out| _ = moved.write(out).unwrap())
        };
        assert_eq!(moved("front-2:8883"), Heard::SentOn(Some("front-2:8883".into())));
        // Its writer leaves a reason without properties out.
        let nowhere = heard(Mqtt::V5, |out| out.extend_from_slice(&[0xe0, 2, 0x9c, 0]));
        assert_eq!(nowhere, Heard::SentOn(None));
    }
}
