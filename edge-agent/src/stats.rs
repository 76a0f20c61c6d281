//! Counters of an agent and their snapshot.

use crate::lanes::{LANES, LaneIndex};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that is only ever reported.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes from a level; never below zero.
    pub(crate) fn sub(&self, n: u64) {
        let less = |level: u64| Some(level.saturating_sub(n));
        let _previous = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Live counters of a lane.
#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    pub(crate) framed: Count,
    pub(crate) sent: Count,
    pub(crate) acked: Count,
    pub(crate) spooled: Count,
    pub(crate) dropped: Count,
    pub(crate) refused: Count,
}

/// Live counters of an agent.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    lanes: [LaneCounters; LANES],
    pub(crate) connected: AtomicBool,
    pub(crate) connects: Count,
    pub(crate) link_connects: Count,
    pub(crate) link_acked_seq: Count,
    pub(crate) link_damaged: Count,
    pub(crate) duplicates: Count,
    pub(crate) resent: Count,
    pub(crate) not_held: Count,
    pub(crate) resend_refused: Count,
    pub(crate) refused_lost: Count,
    /// When the oldest frame that is on its way was taken, edge clock; 0 when none is.
    oldest_taken_at_us: AtomicI64,
}

impl Counters {
    pub(crate) fn lane(&self, lane: LaneIndex) -> &LaneCounters {
        &self.lanes[lane.get()]
    }

    /// Notes when the oldest frame that is on its way was taken.
    pub(crate) fn note_oldest(&self, taken_at_us: Option<i64>) {
        self.oldest_taken_at_us.store(taken_at_us.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, now_us: i64) -> AgentStats {
        let oldest = self.oldest_taken_at_us.load(Ordering::Relaxed);
        let lag_us = if oldest == 0 { 0 } else { now_us.saturating_sub(oldest).max(0) };
        AgentStats {
            lanes: LaneIndex::ALL.map(|lane| LaneStats::of(lane, self.lane(lane))),
            connected: self.connected.load(Ordering::Relaxed),
            connects: self.connects.get(),
            link_connects: self.link_connects.get(),
            link_acked_seq: self.link_acked_seq.get(),
            link_damaged: self.link_damaged.get(),
            duplicates: self.duplicates.get(),
            resent: self.resent.get(),
            not_held: self.not_held.get(),
            resend_refused: self.resend_refused.get(),
            refused_lost: self.refused_lost.get(),
            ack_lag: Duration::from_micros(lag_us.unsigned_abs()),
        }
    }
}

/// What happened in a lane since the agent started; `spooled` is what waits now, also from before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStats {
    /// Name of the lane.
    pub lane: String,
    /// Frames numbered, dropped ones included.
    pub framed: u64,
    /// Publishes handed to the connection, repeats included.
    pub sent: u64,
    /// Frames that the gateway acknowledged.
    pub acked: u64,
    /// Frames that wait in the spool for their acknowledgement.
    pub spooled: u64,
    /// Frames that policy dropped: recorded as gaps.
    pub dropped: u64,
    /// Frames that the gateway refused for good: kept in the refused log.
    pub refused: u64,
}

impl LaneStats {
    fn of(lane: LaneIndex, counters: &LaneCounters) -> Self {
        Self {
            lane: lane.name().to_owned(),
            framed: counters.framed.get(),
            sent: counters.sent.get(),
            acked: counters.acked.get(),
            spooled: counters.spooled.get(),
            dropped: counters.dropped.get(),
            refused: counters.refused.get(),
        }
    }
}

/// Snapshot of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStats {
    /// Per lane, in the order of [`LaneIndex::ALL`].
    pub lanes: [LaneStats; LANES],
    /// Whether the gateway has accepted the present connection.
    pub connected: bool,
    /// Connections that the gateway accepted.
    pub connects: u64,
    /// Connections of the device.
    pub link_connects: u64,
    /// Highest link position that was acknowledged to the device.
    pub link_acked_seq: u64,
    /// Link messages that failed their check.
    pub link_damaged: u64,
    /// Link messages that the device sent again and the spool already had.
    pub duplicates: u64,
    /// Frames that the gateway asked for and acknowledged once more.
    #[serde(default)]
    pub resent: u64,
    /// Frames that the gateway asked for and that are not kept any more.
    #[serde(default)]
    pub not_held: u64,
    /// Frames that the gateway asked for and refused when they came; they are still kept.
    #[serde(default)]
    pub resend_refused: u64,
    /// Refused frames for which the refused log had no room: an event tells of each.
    #[serde(default)]
    pub refused_lost: u64,
    /// Age of the oldest frame that is on its way.
    pub ack_lag: Duration,
}

impl AgentStats {
    /// Returns the numbers of a lane.
    pub fn lane(&self, lane: LaneIndex) -> &LaneStats {
        &self.lanes[lane.get()]
    }

    /// Adds the lanes up.
    pub fn total(&self) -> LaneStats {
        let mut total = LaneStats { lane: "total".to_owned(), ..LaneStats::default() };
        for lane in &self.lanes {
            total.framed += lane.framed;
            total.sent += lane.sent;
            total.acked += lane.acked;
            total.spooled += lane.spooled;
            total.dropped += lane.dropped;
            total.refused += lane.refused;
        }
        total
    }
}
