//! Reads a device's MQTT packets. Two doors: [`read_connect`] for the first packet and [`read_packet`] for the rest.
//!
//! The packet's kind, its reserved bits and its length are checked here before anything is given to the codec of
//! rumqttc, which trusts more than we do: only kinds that a client may send in this state get through, nothing
//! larger than its limit is collected, and a PUBLISH's topic and properties are bounded first.

use super::limits::{CONTROL_BYTES_MAX, FILTERS_MAX, PROPERTIES_BYTES_MAX, TOPIC_BYTES_MAX};
use bytes::{Buf, Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use wardline_proto::limits::PACKET_BYTES_MAX;
use wardline_proto::refusal::Refusal;

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// The protocol version of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// The first packet of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connect {
    /// Protocol version.
    pub(super) version: Version,
    /// Client id; may be empty.
    pub(super) client_id: String,
    /// Keep-alive, seconds.
    pub(super) keep_alive: u16,
    /// Whether it carries a will.
    pub(super) has_will: bool,
    /// How many unacknowledged publishes the device takes.
    pub(super) receive_maximum: u16,
}

/// A publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publish {
    /// 0, 1 or 2.
    pub(super) qos: u8,
    /// Packet id; 0 for QoS 0.
    pub(super) packet_id: u16,
    /// Topic, as it came.
    pub(super) topic: Bytes,
    /// Payload.
    pub(super) payload: Bytes,
    /// Whether its v5 content type says JSON.
    pub(super) says_json: bool,
}

/// A subscription's filter with the quality of service asked for.
pub(super) type Filter = (String, u8);

/// Any later packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// A publish.
    Publish(Publish),
    /// Acknowledges a QoS 1 publish to the device.
    PubAck(u16),
    /// First step of a QoS 2 publish to the device. We send none.
    PubRec(u16),
    /// Releases a QoS 2 publish.
    PubRel(u16),
    /// Last step of a QoS 2 publish to the device. We send none.
    PubComp(u16),
    /// Asks for topics.
    Subscribe(u16, Vec<Filter>),
    /// Gives topics up.
    Unsubscribe(u16, Vec<String>),
    /// Asks for a sign of life.
    PingReq,
    /// Says goodbye.
    Disconnect,
}

struct Header {
    kind: u8,
    flags: u8,
    header_bytes: usize,
    remaining: usize,
}

/// Takes the CONNECT off the front of `stream`; `None` while it is not whole.
pub(super) fn read_connect(stream: &mut BytesMut) -> Result<Option<Connect>, Refusal> {
    let Some(header) = peek(stream, |kind| kind == CONNECT)? else { return Ok(None) };
    let body = stream.get(header.header_bytes..).unwrap_or_default();
    // Protocol name, level and flags. [MQTT-3.1.2-1], [MQTT-3.1.2-3]
    let (version, flags) = match body {
        [0, 4, b'M', b'Q', b'T', b'T', 4, flags, ..] => (Version::V4, *flags),
        [0, 4, b'M', b'Q', b'T', b'T', 5, flags, ..] => (Version::V5, *flags),
        [0, 4, b'M', b'Q', b'T', b'T', ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => {
            return Err(Refusal::MqttVersion);
        }
        _ => return Err(Refusal::MqttMalformed),
    };
    if flags & 1 != 0 {
        return Err(Refusal::MqttMalformed);
    }
    let has_will = flags & 0b100 != 0;
    match version {
        Version::V4 => match v4::Packet::read(stream, CONTROL_BYTES_MAX) {
            Ok(v4::Packet::Connect(c)) => {
                let (client_id, keep_alive) = (c.client_id, c.keep_alive);
                Ok(Some(Connect { version, client_id, keep_alive, has_will, receive_maximum: u16::MAX }))
            }
            _ => Err(Refusal::MqttMalformed),
        },
        Version::V5 => match v5::Packet::read(stream, Some(CONTROL_BYTES_MAX as u32)) {
            Ok(v5::Packet::Connect(c, _will, _login)) => {
                let asked = c.properties.as_ref().and_then(|p| p.receive_maximum);
                let receive_maximum = asked.unwrap_or(u16::MAX);
                if receive_maximum == 0 {
                    return Err(Refusal::MqttMalformed);
                }
                let (client_id, keep_alive) = (c.client_id, c.keep_alive);
                Ok(Some(Connect { version, client_id, keep_alive, has_will, receive_maximum }))
            }
            _ => Err(Refusal::MqttMalformed),
        },
    }
}

/// Takes the next packet off the front of `stream`; `None` while it is not whole.
pub(super) fn read_packet(version: Version, stream: &mut BytesMut) -> Result<Option<Packet>, Refusal> {
    let Some(header) = peek(stream, is_of_a_session)? else { return Ok(None) };
    match header.kind {
        PUBLISH => {
            bound_publish(version, &header, stream)?;
            read_publish(version, stream).map(|publish| Some(Packet::Publish(publish)))
        }
        PUBACK..=PUBCOMP => read_ack(version, &header, stream).map(Some),
        SUBSCRIBE | UNSUBSCRIBE => read_filters(version, stream).map(Some),
        kind => {
            stream.advance(header.header_bytes + header.remaining);
            match (kind, header.remaining, version) {
                (PINGREQ, 0, _) => Ok(Some(Packet::PingReq)),
                (DISCONNECT, 0, _) | (DISCONNECT, _, Version::V5) => Ok(Some(Packet::Disconnect)),
                _ => Err(Refusal::MqttMalformed),
            }
        }
    }
}

fn is_of_a_session(kind: u8) -> bool {
    matches!(kind, PUBLISH..=SUBSCRIBE | UNSUBSCRIBE | PINGREQ | DISCONNECT)
}

/// Checks kind, reserved bits and length as soon as each is there; `None` while the packet is not whole.
fn peek(stream: &[u8], is_allowed: impl Fn(u8) -> bool) -> Result<Option<Header>, Refusal> {
    let Some(first) = stream.first() else { return Ok(None) };
    let (kind, flags) = (first >> 4, first & 0x0f);
    let flags_are_right = match kind {
        // QoS 3 does not exist, and QoS 0 is never a duplicate. [MQTT-3.3.1-2], [MQTT-3.3.1-4]
        PUBLISH => flags & 0b0110 != 0b0110 && (flags & 0b0110 != 0 || flags & 0b1000 == 0),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => flags == 0b0010,
        _ => flags == 0,
    };
    if !is_allowed(kind) || !flags_are_right {
        return Err(Refusal::MqttMalformed);
    }
    let Some((remaining, length_bytes)) = varint(&stream[1..])? else { return Ok(None) };
    let most = if kind == PUBLISH { PACKET_BYTES_MAX } else { CONTROL_BYTES_MAX };
    if remaining > most {
        return Err(Refusal::MqttPacketTooLarge);
    }
    let header = Header { kind, flags, header_bytes: 1 + length_bytes, remaining };
    Ok((stream.len() >= header.header_bytes + remaining).then_some(header))
}

/// Reads a variable byte integer and its own length; `None` when it is cut short.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Refusal> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Refusal::MqttMalformed) } else { Ok(None) }
}

/// Bounds topic and properties of a whole PUBLISH.
fn bound_publish(version: Version, header: &Header, stream: &[u8]) -> Result<(), Refusal> {
    let body = &stream[header.header_bytes..header.header_bytes + header.remaining];
    let (length, rest) = body.split_first_chunk::<2>().ok_or(Refusal::MqttMalformed)?;
    let topic_bytes = usize::from(u16::from_be_bytes(*length));
    if topic_bytes > rest.len() {
        return Err(Refusal::MqttMalformed);
    }
    if topic_bytes > TOPIC_BYTES_MAX {
        return Err(Refusal::TopicNotAuthorized);
    }
    let id_bytes = if header.flags & 0b0110 == 0 { 0 } else { 2 };
    let rest = rest.get(topic_bytes + id_bytes..).ok_or(Refusal::MqttMalformed)?;
    if version == Version::V5 {
        let (properties, length_bytes) = varint(rest)?.ok_or(Refusal::MqttMalformed)?;
        if properties > PROPERTIES_BYTES_MAX {
            return Err(Refusal::MqttPacketTooLarge);
        }
        if length_bytes + properties > rest.len() {
            return Err(Refusal::MqttMalformed);
        }
    }
    Ok(())
}

fn read_publish(version: Version, stream: &mut BytesMut) -> Result<Publish, Refusal> {
    match version {
        Version::V4 => match v4::Packet::read(stream, PACKET_BYTES_MAX) {
            Ok(v4::Packet::Publish(p)) => Ok(Publish {
                qos: p.qos as u8,
                packet_id: p.pkid,
                topic: p.topic.into(),
                payload: p.payload,
                says_json: false,
            }),
            _ => Err(Refusal::MqttMalformed),
        },
        Version::V5 => match v5::Packet::read(stream, Some(PACKET_BYTES_MAX as u32)) {
            Ok(v5::Packet::Publish(p)) => {
                let properties = p.properties.unwrap_or_default();
                // We grant no topic alias, and only a server may send subscription identifiers. [MQTT-3.3.4-6]
                if properties.topic_alias.is_some() || !properties.subscription_identifiers.is_empty() {
                    return Err(Refusal::MqttMalformed);
                }
                let says_json = properties.content_type.as_deref() == Some("application/json");
                let (qos, packet_id) = (p.qos as u8, p.pkid);
                Ok(Publish { qos, packet_id, topic: p.topic, payload: p.payload, says_json })
            }
            _ => Err(Refusal::MqttMalformed),
        },
    }
}

/// Reads the packet id, all that we need of an acknowledgement.
fn read_ack(version: Version, header: &Header, stream: &mut BytesMut) -> Result<Packet, Refusal> {
    let packet = stream.split_to(header.header_bytes + header.remaining);
    let id =
        packet.get(header.header_bytes..header.header_bytes + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let id = id.filter(|id| *id != 0).ok_or(Refusal::MqttMalformed)?;
    if version == Version::V4 && header.remaining != 2 {
        return Err(Refusal::MqttMalformed);
    }
    Ok(match header.kind {
        PUBACK => Packet::PubAck(id),
        PUBREC => Packet::PubRec(id),
        PUBREL => Packet::PubRel(id),
        _ => Packet::PubComp(id),
    })
}

fn read_filters(version: Version, stream: &mut BytesMut) -> Result<Packet, Refusal> {
    let packet = match version {
        Version::V4 => match v4::Packet::read(stream, CONTROL_BYTES_MAX) {
            Ok(v4::Packet::Subscribe(s)) => {
                Packet::Subscribe(s.pkid, s.filters.into_iter().map(|f| (f.path, f.qos as u8)).collect())
            }
            Ok(v4::Packet::Unsubscribe(u)) => Packet::Unsubscribe(u.pkid, u.topics),
            _ => return Err(Refusal::MqttMalformed),
        },
        Version::V5 => match v5::Packet::read(stream, Some(CONTROL_BYTES_MAX as u32)) {
            Ok(v5::Packet::Subscribe(s)) => {
                Packet::Subscribe(s.pkid, s.filters.into_iter().map(|f| (f.path, f.qos as u8)).collect())
            }
            Ok(v5::Packet::Unsubscribe(u)) => Packet::Unsubscribe(u.pkid, u.filters),
            _ => return Err(Refusal::MqttMalformed),
        },
    };
    let (id, filters) = match &packet {
        Packet::Subscribe(id, filters) => (*id, filters.len()),
        Packet::Unsubscribe(id, filters) => (*id, filters.len()),
        _ => (0, 0),
    };
    if id == 0 || filters == 0 || filters > FILTERS_MAX { Err(Refusal::MqttMalformed) } else { Ok(packet) }
}
