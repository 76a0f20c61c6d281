//! What is given up when the spool nears its bound. Sans-IO.
//!
//! The newest waveforms first, then the newest numerics; alarms and events never. What is given up leaves a
//! tombstone, so the policy decides what is *kept*, never what is *known*.

use crate::lanes::LaneIndex;

/// Waveforms may fill this part of the bound, in tenths.
const WAVEFORMS_TENTHS: u64 = 8;
/// Numerics may fill this part of the bound, in tenths; the rest is for alarms and events.
const NUMERICS_TENTHS: u64 = 9;

const _: () = assert!(WAVEFORMS_TENTHS < NUMERICS_TENTHS && NUMERICS_TENTHS < 10);

/// The bound and its order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    bytes_max: u64,
}

impl Policy {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max }
    }

    /// Says whether a new record of `lane` is kept while `held_bytes` wait to be acknowledged.
    pub(crate) fn keeps(&self, lane: LaneIndex, held_bytes: u64, new_bytes: u64) -> bool {
        let tenths = match lane {
            LaneIndex::WAVEFORMS => WAVEFORMS_TENTHS,
            LaneIndex::NUMERICS => NUMERICS_TENTHS,
            _ => return true,
        };
        held_bytes.saturating_add(new_bytes) <= self.bytes_max / 10 * tenths
    }

    /// Says whether records of `lane` may be given up at all.
    pub(crate) fn may_drop(lane: LaneIndex) -> bool {
        lane == LaneIndex::WAVEFORMS || lane == LaneIndex::NUMERICS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waveforms_go_first_then_numerics_and_nothing_else() {
        let policy = Policy::new(1_000);
        let kept_at = |held| LaneIndex::ALL.map(|lane| policy.keeps(lane, held, 10));
        assert_eq!(kept_at(0), [true; 4]);
        assert_eq!(kept_at(790), [true; 4]);
        assert_eq!(kept_at(791), [true, true, true, false]);
        assert_eq!(kept_at(891), [true, true, false, false]);
        assert_eq!(kept_at(u64::MAX), [true, true, false, false]);
    }
}
