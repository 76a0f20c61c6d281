//! A frame from the network, then its body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wardline_proto::frame;

fuzz_target!(|payload: &[u8]| {
    let Ok((header, frame)) = frame::decode(Bytes::copy_from_slice(payload)) else { return };
    assert!(header.seq > 0 && header.epoch > 0);
    let Ok(body) = frame::decode_body(&frame) else { return };
    for block in &body.waveforms {
        let samples = frame::delta_decode(&block.sample_deltas);
        assert_eq!(frame::delta_encode(&samples), block.sample_deltas);
    }
    let _lane = frame::lane_of(&body);
});
