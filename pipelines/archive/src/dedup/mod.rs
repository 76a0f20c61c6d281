//! What has been seen of a stream, so that each frame is archived once (ORD-1).
//!
//! A stream is (tenant, device, epoch, lane); its positions count from 1 without a hole. Seen positions are kept
//! as intervals for ever, so a frame that comes again after years is still a duplicate and a hole is always known.
//! Content is compared for recent positions only, by a keyed tag: the catalog holds nothing to guess content from.

mod intervals;

pub use intervals::Intervals;

use std::collections::VecDeque;

/// Positions whose content is remembered, per stream.
const RECENT_MAX: usize = 64;
const RECENT_BYTES: usize = 16;

/// What a frame is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// First of its position.
    New {
        /// A later position came before it.
        late: bool,
    },
    /// It was here before.
    Duplicate,
    /// Its position was taken by other content.
    Conflict,
    /// The stream has more holes than are kept.
    Fragmented,
}

/// What has been seen of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    seen: Intervals,
    recent: VecDeque<(u64, u64)>,
}

impl StreamState {
    /// Takes position `seq` with the content tag `tag`.
    pub fn offer(&mut self, seq: u64, tag: u64) -> Verdict {
        let before = self.seen.last();
        if self.seen.contains(seq) {
            let mut known = self.recent.iter().filter(|(s, _)| *s == seq).peekable();
            let conflict = known.peek().is_some() && known.all(|(_, t)| *t != tag);
            if conflict {
                self.remember(seq, tag);
            }
            return if conflict { Verdict::Conflict } else { Verdict::Duplicate };
        }
        if !self.seen.insert(seq) {
            return Verdict::Fragmented;
        }
        self.remember(seq, tag);
        Verdict::New { late: before.is_some_and(|last| seq < last) }
    }

    /// Returns the positions that were seen.
    pub fn seen(&self) -> &Intervals {
        &self.seen
    }

    fn remember(&mut self, seq: u64, tag: u64) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, tag));
    }

    /// Encodes the remembered content: position and tag, little endian, oldest first.
    pub fn encode_recent(&self) -> Vec<u8> {
        self.recent.iter().flat_map(|(seq, tag)| [seq.to_le_bytes(), tag.to_le_bytes()]).flatten().collect()
    }

    /// Reads what [`Intervals::encode`] and [`encode_recent`](Self::encode_recent) wrote; none when it is damaged.
    pub fn decode(seen: &[u8], recent: &[u8]) -> Option<Self> {
        if !recent.len().is_multiple_of(RECENT_BYTES) || recent.len() > RECENT_MAX * RECENT_BYTES {
            return None;
        }
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        let pair = |bytes: &[u8]| Some((number(&bytes[..8])?, number(&bytes[8..])?));
        let recent = recent.chunks_exact(RECENT_BYTES).map(pair).collect::<Option<_>>()?;
        Some(Self { seen: Intervals::decode(seen)?, recent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_new_once_and_other_content_is_a_conflict_once() {
        let mut state = StreamState::default();
        assert_eq!(state.offer(1, 7), Verdict::New { late: false });
        assert_eq!(state.offer(3, 7), Verdict::New { late: false });
        assert_eq!(state.offer(2, 7), Verdict::New { late: true });
        assert_eq!(state.offer(2, 7), Verdict::Duplicate);
        assert_eq!(state.offer(2, 8), Verdict::Conflict);
        assert_eq!(state.offer(2, 8), Verdict::Duplicate);
        let copy = StreamState::decode(&state.seen.encode(), &state.encode_recent()).unwrap();
        assert_eq!(copy, state);
    }

    #[test]
    fn forgotten_content_is_a_duplicate() {
        let mut state = StreamState::default();
        (1..=RECENT_MAX as u64 + 1)
            .for_each(|seq| assert_eq!(state.offer(seq, 1), Verdict::New { late: false }));
        assert_eq!(state.offer(1, 2), Verdict::Duplicate);
    }
}
