//! Which offsets of a lane are settled. Sans-IO.
//!
//! A frame is settled when it needs no more sending: acknowledged, or refused and kept, or dropped and reported.
//! Answers may come in any order; the watermark stands at the first offset that is not settled.

use std::collections::BTreeSet;

/// The watermark and what is settled above it. Holds no more than what is in flight and in repair.
#[derive(Debug)]
pub(crate) struct Progress {
    watermark: u64,
    above: BTreeSet<u64>,
}

impl Progress {
    pub(crate) fn new(watermark: u64) -> Self {
        Self { watermark, above: BTreeSet::new() }
    }

    /// Settles `first..=last`; returns how many of them were not settled before.
    pub(crate) fn settle(&mut self, first: u64, last: u64) -> u64 {
        let mut fresh = 0;
        for offset in first.max(self.watermark)..=last {
            fresh += u64::from(self.above.insert(offset));
        }
        while self.above.remove(&self.watermark) {
            self.watermark += 1;
        }
        fresh
    }

    /// First offset that is not settled.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_waits_for_the_hole() {
        let mut progress = Progress::new(5);
        assert_eq!(progress.settle(6, 8), 3);
        assert_eq!(progress.watermark(), 5);
        assert_eq!(progress.settle(7, 7), 0, "an answer that came twice counts once");
        assert_eq!(progress.settle(5, 5), 1);
        assert_eq!(progress.watermark(), 9);
        assert_eq!(progress.settle(1, 4), 0, "what is below is settled");
    }
}
