//! What has been seen of a stream, so that each frame is archived once (ORD-1).
//!
//! A stream is (tenant, device, epoch, lane); its positions count from 1 without a hole. Seen positions are kept
//! as intervals for ever, so a frame that comes again after years is still a duplicate and a hole is always known.
//! Content is compared for recent positions only, by a keyed tag: the catalog holds nothing to guess content from.

mod intervals;

pub use intervals::Intervals;

use bytes::Bytes;
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

/// What is remembered of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// The keyed tag of it.
    Tag(u64),
    /// Itself, until its tag is asked for: of a stream that is caught up with, few are.
    Whole(Bytes),
}

impl Content {
    fn is(&self, other: &Bytes, tag_of: impl Fn(&[u8]) -> u64) -> bool {
        match self {
            Self::Tag(tag) => *tag == tag_of(other),
            Self::Whole(whole) => whole == other,
        }
    }
}

/// What has been seen of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    seen: Intervals,
    recent: VecDeque<(u64, Content)>,
}

impl StreamState {
    /// Takes position `seq` with a content, of which `tag_of` makes the tag.
    pub fn offer(&mut self, seq: u64, content: &Bytes, tag_of: impl Fn(&[u8]) -> u64) -> Verdict {
        let before = self.seen.last();
        if before.is_some_and(|last| seq <= last) && self.seen.contains(seq) {
            let mut known = self.recent.iter().filter(|(s, _)| *s == seq).peekable();
            let conflict = known.peek().is_some() && known.all(|(_, known)| !known.is(content, &tag_of));
            if conflict {
                self.remember(seq, content);
            }
            return if conflict { Verdict::Conflict } else { Verdict::Duplicate };
        }
        if !self.seen.insert(seq) {
            return Verdict::Fragmented;
        }
        self.remember(seq, content);
        Verdict::New { late: before.is_some_and(|last| seq < last) }
    }

    /// Returns the positions that were seen.
    pub fn seen(&self) -> &Intervals {
        &self.seen
    }

    fn remember(&mut self, seq: u64, content: &Bytes) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, Content::Whole(content.clone())));
    }

    /// Encodes the remembered content: position and tag, little endian, oldest first. Of what was remembered whole the
    /// tag is left.
    pub fn encode_recent(&mut self, tag_of: impl Fn(&[u8]) -> u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.recent.len() * RECENT_BYTES);
        for (seq, content) in &mut self.recent {
            let tag = match content {
                Content::Tag(tag) => *tag,
                Content::Whole(whole) => tag_of(whole),
            };
            *content = Content::Tag(tag);
            bytes.extend(seq.to_le_bytes());
            bytes.extend(tag.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Intervals::encode`] and [`encode_recent`](Self::encode_recent) wrote; none when it is damaged.
    pub fn decode(seen: &[u8], recent: &[u8]) -> Option<Self> {
        if !recent.len().is_multiple_of(RECENT_BYTES) || recent.len() > RECENT_MAX * RECENT_BYTES {
            return None;
        }
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        let pair = |bytes: &[u8]| Some((number(&bytes[..8])?, Content::Tag(number(&bytes[8..])?)));
        let recent = recent.chunks_exact(RECENT_BYTES).map(pair).collect::<Option<_>>()?;
        Some(Self { seen: Intervals::decode(seen)?, recent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag_of(content: &[u8]) -> u64 {
        content.iter().fold(5, |tag, byte| tag * 31 + u64::from(*byte))
    }

    fn offer(state: &mut StreamState, seq: u64, content: u8) -> Verdict {
        state.offer(seq, &vec![content; 3].into(), tag_of)
    }

    #[test]
    fn a_frame_is_new_once_and_other_content_is_a_conflict_once() {
        let mut state = StreamState::default();
        assert_eq!(offer(&mut state, 1, 7), Verdict::New { late: false });
        assert_eq!(offer(&mut state, 3, 7), Verdict::New { late: false });
        assert_eq!(offer(&mut state, 2, 7), Verdict::New { late: true });
        assert_eq!(offer(&mut state, 2, 7), Verdict::Duplicate);
        assert_eq!(offer(&mut state, 2, 8), Verdict::Conflict);
        assert_eq!(offer(&mut state, 2, 8), Verdict::Duplicate);
        let recent = state.encode_recent(tag_of);
        assert_eq!(StreamState::decode(&state.seen.encode(), &recent), Some(state));
    }

    #[test]
    fn content_is_known_by_its_tag_as_by_itself() {
        let mut state = StreamState::default();
        offer(&mut state, 1, 7);
        let whole = state.clone();
        let recent = state.encode_recent(tag_of);
        for mut state in [whole, StreamState::decode(&state.seen.encode(), &recent).unwrap(), state] {
            assert_eq!(offer(&mut state, 1, 7), Verdict::Duplicate);
            assert_eq!(offer(&mut state, 1, 8), Verdict::Conflict);
            assert_eq!(offer(&mut state, 1, 8), Verdict::Duplicate);
            assert_eq!(offer(&mut state, 1, 9), Verdict::Conflict);
        }
    }

    #[test]
    fn forgotten_content_is_a_duplicate() {
        let mut state = StreamState::default();
        (1..=RECENT_MAX as u64 + 1)
            .for_each(|seq| assert_eq!(offer(&mut state, seq, 1), Verdict::New { late: false }));
        assert_eq!(offer(&mut state, 1, 2), Verdict::Duplicate);
    }
}
