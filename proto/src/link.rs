//! The device link: protobuf messages between a device and its agent on a byte stream.
//!
//! ```text
//! COBS( message | CRC-32/ISO-HDLC of message, u32 LE ) 0x00
//! ```
//! A reader resynchronises at the next zero byte; what fails its check is counted and never acknowledged, so the
//! device sends it again.

use crate::limits::LINK_MESSAGE_BYTES_MAX;
use prost::Message;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
const CRC_BYTES: usize = 4;
/// COBS adds a byte per 254, rounded up.
const ENCODED_BYTES_MAX: usize = LINK_MESSAGE_BYTES_MAX + LINK_MESSAGE_BYTES_MAX / 254 + 2;

/// Says why a link message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No delimiter within the longest message.
    #[error("link message longer than the limit")]
    TooLong,
    /// COBS, CRC or protobuf did not decode.
    #[error("link message is damaged")]
    Damaged,
}

/// Appends one message, delimiter included, to `out`.
pub fn encode<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), LinkError> {
    let mut plain = message.encode_to_vec();
    plain.extend(CRC.checksum(&plain).to_le_bytes());
    if plain.len() > LINK_MESSAGE_BYTES_MAX {
        return Err(LinkError::TooLong);
    }
    out.extend(cobs::encode_vec(&plain));
    out.push(0);
    Ok(())
}

/// Collects stream bytes and yields messages. Holds at most one message of the longest size and one read.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    skipping: bool,
}

impl Decoder {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next message, `None` when more bytes are needed.
    pub fn next_message<M: Message + Default>(&mut self) -> Option<Result<M, LinkError>> {
        loop {
            let rest = &self.buffer[self.start..];
            let Some(end) = rest.iter().position(|b| *b == 0) else {
                return self.overlong();
            };
            let encoded = &rest[..end];
            let (skipped, empty) = (self.skipping, encoded.is_empty());
            let message = if skipped || empty { None } else { Some(decode_one(encoded)) };
            self.start += end + 1;
            self.skipping = false;
            if message.is_some() {
                return message;
            }
        }
    }

    fn overlong<M>(&mut self) -> Option<Result<M, LinkError>> {
        if self.buffer.len() - self.start <= ENCODED_BYTES_MAX {
            return None;
        }
        self.start = self.buffer.len();
        let first = !self.skipping;
        self.skipping = true;
        first.then_some(Err(LinkError::TooLong))
    }
}

fn decode_one<M: Message + Default>(encoded: &[u8]) -> Result<M, LinkError> {
    if encoded.len() > ENCODED_BYTES_MAX {
        return Err(LinkError::TooLong);
    }
    let plain = cobs::decode_vec(encoded).map_err(|_| LinkError::Damaged)?;
    let (message, crc) = plain.split_last_chunk::<CRC_BYTES>().ok_or(LinkError::Damaged)?;
    if CRC.checksum(message) != u32::from_le_bytes(*crc) {
        return Err(LinkError::Damaged);
    }
    M::decode(message).map_err(|_| LinkError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::LinkDown;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_survive_any_chunking(acks in prop::collection::vec(any::<u64>(), 1..20), chunk in 1_usize..50) {
            let mut stream = Vec::new();
            for acked_seq in &acks {
                encode(&LinkDown { acked_seq: *acked_seq }, &mut stream).unwrap();
            }
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in stream.chunks(chunk) {
                decoder.push(part);
                while let Some(message) = decoder.next_message::<LinkDown>() {
                    seen.push(message.unwrap().acked_seq);
                }
            }
            prop_assert_eq!(seen, acks);
        }

        #[test]
        fn a_damaged_message_does_not_spoil_the_next(flip in 0_usize..6, bit in 0_u8..8) {
            let mut stream = Vec::new();
            encode(&LinkDown { acked_seq: 7 }, &mut stream).unwrap();
            stream[flip] ^= 1 << bit;
            stream.push(0);
            encode(&LinkDown { acked_seq: 8 }, &mut stream).unwrap();
            let mut decoder = Decoder::default();
            decoder.push(&stream);
            let mut good = Vec::new();
            while let Some(message) = decoder.next_message::<LinkDown>() {
                good.extend(message.map(|m| m.acked_seq));
            }
            prop_assert_eq!(good.last(), Some(&8));
        }
    }
}
