//! What can go wrong on the bus, and what the caller does about it.

use wardline_proto::refusal::Refusal;

/// What the caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Publishes or asks again later. The record may or may not be on the engine already.
    Retry,
    /// Never tries this record again: the engine can not take it.
    Reject,
    /// Stops and tells the operator: trying again changes nothing.
    Fatal,
}

/// Why the bus did not do what was asked. Texts name what was done, never what a record holds (SEC-3).
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// The engine can not be reached, or ended a connection.
    #[error("bus unavailable: {0}")]
    Unavailable(String),
    /// The engine answers that it can not do this now: without a leader, or starting.
    #[error("bus not ready: {0}")]
    NotReady(String),
    /// No answer in time: whatever was asked may still happen.
    #[error("bus did not answer in time: {0}")]
    Timeout(&'static str),
    /// The engine is still busy with an earlier try of the same record: its answer will do for both.
    #[error("bus still works on an earlier try of the record")]
    InProgress,
    /// The engine's storage is at its bound; it takes records again when confirmed ones have been trimmed.
    #[error("bus full: {0}")]
    Full(String),
    /// The record is longer than the bus carries.
    #[error("record of {bytes} bytes, at most {max} are carried")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The topic has no such partition.
    #[error("no partition {0}")]
    NoPartition(u16),
    /// The topic exists and is not what the options say.
    #[error("topic differs: {0}")]
    TopicDiffers(String),
    /// The topic is not there, and the engine has no room for it.
    #[error("topic refused: {0}")]
    TopicRefused(String),
    /// The engine knows us and will not let us.
    #[error("bus refused the identity or the permission: {0}")]
    Denied(String),
    /// The options or the environment contradict what the engine needs.
    #[error("bus misconfigured: {0}")]
    Misconfigured(String),
    /// The service of this handle has ended.
    #[error("bus closed")]
    Closed,
}

impl BusError {
    /// Says what the caller does.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_)
            | Self::NotReady(_)
            | Self::Timeout(_)
            | Self::InProgress
            | Self::Full(_)
            | Self::TopicRefused(_) => ErrorKind::Retry,
            Self::TooLarge { .. } | Self::NoPartition(_) => ErrorKind::Reject,
            Self::TopicDiffers(_) | Self::Denied(_) | Self::Misconfigured(_) | Self::Closed => {
                ErrorKind::Fatal
            }
        }
    }

    /// Returns the stable code whose page tells the operator what to do.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Unavailable(_) | Self::NotReady(_) | Self::Timeout(_) | Self::InProgress | Self::Closed => {
                Refusal::BusUnavailable
            }
            Self::Full(_) => Refusal::BusFull,
            Self::TopicRefused(_) => Refusal::BusTopicRefused,
            Self::TooLarge { .. } | Self::NoPartition(_) => Refusal::BusRecord,
            Self::TopicDiffers(_) | Self::Denied(_) | Self::Misconfigured(_) => Refusal::BusMisconfigured,
        }
    }

    /// Tells whether nothing will come of it until an operator sees to it.
    pub fn is_for_operator(&self) -> bool {
        self.kind() == ErrorKind::Fatal || matches!(self, Self::TopicRefused(_))
    }

    /// Tells whether the connection it came from is thrown away: after it, nothing about the client is certain.
    pub(crate) fn spoils_client(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout(_))
    }
}
