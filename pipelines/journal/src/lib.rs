//! The durable log: sealed, group-committed, crash-safe, bounded.
//!
//! One physical log per front (or per lane of an edge spool). [`Journal::append`] only queues; a writer thread
//! takes what is queued, seals it as one batch, writes it once, syncs it once and then publishes the durable
//! end. Only then does a [`Ticket`] turn into [`Durable`], the proof that an acknowledgement needs (ACK-1).
//!
//! ```text
//! append --> queue --> writer: seal, write, fdatasync --> durable end (watch) --> Ticket::redeem --> Durable
//!                          \--> tail (memory) --> Reader          segments (files) --> Reader that fell behind
//! ```
//!
//! What may be relied upon:
//! - every record reported durable is read again after any crash, exactly once and in order;
//! - nothing is reported durable before its `fdatasync` returned; a failed write or sync poisons the log for
//!   good (nothing is retried, because the kernel may have dropped the pages);
//! - disk space is claimed before a record is admitted, so a full disk refuses and never loses;
//! - every buffer has a bound in [`JournalOptions`] (LIM-1).
//!
//! **Invariant:** this crate has no async runtime and never interprets a payload. It does not replicate, and it
//! does not decide who may read: it seals (SEC-3) and the key provider decides.

pub mod abort;
mod admission;
mod durable;
mod error;
pub mod fault;
pub mod format;
mod gate;
mod journal;
mod keyring;
mod keys;
mod options;
mod pace;
mod reader;
mod recovery;
mod scan;
mod sealer;
mod source;
mod spare;
mod stamp;
mod stats;
mod storage;
mod tail;
mod turnstile;
mod writer;
mod zeros;

#[cfg(any(test, feature = "testing"))]
pub mod provider_tests;
#[cfg(test)]
mod tests;

pub use durable::{Durable, DurableState, DurableWatch, Lost, Reached, Ticket, Waiter};
pub use error::{AppendError, AppendErrorKind, OpenError, ReadError, RetainError};
pub use gate::Gate;
pub use journal::Journal;
pub use keyring::{KeyInfo, KeyState, Keyring};
pub use keys::{KeyError, KeyId, KeyProvider, KeyPurpose, KeyService};
pub use options::JournalOptions;
pub use reader::Reader;
pub use recovery::has_begun;
pub use scan::{Scanned, scan, scan_durable};
pub use sealer::Sealer;
pub use source::{Entries, Growth, Passage, Source};
pub use stats::JournalStats;
pub use storage::{DiskStorage, FileInfo, LogFile, Storage, StorageLock};
pub use zeroize::Zeroizing;

use bytes::Bytes;
use std::fmt;
use wardline_proto::PartitionId;

/// A record's position in the log: the first is 0, each next one is one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of a new log.
    pub const ZERO: Self = Self(0);

    /// Makes an offset from a stored number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(crate) const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a record is worth when the log nears its bound: telemetry is refused first, alarms last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The last to be refused.
    Alarm,
    /// Refused after telemetry and before alarms.
    Audit,
    /// Refused first.
    Telemetry,
}

impl Class {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Alarm => 1,
            Self::Audit => 2,
            Self::Telemetry => 3,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Alarm),
            2 => Some(Self::Audit),
            3 => Some(Self::Telemetry),
            _ => None,
        }
    }
}

/// What is appended.
///
/// The payload is kept by reference in the in-memory tail: give a `Bytes` of its own size, not a slice of a large
/// read buffer, or the tail's bound counts less than it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Where a reader demultiplexes it to.
    pub partition: PartitionId,
    /// Its place in the order of refusal.
    pub class: Class,
    /// The bytes, sealed before they are written.
    pub payload: Bytes,
}

impl fmt::Debug for Record {
    /// Shows sizes only: a payload may hold patient data (SEC-3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} of {:?}, {} bytes)", self.partition.get(), self.class, self.payload.len())
    }
}

/// What is read: a durable record with its offset and time.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub offset: Offset,
    /// When its batch was taken by the writer, unix microseconds, never decreasing along the log of one process.
    pub time_us: i64,
    /// The partition it was appended to.
    pub partition: PartitionId,
    /// The class it was appended with.
    pub class: Class,
    /// The bytes as they were appended.
    pub payload: Bytes,
}

impl fmt::Debug for Entry {
    /// Shows sizes only: a payload may hold patient data (SEC-3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} at {}, {} bytes)", self.offset, self.time_us, self.payload.len())
    }
}
