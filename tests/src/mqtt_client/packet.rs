//! The MQTT 3.1.1 packets that a load client needs, from and to bytes.

use anyhow::{bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest packet that is read, bytes.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// A packet from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Answer to CONNECT; 0 accepts.
    ConnAck {
        /// The server kept the session of an earlier connection.
        session_present: bool,
        /// Return code.
        code: u8,
    },
    /// A publish of ours is taken over.
    PubAck(u16),
    /// Answer to SUBSCRIBE with its first return code.
    SubAck(u8),
    /// A publish of somebody else.
    Publish {
        /// To acknowledge it by; 0 for QoS 0.
        packet_id: u16,
        /// Its payload.
        payload: Bytes,
    },
    /// Anything else, by its kind.
    Other(u8),
}

/// Takes the next packet off `buffer`; `None` when it is not complete.
pub fn decode(buffer: &mut BytesMut) -> anyhow::Result<Option<Incoming>> {
    let Some((head_bytes, remaining)) = head(buffer)? else { return Ok(None) };
    if buffer.len() < head_bytes + remaining {
        return Ok(None);
    }
    let first = buffer[0];
    buffer.advance(head_bytes);
    let body = buffer.split_to(remaining);
    decode_body(first, body.freeze()).map(Some)
}

/// Reads kind and remaining length.
fn head(buffer: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let mut remaining = 0;
    for (index, byte) in buffer.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            ensure!(remaining <= PACKET_BYTES_MAX, "a packet of {remaining} bytes");
            return Ok(Some((index + 2, remaining)));
        }
    }
    ensure!(buffer.len() < 5, "a remaining length that does not end");
    Ok(None)
}

fn decode_body(first: u8, mut body: Bytes) -> anyhow::Result<Incoming> {
    let kind = first >> 4;
    Ok(match (kind, body.len()) {
        (2, 2) => Incoming::ConnAck { session_present: body[0] & 1 == 1, code: body[1] },
        (4, 2) => Incoming::PubAck(body.get_u16()),
        (9, 3..) => Incoming::SubAck(body[2]),
        (3, 2..) => {
            let topic_bytes = usize::from(body.get_u16());
            let has_id = first & 0b110 != 0;
            ensure!(body.len() >= topic_bytes + if has_id { 2 } else { 0 }, "a publish cut short");
            body.advance(topic_bytes);
            let packet_id = if has_id { body.get_u16() } else { 0 };
            Incoming::Publish { packet_id, payload: body }
        }
        (2 | 3 | 4 | 9, length) => bail!("packet kind {kind} with {length} bytes"),
        _ => Incoming::Other(kind),
    })
}

/// Writes a CONNECT without user name or will.
pub fn connect(out: &mut BytesMut, client_id: &str, clean_session: bool, keep_alive_s: u16) {
    put_head(out, 0x10, 10 + 2 + client_id.len());
    put_text(out, "MQTT");
    out.put_slice(&[4, if clean_session { 2 } else { 0 }]);
    out.put_u16(keep_alive_s);
    put_text(out, client_id);
}

/// Writes a QoS 1 PUBLISH.
pub fn publish(out: &mut BytesMut, packet_id: u16, topic: &str, payload: &[u8]) {
    put_head(out, 0x32, 2 + topic.len() + 2 + payload.len());
    put_text(out, topic);
    out.put_u16(packet_id);
    out.put_slice(payload);
}

/// Writes a PUBACK.
pub fn puback(out: &mut BytesMut, packet_id: u16) {
    put_head(out, 0x40, 2);
    out.put_u16(packet_id);
}

/// Writes a SUBSCRIBE to one filter with QoS 1.
pub fn subscribe(out: &mut BytesMut, packet_id: u16, filter: &str) {
    put_head(out, 0x82, 2 + 2 + filter.len() + 1);
    out.put_u16(packet_id);
    put_text(out, filter);
    out.put_u8(1);
}

/// Writes a DISCONNECT.
pub fn disconnect(out: &mut BytesMut) {
    put_head(out, 0xe0, 0);
}

fn put_head(out: &mut BytesMut, first: u8, mut remaining: usize) {
    out.put_u8(first);
    while remaining >= 0x80 {
        out.put_u8((remaining & 0x7f) as u8 | 0x80);
        remaining >>= 7;
    }
    out.put_u8(remaining as u8);
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_reads_back_from_any_split() {
        let mut whole = BytesMut::new();
        publish(&mut whole, 7, "a/b", &[9; 300]);
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert_eq!(decode(&mut part).unwrap(), None, "{cut}");
            part.put_slice(&whole[cut..]);
            let payload = Bytes::from(vec![9; 300]);
            assert_eq!(decode(&mut part).unwrap(), Some(Incoming::Publish { packet_id: 7, payload }));
            assert!(part.is_empty());
        }
    }

    #[test]
    fn acknowledgements_are_read_one_by_one() {
        let mut bytes = BytesMut::from(&[0x20, 2, 1, 0, 0x40, 2, 1, 2, 0xd0, 0][..]);
        let connack = Incoming::ConnAck { session_present: true, code: 0 };
        assert_eq!(decode(&mut bytes).unwrap(), Some(connack));
        assert_eq!(decode(&mut bytes).unwrap(), Some(Incoming::PubAck(0x0102)));
        assert_eq!(decode(&mut bytes).unwrap(), Some(Incoming::Other(13)));
        assert_eq!(decode(&mut bytes).unwrap(), None);
    }

    #[test]
    fn nonsense_is_an_error() {
        for bad in [&[0x40, 1, 0][..], &[0x30, 0xff, 0xff, 0xff, 0xff], &[0x32, 3, 0, 9, 0]] {
            assert!(decode(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
    }
}
