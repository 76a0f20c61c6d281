//! Which frames were seen: a bounded window of recent positions per stream.

use crate::limits::{STREAMS_MAX, WINDOW_WORDS};
use wardline_proto::frame::FrameHeader;

const WINDOW: u64 = 64 * WINDOW_WORDS as u64;

/// The seen positions of one stream (epoch, lane). Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SeenStream {
    /// Epoch of the stream.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Lane of the stream.
    #[prost(int32, tag = "2")]
    pub lane: i32,
    /// Highest position seen.
    #[prost(uint64, tag = "3")]
    pub highest: u64,
    /// Bit `seq % WINDOW` says whether `seq` was seen, for the positions in (highest - WINDOW, highest].
    #[prost(fixed64, repeated, tag = "4")]
    pub bits: Vec<u64>,
    /// Ingest time of the last frame.
    #[prost(int64, tag = "5")]
    pub last_us: i64,
}

impl SeenStream {
    fn new(header: FrameHeader) -> Self {
        let bits = vec![0; WINDOW_WORDS];
        Self { epoch: header.epoch, lane: header.lane.into(), highest: 0, bits, last_us: 0 }
    }

    /// Marks a position; `false` when it was seen before or lies below the window.
    fn mark(&mut self, seq: u64) -> bool {
        self.bits.resize(WINDOW_WORDS, 0);
        if seq > self.highest {
            let from = (self.highest + 1).max(seq.saturating_sub(WINDOW - 1));
            (from..=seq).for_each(|passed| self.bits[slot(passed).0] &= !slot(passed).1);
            self.highest = seq;
        } else if self.highest - seq >= WINDOW {
            return false;
        }
        let (word, bit) = slot(seq);
        let fresh = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        fresh
    }
}

fn slot(seq: u64) -> (usize, u64) {
    let at = seq % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

/// Marks a frame as seen; `false` for a duplicate. The least recent stream makes room for a new one.
pub(crate) fn is_fresh(streams: &mut Vec<SeenStream>, header: FrameHeader, ingested_at_us: i64) -> bool {
    let lane: i32 = header.lane.into();
    let at = match streams.iter().position(|s| s.epoch == header.epoch && s.lane == lane) {
        Some(at) => at,
        None => {
            if streams.len() >= STREAMS_MAX {
                let oldest = (0..streams.len()).min_by_key(|i| streams[*i].last_us).unwrap_or(0);
                streams.remove(oldest);
            }
            streams.push(SeenStream::new(header));
            streams.len() - 1
        }
    };
    streams[at].last_us = streams[at].last_us.max(ingested_at_us);
    streams[at].mark(header.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use wardline_proto::v1::Lane;

    fn header(epoch: u64, seq: u64) -> FrameHeader {
        FrameHeader { epoch, seq, lane: Lane::Numerics }
    }

    proptest! {
        #[test]
        fn a_position_is_fresh_once(seqs in prop::collection::vec(1_u64..2000, 1..300)) {
            let (mut streams, mut seen, mut highest) = (Vec::new(), BTreeSet::new(), 0);
            for seq in seqs {
                let below = highest >= WINDOW + seq;
                let fresh = is_fresh(&mut streams, header(1, seq), 0);
                prop_assert_eq!(fresh, !below && seen.insert(seq));
                highest = highest.max(seq);
            }
        }
    }

    #[test]
    fn streams_are_bounded_and_far_jumps_are_cheap() {
        let mut streams = Vec::new();
        for epoch in 1..100 {
            assert!(is_fresh(&mut streams, header(epoch, 1), epoch as i64));
            assert!(is_fresh(&mut streams, header(epoch, i64::MAX as u64), epoch as i64));
        }
        assert_eq!(streams.len(), STREAMS_MAX);
        assert!(!is_fresh(&mut streams, header(99, 1), 99));
    }
}
