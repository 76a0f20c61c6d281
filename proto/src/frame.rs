//! Frames and bodies: encoding, and decoding that trusts nothing.
//!
//! The front decodes a [`FrameHeader`] only; the body is opened in the pipeline with [`decode_body`].

use crate::limits::{BODY_BYTES_MAX, BODY_ITEMS_MAX, PAYLOAD_BYTES_MAX, READINGS_MAX, SAMPLES_MAX};
use crate::refusal::Refusal;
use crate::v1::{Body, Encoding, Frame, Lane};
use bytes::Bytes;
use prost::Message;

/// Bodies below this size are sent as they are: zstd would not shrink them.
const COMPRESS_FROM_BYTES: usize = 256;
const ZSTD_LEVEL: i32 = 1;

/// Where a frame stands in its stream (device, epoch, lane).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    /// When the spool that numbers the stream was created, unix microseconds.
    pub epoch: u64,
    /// Position, from 1.
    pub seq: u64,
    /// Lane.
    pub lane: Lane,
}

/// Decodes a frame and checks its header; the body stays as it is.
pub fn decode(payload: Bytes) -> Result<(FrameHeader, Frame), Refusal> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Refusal::PayloadTooLarge);
    }
    let frame = Frame::decode(payload).map_err(|_| Refusal::PayloadFormat)?;
    let lane = frame.lane();
    let known = lane != Lane::Unspecified && frame.encoding() != Encoding::Unspecified;
    if !known
        || frame.seq == 0
        || frame.epoch == 0
        || frame.seq > i64::MAX as u64
        || frame.epoch > i64::MAX as u64
    {
        return Err(Refusal::FrameHeader);
    }
    Ok((FrameHeader { epoch: frame.epoch, seq: frame.seq, lane }, frame))
}

/// Opens a frame's body within the limits.
pub fn decode_body(frame: &Frame) -> Result<Body, Refusal> {
    let body = match frame.encoding() {
        Encoding::Identity => Body::decode(frame.body.clone()),
        Encoding::Zstd => Body::decode(Bytes::from(inflate(&frame.body)?)),
        Encoding::Unspecified => return Err(Refusal::BodyUndecodable),
    };
    let body = body.map_err(|_| Refusal::BodyUndecodable)?;
    let items = body.numerics.len() + body.waveforms.len() + body.alarms.len() + body.events.len();
    let readings_fit = body.numerics.iter().all(|s| s.values.len() <= READINGS_MAX);
    let samples_fit = body.waveforms.iter().all(|w| w.sample_deltas.len() <= SAMPLES_MAX);
    if items <= BODY_ITEMS_MAX && readings_fit && samples_fit { Ok(body) } else { Err(Refusal::BodyTooLarge) }
}

/// Encodes a body, compressed where that helps.
pub fn encode_body(body: &Body) -> (Encoding, Bytes) {
    let plain = body.encode_to_vec();
    if plain.len() >= COMPRESS_FROM_BYTES {
        if let Ok(packed) = zstd::bulk::compress(&plain, ZSTD_LEVEL) {
            if packed.len() < plain.len() {
                return (Encoding::Zstd, packed.into());
            }
        }
    }
    (Encoding::Identity, plain.into())
}

/// Returns the lane that a body belongs in; a body carries one lane's items only.
pub fn lane_of(body: &Body) -> Lane {
    if !body.alarms.is_empty() {
        Lane::Alarm
    } else if !body.numerics.is_empty() {
        Lane::Numerics
    } else if !body.waveforms.is_empty() {
        Lane::Waveforms
    } else {
        Lane::Events
    }
}

fn inflate(packed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let size =
        zstd::zstd_safe::get_frame_content_size(packed).ok().flatten().ok_or(Refusal::BodyUndecodable)?;
    if size > BODY_BYTES_MAX as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    zstd::bulk::decompress(packed, size as usize).map_err(|_| Refusal::BodyUndecodable)
}

/// Turns samples into the wire's differences.
pub fn delta_encode(samples: &[i32]) -> Vec<i32> {
    let mut previous = 0_i32;
    let step = |s: &i32| {
        let delta = s.wrapping_sub(previous);
        previous = *s;
        delta
    };
    samples.iter().map(step).collect()
}

/// Turns the wire's differences into samples.
pub fn delta_decode(deltas: &[i32]) -> Vec<i32> {
    let mut sample = 0_i32;
    let step = |d: &i32| {
        sample = sample.wrapping_add(*d);
        sample
    };
    deltas.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::NumericSeries;
    use proptest::prelude::*;

    fn frame(body: &Body) -> Frame {
        let (encoding, body) = encode_body(body);
        Frame {
            epoch: 1,
            seq: 1,
            encoding: encoding.into(),
            lane: Lane::Numerics.into(),
            body,
            ..Frame::default()
        }
    }

    #[test]
    fn a_body_round_trips_in_both_encodings() {
        for readings in [1, 1000] {
            let series = NumericSeries { values: vec![97.0; readings], ..NumericSeries::default() };
            let body = Body { numerics: vec![series], ..Body::default() };
            assert_eq!(decode_body(&frame(&body)), Ok(body));
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_inflated() {
        let body = zstd::bulk::compress(&vec![0; BODY_BYTES_MAX + 1], 1).unwrap().into();
        let frame = Frame { encoding: Encoding::Zstd.into(), body, ..Frame::default() };
        assert_eq!(decode_body(&frame), Err(Refusal::BodyTooLarge));
    }

    proptest! {
        #[test]
        fn deltas_are_lossless(samples: Vec<i32>) {
            prop_assert_eq!(delta_decode(&delta_encode(&samples)), samples);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            if let Ok((_, frame)) = decode(bytes.into()) {
                let _ = decode_body(&frame);
            }
        }
    }
}
