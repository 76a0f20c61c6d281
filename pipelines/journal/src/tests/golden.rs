//! Version 1 of the format, byte for byte. These bytes are never regenerated: a log written by any version opens.

use super::record_of;
use crate::format::{
    BatchBuilder, BatchHeader, SEGMENT_HEADER_BYTES, SegmentCipher, SegmentHeader, open_batch, verify,
};
use crate::keys::cipher;
use crate::{Class, KeyId, Offset};
use std::sync::Arc;

/// The header up to the end of the wrapped key; zeros follow.
const HEADER: &str = "574c4a524e4c0d0a01003c00b00fbce0070000000000000000401e18240a060002000000126b2d303132333435363738\
                      396162636465660000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                      0000000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a\
                      2b2c2d2e2f303132333435363738393a3b";
const BATCH: &str = "574c4231837bc6842500000002000000090000000000000040222018240a06000100000000000000f0958646d1c62d6ae5\
                     c5d75795727bd6ab2000856ce696362c25409638ac9ead22d66959dd";
const END: &str = "574c4231c5a39d5410000000000000000b0000000000000040222018240a0600ffffffffffffffffd5a50d383a4b9b81e3\
                   961042409ad0b4";

fn header() -> SegmentHeader {
    SegmentHeader {
        base: Offset::new(7),
        created_at_us: 1_700_000_000_000_000,
        nonce_prefix: 2,
        master: KeyId::new("k-0123456789abcdef").unwrap(),
        wrapped: (0..60).collect(),
    }
}

fn segment_cipher() -> SegmentCipher {
    let key: Vec<u8> = (0..32).collect();
    SegmentCipher::new(Arc::new(cipher(&key).unwrap()), Offset::new(7), 2)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_segment_header_of_version_1() {
    let bytes = header().encode().unwrap();
    assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
    let (start, zeros) = bytes.split_at(101 + 60);
    assert_eq!(hex(start), HEADER);
    assert!(zeros.iter().all(|byte| *byte == 0));
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
}

#[test]
fn a_batch_and_an_end_of_version_1() {
    let cipher = segment_cipher();
    let mut builder = BatchBuilder::default();
    builder.begin();
    builder.push(&record_of(Class::Alarm, *b"first"));
    builder.push(&record_of(Class::Telemetry, *b""));
    let bytes = builder.finish(&cipher, Offset::new(9), 1_700_000_000_123_456, 1).unwrap().to_vec();
    assert_eq!(hex(&bytes), BATCH);
    verify(&bytes).unwrap();
    assert_eq!(BatchHeader::decode(&bytes).unwrap().end(), Offset::new(11));
    let entries = open_batch(&cipher, bytes).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].class, &entries[0].payload[..]), (Class::Alarm, b"first".as_slice()));
    let end = builder.end(&cipher, Offset::new(11), 1_700_000_000_123_456).unwrap();
    assert_eq!(hex(end), END);
}
