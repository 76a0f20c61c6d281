//! What can go wrong in the archive, grouped by what the caller must do.

use crate::bucket::BucketError;
use std::collections::BTreeSet;
use wardline_journal::{KeyError, Offset, ReadError};
use wardline_store::StoreError;
use wardline_store::catalog::CommitError;

/// What the worker does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Go back to the committed position, wait, go on. Nothing is lost: the journal still has it.
    Retry,
    /// Stop. Going on would store what is not true, or lose what is.
    Fatal,
}

/// Says what went wrong in the archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The catalog's database failed.
    #[error("catalog: {0}")]
    Store(#[from] StoreError),
    /// It is not known where the archive lies.
    #[error(transparent)]
    Place(#[from] crate::place::PlaceError),
    /// Another worker took the catalog over.
    #[error("another worker took the catalog over")]
    Fenced,
    /// The journal does not hold the committed position.
    #[error("the journal has no offset {0}, which the catalog continues from: is it another journal?")]
    Position(Offset),
    /// The journal cannot be read.
    #[error("journal: {0}")]
    Journal(ReadError),
    /// A master key is missing or cannot be used.
    #[error("keys: {0}")]
    Key(#[from] KeyError),
    /// Master keys of these tenants are refused, and of nobody else among whom files are written for.
    #[error("keys of {}: {error}", tenants.iter().map(String::as_str).collect::<Vec<_>>().join(", "))]
    KeysOf {
        /// Whose.
        tenants: BTreeSet<String>,
        /// Why, for the first.
        error: KeyError,
    },
    /// Files cannot be written, read or removed.
    #[error("archive files: {0}")]
    Io(#[from] std::io::Error),
    /// The bucket is of no use now.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A file cannot be put.
    #[error("archive files: {0}")]
    ObjectStore(#[from] object_store::Error),
    /// Parquet cannot be written or read.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Columns do not fit their table.
    #[error("columns: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// Stored state of a stream does not read.
    #[error("the catalog holds damaged state of a stream")]
    StreamState,
    /// A file's bytes are not those that were committed.
    #[error("{0} is not the file that was committed")]
    FileChanged(String),
    /// A committed file does not decrypt or decode: the path, and why.
    #[error("{0} does not read: {1}")]
    Unreadable(String, String),
    /// A committed file has the columns of another version.
    #[error("{0} has the columns of another version")]
    OtherColumns(String),
    /// A merge of small files would not keep every row.
    #[error("{rows} rows of {expected} in a merge of small files")]
    Compaction {
        /// Rows that were read.
        rows: u64,
        /// Rows that the catalog names.
        expected: u64,
    },
    /// A committed file lacks a column of its table, or has it in another type.
    #[error("a committed file has no usable column {0}")]
    Column(&'static str),
    /// A background step was cancelled or panicked.
    #[error("a background step did not finish: {0}")]
    Join(#[from] tokio::task::JoinError),
    /// A read could not be audited.
    #[error("WL-AUD-002: the read could not be audited, so nothing was read: {0}")]
    NotAudited(StoreError),
    /// The worker has ended.
    #[error("the archive worker has ended")]
    Closed,
}

impl ArchiveError {
    /// Says what to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(StoreError::Sql(_)) | Self::Io(_) | Self::ObjectStore(_) => ErrorKind::Retry,
            // What is refused today, as by a credential that has expired, may be mended without a new start.
            Self::Bucket(BucketError::Away(..) | BucketError::Refused(..)) => ErrorKind::Retry,
            Self::Journal(ReadError::Io(_))
            | Self::Key(KeyError::Io(_) | KeyError::Random | KeyError::Away(_) | KeyError::Refused(_))
            // Destroyed between its choice and its use: the next try makes a new one.
            | Self::Key(KeyError::Unknown)
            | Self::KeysOf { .. } => ErrorKind::Retry,
            Self::Store(_)
            | Self::Bucket(BucketError::NotOurs(_) | BucketError::NotAlone(..))
            | Self::Place(_)
            | Self::Fenced
            | Self::Position(_)
            | Self::Journal(_)
            | Self::Key(_)
            | Self::Parquet(_)
            | Self::Arrow(_)
            | Self::StreamState
            | Self::FileChanged(_)
            | Self::Unreadable(..)
            | Self::OtherColumns(_)
            | Self::Compaction { .. }
            | Self::Column(_)
            | Self::Join(_)
            | Self::NotAudited(_)
            | Self::Closed => ErrorKind::Fatal,
        }
    }
}

impl From<CommitError> for ArchiveError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Fenced => Self::Fenced,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ReadError> for ArchiveError {
    fn from(error: ReadError) -> Self {
        Self::Journal(error)
    }
}
