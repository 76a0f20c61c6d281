//! Writes the front's packets to a device. Acknowledgements of publishes take the proof of durability (ACK-1).

use super::codec::Version;
use super::limits::KEEP_ALIVE_SECONDS_MAX;
use bytes::{BufMut, BytesMut};
use wardline_journal::Durable;
use wardline_proto::limits::{PACKET_BYTES_MAX, RECEIVE_MAXIMUM};
use wardline_proto::refusal::Refusal;

/// Reason code of a filter that is not one of the device's own.
pub(super) const SUBSCRIBE_REFUSED_V5: u8 = 0x87;
/// The same for 3.1.1.
pub(super) const SUBSCRIBE_REFUSED_V4: u8 = 0x80;

/// Accepts a CONNECT. `assigned` is the client id of a device that gave none.
pub(super) fn connack(
    out: &mut BytesMut,
    version: Version,
    server_keep_alive: Option<u16>,
    assigned: Option<&str>,
) {
    let mut properties = BytesMut::new();
    if version == Version::V5 {
        properties.put_u8(0x11); // session expiry: the session ends with the connection
        properties.put_u32(0);
        properties.put_u8(0x21); // receive maximum
        properties.put_u16(RECEIVE_MAXIMUM);
        properties.put_slice(&[0x25, 0]); // retain available: no
        properties.put_u8(0x27); // maximum packet size
        properties.put_u32(PACKET_BYTES_MAX as u32);
        properties.put_slice(&[0x29, 0, 0x2a, 0]); // neither subscription identifiers nor shared subscriptions
        if let Some(seconds) = server_keep_alive {
            properties.put_u8(0x13);
            properties.put_u16(seconds.min(KEEP_ALIVE_SECONDS_MAX));
        }
        if let Some(id) = assigned {
            properties.put_u8(0x12);
            put_text(&mut properties, id);
        }
    }
    head(out, 0x20, 2 + section_bytes(version, properties.len()));
    out.put_slice(&[0, 0]);
    put_section(out, version, &properties);
}

/// Refuses a CONNECT. `elsewhere` is where a device goes that is sent on.
pub(super) fn connack_refused(out: &mut BytesMut, version: Version, refusal: Refusal, elsewhere: &str) {
    let code = match version {
        Version::V5 => match refusal.mqtt5_reason() {
            0x8b => 0x88,
            reason => reason,
        },
        Version::V4 => match refusal {
            Refusal::MqttVersion => 1,
            Refusal::IdentityClientId => 2,
            Refusal::JournalFailed
            | Refusal::JournalFull
            | Refusal::QuotaConnections
            | Refusal::QuotaTenant
            | Refusal::Draining
            | Refusal::Moved => 3,
            _ => 5,
        },
    };
    let properties = server_reference(refusal, elsewhere);
    head(out, 0x20, 2 + section_bytes(version, properties.len()));
    out.put_slice(&[0, code]);
    put_section(out, version, &properties);
}

/// Acknowledges a QoS 1 publish that is durable.
pub(super) fn puback(out: &mut BytesMut, packet_id: u16, _proof: &Durable) {
    out.put_slice(&[0x40, 2]);
    out.put_u16(packet_id);
}

/// Takes over a QoS 2 publish that is durable.
pub(super) fn pubrec(out: &mut BytesMut, packet_id: u16, _proof: &Durable) {
    out.put_slice(&[0x50, 2]);
    out.put_u16(packet_id);
}

/// Repeats the PUBREC of a publish that was taken over before.
pub(super) fn pubrec_again(out: &mut BytesMut, packet_id: u16) {
    out.put_slice(&[0x50, 2]);
    out.put_u16(packet_id);
}

/// Refuses a v5 publish.
pub(super) fn publish_refused(out: &mut BytesMut, qos: u8, packet_id: u16, refusal: Refusal) {
    out.put_slice(&[if qos == 2 { 0x50 } else { 0x40 }, 3]);
    out.put_u16(packet_id);
    out.put_u8(refusal.mqtt5_reason());
}

/// Ends a QoS 2 exchange.
pub(super) fn pubcomp(out: &mut BytesMut, packet_id: u16) {
    out.put_slice(&[0x70, 2]);
    out.put_u16(packet_id);
}

/// Answers a SUBSCRIBE.
pub(super) fn suback(out: &mut BytesMut, version: Version, packet_id: u16, codes: &[u8]) {
    acknowledge_filters(out, 0x90, version, packet_id, codes);
}

/// Answers an UNSUBSCRIBE.
pub(super) fn unsuback(out: &mut BytesMut, version: Version, packet_id: u16, filters: usize) {
    let codes = match version {
        Version::V5 => vec![0; filters],
        Version::V4 => Vec::new(),
    };
    acknowledge_filters(out, 0xb0, version, packet_id, &codes);
}

/// Answers a PINGREQ.
pub(super) fn pingresp(out: &mut BytesMut) {
    out.put_slice(&[0xd0, 0]);
}

/// Ends a v5 session with a reason. `elsewhere` is where a device goes that is sent on.
pub(super) fn disconnect(out: &mut BytesMut, refusal: Refusal, elsewhere: &str) {
    let reason = match refusal.mqtt5_reason() {
        // These are not among the reasons of a DISCONNECT.
        0x84 | 0x85 => 0x87,
        0x88 => 0x83,
        reason => reason,
    };
    let properties = server_reference(refusal, elsewhere);
    head(out, 0xe0, 1 + section_bytes(Version::V5, properties.len()));
    out.put_u8(reason);
    put_section(out, Version::V5, &properties);
}

/// The property that says where to go on, for a device that is sent on.
fn server_reference(refusal: Refusal, elsewhere: &str) -> BytesMut {
    let mut properties = BytesMut::new();
    if refusal == Refusal::Moved {
        properties.put_u8(0x1c);
        put_text(&mut properties, elsewhere);
    }
    properties
}

fn acknowledge_filters(out: &mut BytesMut, kind: u8, version: Version, packet_id: u16, codes: &[u8]) {
    head(out, kind, 2 + section_bytes(version, 0) + codes.len());
    out.put_u16(packet_id);
    put_section(out, version, &[]);
    out.put_slice(codes);
}

fn head(out: &mut BytesMut, kind: u8, mut remaining: usize) {
    out.put_u8(kind);
    while remaining >= 0x80 {
        out.put_u8((remaining & 0x7f) as u8 | 0x80);
        remaining >>= 7;
    }
    out.put_u8(remaining as u8);
}

/// Bytes of a property section with its length.
fn section_bytes(version: Version, properties: usize) -> usize {
    if version == Version::V5 { len_bytes(properties) + properties } else { 0 }
}

fn len_bytes(length: usize) -> usize {
    if length >= 0x80 { 2 } else { 1 }
}

fn put_section(out: &mut BytesMut, version: Version, properties: &[u8]) {
    if version == Version::V5 {
        let mut length = properties.len();
        if length >= 0x80 {
            out.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.put_u8(length as u8);
        out.put_slice(properties);
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}
