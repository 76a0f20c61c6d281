//! The four lanes and their order.

use wardline_proto::v1::{Lane, UpChannel};

/// Number of lanes.
pub const LANES: usize = 4;

/// Names a lane by its place in every per-lane table; smaller goes out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneIndex(u8);

impl LaneIndex {
    /// Device alarms: first out, never dropped.
    pub const ALARM: Self = Self(0);
    /// Device and agent events: few and small, recorded gaps among them.
    pub const EVENTS: Self = Self(1);
    /// Numeric readings: dropped when waveforms no longer suffice.
    pub const NUMERICS: Self = Self(2);
    /// Waveform blocks: dropped first, sent last.
    pub const WAVEFORMS: Self = Self(3);
    /// Every lane, in the order in which they go out.
    pub const ALL: [Self; LANES] = [Self::ALARM, Self::EVENTS, Self::NUMERICS, Self::WAVEFORMS];

    /// Finds the index of a lane; `None` for the unspecified one.
    pub fn of(lane: Lane) -> Option<Self> {
        Self::ALL.into_iter().find(|index| index.lane() == lane)
    }

    /// Returns the place in a per-lane table.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }

    /// Returns the lane.
    pub fn lane(self) -> Lane {
        match self {
            Self::ALARM => Lane::Alarm,
            Self::EVENTS => Lane::Events,
            Self::NUMERICS => Lane::Numerics,
            _ => Lane::Waveforms,
        }
    }

    /// Returns the name that folders, the status file and logs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::ALARM => "alarm",
            Self::EVENTS => "events",
            Self::NUMERICS => "numerics",
            _ => "waveforms",
        }
    }

    /// Returns the channel that the lane's frames are published on.
    pub fn channel(self) -> UpChannel {
        match self {
            Self::ALARM => UpChannel::Alarm,
            Self::EVENTS => UpChannel::Event,
            _ => UpChannel::Telemetry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::topic;

    #[test]
    fn every_lane_has_a_place_and_a_channel_that_carries_it() {
        for (place, index) in LaneIndex::ALL.into_iter().enumerate() {
            assert_eq!(index.get(), place);
            assert_eq!(LaneIndex::of(index.lane()), Some(index));
            assert!(topic::carries(index.channel(), index.lane()));
        }
        assert_eq!(LaneIndex::of(Lane::Unspecified), None);
    }
}
