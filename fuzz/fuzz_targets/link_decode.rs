//! The device link: any stream, in any pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wardline_proto::link::{Decoder, encode};
use wardline_proto::v1::LinkUp;

fuzz_target!(|input: &[u8]| {
    let Some((piece, stream)) = input.split_first() else { return };
    let piece = usize::from(*piece) + 1;
    let mut decoder = Decoder::default();
    let mut messages = 0;
    for bytes in stream.chunks(piece) {
        decoder.push(bytes);
        while let Some(message) = decoder.next_message::<LinkUp>() {
            messages += 1;
            if let Ok(message) = message {
                let mut again = Vec::new();
                let _too_long = encode(&message, &mut again);
            }
        }
    }
    assert!(messages <= stream.len(), "every message costs a byte at least");
});
