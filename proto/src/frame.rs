//! Frames and bodies: encoding, and decoding that trusts nothing.
//!
//! The front decodes a [`FrameHeader`] only; the body is opened in the pipeline with [`decode_body`].

use crate::limits::{BODY_BYTES_MAX, BODY_ITEMS_MAX, PAYLOAD_BYTES_MAX, READINGS_MAX, SAMPLES_MAX};
use crate::refusal::Refusal;
use crate::v1::{Body, Encoding, Frame, Lane, WaveformBlock};
use bytes::Bytes;
use prost::Message;
use std::fmt;
use zstd::bulk::Decompressor;

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
    Opener::default().open(frame)
}

/// Opens one body after another, and inflates them in memory that was used before.
#[derive(Default)]
pub struct Opener {
    inflater: Option<Decompressor<'static>>,
    inflated: Vec<u8>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

impl Opener {
    /// Opens a frame's body as [`decode_body`] does.
    pub fn open(&mut self, frame: &Frame) -> Result<Body, Refusal> {
        match frame.encoding() {
            Encoding::Identity => read(&frame.body),
            Encoding::Zstd => {
                let mut inflated = std::mem::take(&mut self.inflated);
                let size = self.inflate(&frame.body, &mut inflated);
                let body = size.and_then(|size| read(inflated.get(..size).unwrap_or_default()));
                self.inflated = inflated;
                body
            }
            Encoding::Unspecified => Err(Refusal::BodyUndecodable),
        }
    }

    /// Returns how many bytes of `inflated` it takes.
    fn inflate(&mut self, packed: &[u8], inflated: &mut Vec<u8>) -> Result<usize, Refusal> {
        let size =
            zstd::zstd_safe::get_frame_content_size(packed).ok().flatten().ok_or(Refusal::BodyUndecodable)?;
        if size > BODY_BYTES_MAX as u64 {
            return Err(Refusal::BodyTooLarge);
        }
        let size = size as usize;
        if inflated.len() < size {
            inflated.resize(size, 0);
        }
        // No more room than the frame says it takes, whatever was here before: what has more in it is refused.
        let room = inflated.get_mut(..size).unwrap_or_default();
        let inflater = self.inflater.get_or_insert_default();
        inflater.decompress_to_buffer(packed, room).map_err(|_| Refusal::BodyUndecodable)
    }
}

fn read(bytes: &[u8]) -> Result<Body, Refusal> {
    let body = Body::decode(bytes).map_err(|_| Refusal::BodyUndecodable)?;
    let items = body.numerics.len() + body.waveforms.len() + body.alarms.len() + body.events.len();
    let readings_fit = body.numerics.iter().all(|s| s.values.len() <= READINGS_MAX);
    let samples_fit = body.waveforms.iter().all(|w| w.sample_deltas.len() <= SAMPLES_MAX);
    if items > BODY_ITEMS_MAX || !readings_fit || !samples_fit {
        return Err(Refusal::BodyTooLarge);
    }
    // Whoever walks samples and gaps side by side does so in one pass: so gaps are bounded by the samples.
    if body.waveforms.iter().all(gaps_ascend) { Ok(body) } else { Err(Refusal::BodyInconsistent) }
}

/// Says whether the gaps of a block are not empty, rise, and lie within its samples.
pub fn gaps_ascend(block: &WaveformBlock) -> bool {
    let mut end = 0;
    block.gaps.iter().all(|gap| {
        let (first, count) = (u64::from(gap.first), u64::from(gap.count));
        let after = first >= std::mem::replace(&mut end, first + count);
        count > 0 && after && end <= block.sample_deltas.len() as u64
    })
}

/// Yields the samples of a block that were measured, each with its index, in one pass over samples and gaps. Gaps must
/// ascend, as [`decode_body`] sees to; of others some may be missed.
pub fn measured(block: &WaveformBlock) -> impl Iterator<Item = (usize, i32)> + '_ {
    let (mut sample, mut gaps) = (0_i32, block.gaps.iter().peekable());
    block.sample_deltas.iter().enumerate().filter_map(move |(index, delta)| {
        sample = sample.wrapping_add(*delta);
        let at = index as u64;
        while gaps.next_if(|gap| u64::from(gap.first) + u64::from(gap.count) <= at).is_some() {}
        let is_gap = gaps.peek().is_some_and(|gap| u64::from(gap.first) <= at);
        (!is_gap).then_some((index, sample))
    })
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
    use crate::v1::{NumericSeries, SampleGap};
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

    #[test]
    fn what_was_opened_before_changes_nothing() {
        let of = |values| {
            let series = NumericSeries { values, ..NumericSeries::default() };
            Body { numerics: vec![series], ..Body::default() }
        };
        let (small, large) = (of(vec![1.0; 100]), of(vec![2.0; 1000]));
        let mut opener = Opener::default();
        let opened = opener.open(&frame(&large)).unwrap();
        assert_eq!(opened, large);
        assert_eq!(opener.open(&frame(&small)), Ok(small.clone()));
        // Two zstd frames, of which the first alone tells its size.
        let mut two = frame(&small);
        two.body = [two.body, frame(&small).body].concat().into();
        assert_eq!(opener.open(&two), Err(Refusal::BodyUndecodable));
        assert_eq!(decode_body(&two), Err(Refusal::BodyUndecodable));
    }

    fn gapped(samples: usize, gaps: &[(u32, u32)]) -> WaveformBlock {
        let gaps = gaps.iter().map(|&(first, count)| SampleGap { first, count }).collect();
        WaveformBlock { sample_deltas: vec![1; samples], gaps, ..WaveformBlock::default() }
    }

    #[test]
    fn gaps_that_do_not_ascend_within_their_block_are_refused() {
        let decoded = |gaps: &[(u32, u32)]| {
            decode_body(&frame(&Body { waveforms: vec![gapped(10, gaps)], ..Body::default() })).map(drop)
        };
        for gaps in [&[][..], &[(0, 10)], &[(0, 1), (1, 1), (8, 2)]] {
            assert_eq!(decoded(gaps), Ok(()), "{gaps:?}");
        }
        for gaps in [&[(0, 0)][..], &[(9, 2)], &[(u32::MAX, u32::MAX)], &[(3, 1), (3, 1)], &[(5, 1), (2, 1)]]
        {
            assert_eq!(decoded(gaps), Err(Refusal::BodyInconsistent), "{gaps:?}");
        }
    }

    #[test]
    fn samples_in_gaps_are_not_measured() {
        let left: Vec<_> = measured(&gapped(8, &[(0, 2), (3, 1), (6, 2)])).collect();
        assert_eq!(left, [(2, 3), (4, 5), (5, 6)]);
        assert_eq!(measured(&gapped(3, &[])).count(), 3);
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
