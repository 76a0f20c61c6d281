//! What a device measures: bodies in time order, made or replayed.

use crate::replay::Replay;
use crate::synth::{Synth, SynthOptions};
use std::path::PathBuf;
use wardline_proto::v1::Body;

/// A body and when the device has it complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// Microseconds since the source's start.
    pub ready_us: i64,
    /// One lane's items.
    pub body: Body,
}

/// Where a device's measurements come from.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceOptions {
    /// Synthetic signals, without end.
    Synthetic(SynthOptions),
    /// A WFDB record, once. Nothing of it is ever dropped.
    Replay(PathBuf),
}

/// A running source.
#[derive(Debug)]
pub(crate) enum Source {
    /// Synthetic signals.
    Synthetic(Box<Synth>),
    /// A record.
    Replay(Box<Replay>),
}

impl Source {
    /// Returns the length of the record; `None` for what has no end.
    pub(crate) fn duration_us(&self) -> Option<i64> {
        match self {
            Self::Synthetic(_) => None,
            Self::Replay(replay) => Some(replay.duration_us()),
        }
    }

    /// Sets the device time of the first sample, unix microseconds.
    pub(crate) fn start_at(&mut self, start_us: i64) {
        match self {
            Self::Synthetic(synth) => synth.start_at(start_us),
            Self::Replay(replay) => replay.start_at(start_us),
        }
    }
}

impl Iterator for Source {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        match self {
            Self::Synthetic(synth) => synth.next(),
            Self::Replay(replay) => replay.next(),
        }
    }
}
