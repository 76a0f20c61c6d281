//! Frames of an exact size, numbered in place.

use prost::Message;
use std::time::SystemTime;
use wardline_proto::v1::{Body, Clock, Encoding, Frame, Lane, NumericSeries};

/// Heart rate, `/min`.
const HEART_RATE: u32 = 147_842;
/// Protobuf tag of `Frame.seq`.
const SEQ_TAG: u8 = 0x10;
/// A varint of this many bytes, padded, holds every seq of a run.
const SEQ_BYTES: usize = 5;
/// Bytes that a reading adds: a value and a time.
const READING_BYTES: usize = 12;
/// A field that no schema knows, length-delimited: what it holds is skipped.
const PADDING_TAG: u8 = 15 << 3 | 2;

/// A frame whose seq is written into it before each publish.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    seq: u64,
}

impl Template {
    /// Makes a numerics frame of exactly `size` bytes; seq starts at 1 in the stream of `epoch`.
    pub(crate) fn new(size: usize, epoch: u64) -> anyhow::Result<Self> {
        // The padding is at least two bytes, or none.
        let fits = |readings: &usize| {
            let bytes = 1 + SEQ_BYTES + frame(*readings, epoch).len();
            bytes == size || bytes + 2 <= size
        };
        let readings = (0..=size / READING_BYTES).rev().find(fits);
        let readings = readings.ok_or_else(|| anyhow::anyhow!("no frame is as small as {size} bytes"))?;
        let mut bytes = vec![SEQ_TAG, 0, 0, 0, 0, 0];
        bytes.extend(frame(readings, epoch));
        pad(&mut bytes, size);
        anyhow::ensure!(bytes.len() == size, "a frame cannot be {size} bytes");
        Ok(Self { bytes, seq: 0 })
    }

    /// Writes the next frame.
    pub(crate) fn next(&mut self, payload: &mut Vec<u8>) {
        self.seq += 1;
        for (index, byte) in self.bytes[1..=SEQ_BYTES].iter_mut().enumerate() {
            let more = if index + 1 < SEQ_BYTES { 0x80 } else { 0 };
            *byte = (self.seq >> (7 * index)) as u8 & 0x7f | more;
        }
        payload.extend_from_slice(&self.bytes);
    }
}

/// Returns an epoch that no earlier run of this machine used.
pub(crate) fn epoch_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(1, |since| since.as_micros() as u64)
}

fn frame(readings: usize, epoch: u64) -> Vec<u8> {
    let series = NumericSeries {
        mdc_code: HEART_RATE,
        ucum_unit: "/min".to_owned(),
        start_us: epoch as i64,
        time_deltas_us: (0..readings).map(|index| if index == 0 { 0 } else { 1_000_000 }).collect(),
        values: (0..readings).map(|index| 60.0 + (index % 40) as f64).collect(),
        statuses: Vec::new(),
    };
    let body = Body { numerics: vec![series], ..Body::default() };
    let frame = Frame {
        epoch,
        seq: 0,
        sent_at_us: epoch as i64,
        clock: Some(Clock::default()),
        encoding: Encoding::Identity.into(),
        lane: Lane::Numerics.into(),
        body: body.encode_to_vec().into(),
    };
    frame.encode_to_vec()
}

/// Fills up to `size` with a field that readers skip.
fn pad(bytes: &mut Vec<u8>, size: usize) {
    let missing = size - bytes.len();
    if (2..=129).contains(&missing) {
        bytes.extend([PADDING_TAG, (missing - 2) as u8]);
        bytes.resize(size, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::frame;

    #[test]
    fn frames_have_their_size_and_count_from_one() {
        for size in [200, 1024] {
            let mut template = Template::new(size, epoch_now()).unwrap();
            for seq in [1, 2, 3] {
                let mut payload = Vec::new();
                template.next(&mut payload);
                assert_eq!(payload.len(), size);
                let (header, decoded) = frame::decode(payload.into()).unwrap();
                assert_eq!(header.seq, seq);
                let body = frame::decode_body(&decoded).unwrap();
                assert_eq!(body.numerics.len(), 1);
            }
        }
    }
}
