//! What can go wrong, grouped by what the caller does about it.

use crate::format::FormatError;
use crate::{KeyError, Offset, Record};
use std::io;

/// Says why a record was not queued. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue, the log or the disk is at its bound for this class. Refuse, and try again later.
    #[error("the journal is full for this class of record")]
    Full(Record),
    /// A write or sync failed. The log takes nothing more until it is opened again.
    #[error("the journal has failed")]
    Failed,
    /// The log was closed.
    #[error("the journal is closed")]
    Closed,
    /// The payload is larger than the log ever takes.
    #[error("the record is too large")]
    TooLarge(Record),
}

/// What the caller of an append must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendErrorKind {
    /// Refuse now; a later try may succeed.
    Retry,
    /// Refuse for good.
    Reject,
    /// Stop serving.
    Fatal,
}

impl AppendError {
    /// Says what the caller must do.
    pub fn kind(&self) -> AppendErrorKind {
        match self {
            Self::Full(_) => AppendErrorKind::Retry,
            Self::TooLarge(_) => AppendErrorKind::Reject,
            Self::Failed | Self::Closed => AppendErrorKind::Fatal,
        }
    }
}

/// Says why a log could not be opened. Nothing was changed unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the log.
    #[error("the journal is in use by another process")]
    Locked,
    /// The folder or a file could not be read or written.
    #[error("the journal's files: {0}")]
    Io(#[from] io::Error),
    /// A key is missing or does not fit.
    #[error("the journal's key: {0}")]
    Key(#[from] KeyError),
    /// A segment is damaged where a crash cannot have damaged it. It is evidence: restore it or move it away.
    #[error("segment {segment} is damaged at byte {position}: {reason}")]
    Corrupt {
        /// File name.
        segment: String,
        /// Byte in the file.
        position: u64,
        /// What does not fit.
        reason: FormatError,
    },
    /// A segment is missing between two others.
    #[error("offsets {expected} to {found} are missing from the journal")]
    Missing {
        /// The offset that should come next.
        expected: Offset,
        /// The offset that the next file starts with.
        found: Offset,
    },
    /// The disk has no room for even the smallest segment.
    #[error("no disk space for a segment")]
    NoSpace,
}

/// Says why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention has dropped the offset; the log now starts at `start`.
    #[error("the offset was dropped by retention, the log starts at {start}")]
    Dropped {
        /// First retained offset.
        start: Offset,
    },
    /// The offset is past the end of the log.
    #[error("the offset is past the log's end {end}")]
    PastEnd {
        /// First offset that is not durable.
        end: Offset,
    },
    /// A file could not be read.
    #[error("the journal's files: {0}")]
    Io(#[from] io::Error),
    /// A segment is damaged. Nothing of the damaged batch is returned.
    #[error("the segment at offset {base} is damaged at byte {position}: {reason}")]
    Corrupt {
        /// First offset of the segment.
        base: Offset,
        /// Byte in the file.
        position: u64,
        /// What does not fit.
        reason: FormatError,
    },
}

/// Says why retention failed; what was not dropped is still there.
#[derive(Debug, thiserror::Error)]
#[error("dropping a segment: {0}")]
pub struct RetainError(#[from] pub io::Error);
