//! MQTT packets from the network: any stream, in any pieces, before and after the CONNECT, of both versions.
//!
//! The front's own files are compiled in, so that the target needs neither the gateway nor a wider interface of it.
#![no_main]

extern crate self as wardline_access;

/// One of the front's bounds is that of all services.
#[path = "../../pipelines/access/src/limits.rs"]
pub mod limits;

#[path = "../../gateway/src/front"]
#[allow(dead_code, unused_imports, reason = "fields and bounds of other parts of the front")]
mod front {
    mod codec;
    mod limits;

    use bytes::BytesMut;
    use codec::{Packet, Version, read_connect, read_packet};
    use wardline_proto::limits::PACKET_BYTES_MAX;

    /// Reads a stream as the front does.
    pub fn decode(mode: u8, bytes: &[u8]) {
        let piece = usize::from(mode >> 2) + 1;
        let mut version = if mode & 1 == 0 { Version::V4 } else { Version::V5 };
        let mut is_connected = mode & 2 != 0;
        let mut stream = BytesMut::new();
        for bytes in bytes.chunks(piece) {
            stream.extend_from_slice(bytes);
            loop {
                let before = stream.len();
                if is_connected {
                    match read_packet(version, &mut stream) {
                        Ok(Some(Packet::Publish(publish))) => assert!(publish.qos <= 2),
                        Ok(Some(_other)) => {}
                        Ok(None) => break,
                        Err(_refused) => return,
                    }
                } else {
                    match read_connect(&mut stream) {
                        Ok(Some(connect)) => (version, is_connected) = (connect.version, true),
                        Ok(None) => break,
                        Err(_refused) => return,
                    }
                }
                assert!(stream.len() < before, "a packet was returned and nothing was taken");
            }
            assert!(stream.len() <= PACKET_BYTES_MAX + 5, "more is collected than the largest packet");
        }
    }
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((mode, bytes)) = input.split_first() {
        front::decode(*mode, bytes);
    }
});
