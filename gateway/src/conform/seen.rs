//! What a run has seen so far: plain data that the checks judge. Times are unix microseconds.

use super::proxy::Line;
use std::collections::{BTreeMap, HashMap};
use wardline_profile::{Profile, Tally};
use wardline_proto::v1::{Lane, SpoolGap, SyncState};

/// Arrival may differ so much from one frame to the next without a backlog.
const PACED_US: i64 = 250_000;

/// A step of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// Waiting for the device's first session.
    Connect,
    /// Nothing is disturbed.
    Measure,
    /// Connections are cut.
    Cut,
    /// Every byte is late.
    Slow,
    /// Answers are swallowed, then the connection is cut.
    LostAck,
    /// The gateway cannot be reached.
    Outage,
    /// It can be reached again.
    Recover,
    /// The archive is looked at.
    Finish,
}

impl Step {
    /// Returns the name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Measure => "measure",
            Self::Cut => "cut",
            Self::Slow => "slow",
            Self::LostAck => "lost-ack",
            Self::Outage => "outage",
            Self::Recover => "recover",
            Self::Finish => "finish",
        }
    }
}

/// When a step was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) step: Step,
    pub(super) from_us: i64,
    pub(super) until_us: i64,
}

impl Span {
    /// Returns its length, seconds.
    pub(super) fn seconds(&self) -> f64 {
        (self.until_us - self.from_us) as f64 / 1e6
    }

    /// Says whether a time lies in it.
    pub(super) fn holds(&self, at_us: i64) -> bool {
        (self.from_us..self.until_us).contains(&at_us)
    }
}

/// A session that the gateway opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) opened_us: i64,
    pub(super) serial: String,
    /// When and how it ended: `ok` after a DISCONNECT, `lost`, or a code.
    pub(super) closed: Option<(i64, String)>,
}

/// Where a frame stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position {
    pub(super) epoch: u64,
    pub(super) lane: i32,
    pub(super) seq: u64,
}

/// One frame as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FrameSeen {
    /// Ingest time.
    pub(super) at_us: i64,
    pub(super) position: Position,
    /// Hash of the body's bytes.
    pub(super) digest: u64,
    /// Whether the position had not come before.
    pub(super) first: bool,
    pub(super) sent_at_us: i64,
    /// Device time of its newest item; none for a body that does not decode.
    pub(super) device_us: Option<i64>,
    pub(super) clock_offset_us: i64,
    pub(super) sync: SyncState,
    /// A hole that the device itself tells of.
    pub(super) gap: Option<SpoolGap>,
}

impl FrameSeen {
    /// Returns its lane.
    pub(super) fn lane(&self) -> Lane {
        Lane::try_from(self.position.lane).unwrap_or_default()
    }
}

/// What the archive holds of the device at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Archived {
    pub(super) archived: u64,
    pub(super) quarantined: u64,
    pub(super) duplicates: u64,
    /// Holes, as `lane first-last`.
    pub(super) missing: Vec<String>,
}

/// Everything that was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Serial of the issued certificate.
    pub(super) serial: String,
    /// Whether the device may have numbered frames before this run.
    pub(super) continues: bool,
    pub(super) tally: Tally,
    pub(super) spans: Vec<Span>,
    pub(super) lines: Vec<Line>,
    pub(super) sessions: Vec<Session>,
    /// Refusals of the front, by code.
    pub(super) refusals: BTreeMap<String, u64>,
    /// Bodies that the archive will refuse, by code.
    pub(super) bad_bodies: BTreeMap<String, u64>,
    /// What bodies break of the profile, in words, with how often.
    pub(super) broken: BTreeMap<String, u64>,
    pub(super) frames: Vec<FrameSeen>,
    /// Digest of each position's first arrival.
    pub(super) first: HashMap<Position, u64>,
    /// Messages in JSON, which have no position here.
    pub(super) json: u64,
    /// When connections were cut on purpose, and when the gateway could be reached again.
    pub(super) cuts: Vec<(i64, Step)>,
    pub(super) archived: Option<Archived>,
}

impl Seen {
    /// Starts with nothing.
    pub(super) fn new(profile: Profile, serial: String, continues: bool) -> Self {
        Self {
            serial,
            continues,
            tally: Tally::new(profile),
            spans: Vec::new(),
            lines: Vec::new(),
            sessions: Vec::new(),
            refusals: BTreeMap::new(),
            bad_bodies: BTreeMap::new(),
            broken: BTreeMap::new(),
            frames: Vec::new(),
            first: HashMap::new(),
            json: 0,
            cuts: Vec::new(),
            archived: None,
        }
    }

    /// Returns the profile.
    pub(super) fn profile(&self) -> &Profile {
        self.tally.profile()
    }

    /// Returns when a step was; none before its end.
    pub(super) fn span(&self, step: Step) -> Option<Span> {
        self.spans.iter().find(|span| span.step == step).copied()
    }

    /// Returns the first session opened at or after a time.
    pub(super) fn session_after(&self, at_us: i64) -> Option<&Session> {
        self.sessions.iter().find(|session| session.opened_us >= at_us)
    }

    /// Returns how many refusals of a code there were.
    pub(super) fn refused(&self, code: &str) -> u64 {
        self.refusals.get(code).copied().unwrap_or(0)
    }

    /// Returns the shortest interval that the profile promises, microseconds.
    pub(super) fn fastest_us(&self) -> Option<i64> {
        let cadences = self.profile().measurements.iter().filter_map(|m| m.cadence);
        cadences.map(|c| c.longest_us()).min()
    }

    /// Returns frames that arrived in a span.
    pub(super) fn frames_in(&self, span: Span) -> impl Iterator<Item = &FrameSeen> {
        self.frames.iter().filter(move |frame| span.holds(frame.at_us))
    }

    /// Says whether the last two frames of readings arrived as far apart as they were made: no backlog is under way.
    pub(super) fn is_paced(&self) -> bool {
        let readings = self.frames.iter().rev().filter(|f| f.first && f.lane() == Lane::Numerics);
        let mut lags = readings.filter_map(|frame| Some(frame.at_us - frame.device_us?));
        matches!((lags.next(), lags.next()), (Some(last), Some(before)) if (last - before).abs() < PACED_US)
    }

    /// Returns how far ingest time was from device time while nothing was disturbed, the middle of it, microseconds.
    pub(super) fn device_lag_us(&self) -> Option<i64> {
        let span = self.span(Step::Measure)?;
        middle(self.frames_in(span).filter_map(|f| Some(f.at_us - f.device_us?)).collect())
    }

    /// Returns the same for the time at which frames say that they were sent.
    pub(super) fn sent_lag_us(&self) -> Option<i64> {
        let span = self.span(Step::Measure)?;
        middle(self.frames_in(span).filter(|f| f.sent_at_us != 0).map(|f| f.at_us - f.sent_at_us).collect())
    }
}

/// Returns the median.
pub(super) fn middle(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
