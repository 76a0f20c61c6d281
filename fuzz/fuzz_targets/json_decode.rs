//! A plain JSON publish from the network.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wardline_proto::frame::{decode_body, encode_body};
use wardline_proto::json;
use wardline_proto::v1::Frame;

fuzz_target!(|payload: &[u8]| {
    let Ok(publish) = json::decode(payload, 1_700_000_000_000_000) else { return };
    // What JSON says becomes the same records as a frame: its body passes the frame's own limits.
    let (encoding, body) = encode_body(&publish.body);
    let frame = Frame { encoding: encoding.into(), body, ..Frame::default() };
    let _too_large = decode_body(&frame);
});
