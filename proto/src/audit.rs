//! The canonical bytes of an audit event: what its hash is over.
//!
//! ```text
//! hash = SHA-256( prev_hash (32 bytes) || canonical )
//!
//! canonical: the protobuf encoding of AuditEvent, fields in the order of their numbers, each at most once,
//! a field with its default value (0, empty) left out, the field `hash` left out:
//!   0x08 varint at_us (two's complement, 64 bits)     0x32 length node (32 hex digits)
//!   0x12 length action                                 0x38 varint n
//!   0x1a length actor                                  0x42 length prev_hash (32 bytes)
//!   0x22 length outcome                                0x50 varint outbox_id
//!   0x2a length target
//! ```
//! The first event of a chain has n = 1 and a `prev_hash` of 32 zero bytes. A field that a later version adds gets the
//! next number and its place at the end; events that lack it keep their hash.

use crate::v1::AuditEvent;
use crate::{DeviceKey, Identity};
use prost::Message;

/// Length of a hash, bytes.
pub const HASH_BYTES: usize = 32;
/// What the first event of a chain has for the hash of the one before it.
pub const FIRST_PREV_HASH: [u8; HASH_BYTES] = [0; HASH_BYTES];

/// Returns the canonical bytes of an event; its `hash` plays no part.
pub fn canonical(event: &AuditEvent) -> Vec<u8> {
    if event.hash.is_empty() {
        return event.encode_to_vec();
    }
    AuditEvent { hash: Vec::new(), ..event.clone() }.encode_to_vec()
}

/// Action of the event that a certificate seems to be in use in two places. Its actor is the device; the alarm engine
/// reads it, so it is durable before anybody hears of it.
pub const SESSION_CONTESTED: &str = "session_contested";

/// Returns the device that an actor's SPIFFE URI names, of whatever trust domain: the front wrote it.
pub fn device_of(actor: &str) -> Option<DeviceKey> {
    let (trust_domain, _path) = actor.strip_prefix("spiffe://")?.split_once('/')?;
    match Identity::from_uri(actor, trust_domain) {
        Ok(Identity::Device(key)) => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never regenerated: chains that exist are verified with these bytes. Another program made them.
    const GOLDEN: &str = "0880c0b2c8db8dbe03120e73657373696f6e5f6f70656e65641a0a7370696666653a2f2f7422026f6b2a097365\
        7269616c20616232203030313132323333343435353636373738383939616162626363646465656666380742200000000000\
        00000000000000000000000000000000000000000000000000000050ac02";

    fn event() -> AuditEvent {
        AuditEvent {
            at_us: 1_962_000_000_000_000,
            action: "session_opened".into(),
            actor: "spiffe://t".into(),
            outcome: "ok".into(),
            target: "serial ab".into(),
            node: "00112233445566778899aabbccddeeff".into(),
            n: 7,
            prev_hash: FIRST_PREV_HASH.to_vec(),
            hash: vec![],
            outbox_id: 300,
        }
    }

    #[test]
    fn the_bytes_are_golden_and_the_hash_plays_no_part() {
        let hex: String = canonical(&event()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        let hashed = AuditEvent { hash: vec![9; HASH_BYTES], ..event() };
        assert_eq!(canonical(&hashed), canonical(&event()));
    }

    #[test]
    fn a_device_is_read_from_its_uri_alone() {
        let key = device_of("spiffe://any.domain/tenant/demo/device/mon-1").unwrap();
        assert_eq!(key.to_string(), "demo/mon-1");
        for other in ["", "os:root@host", "spiffe://d/tenant/demo/service/ward", "spiffe://d"] {
            assert_eq!(device_of(other), None, "{other}");
        }
    }
}
