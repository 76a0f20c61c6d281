//! What can be found not to agree.

use std::fmt;

/// One thing that does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discrepancy {
    /// A committed file is not there.
    Missing(String),
    /// A file's bytes are not those that were committed.
    Changed(String),
    /// A file does not decrypt or decode; why.
    Unreadable(String, String),
    /// A file has other rows than the catalog says: path, found, committed.
    Rows(String, u64, u64),
    /// A file's times lie outside the catalog's range.
    Times(String),
    /// A file holds rows of another tenant than its own.
    Tenant(String),
    /// A row stands where the catalog has seen no frame: path, stream, position.
    Unseen(String, String, u64),
    /// A frame is in two files: path of the second, stream, position.
    Twice(String, String, u64),
    /// A file has rows of other offsets of the journal than the catalog says, or of none that was committed.
    Offsets(String),
    /// A stream's positions do not agree with its counts: stream, how.
    Intervals(String, String),
    /// Other frames of a stream are in files than were archived: stream, found, archived.
    Frames(String, u64, u64),
    /// Completeness is not what it is about; what and where.
    Completeness(String),
    /// A catalog row does not read.
    Catalog(String),
    /// A file of a tenant whose keys were destroyed does not decrypt, as it must not.
    Shredded(String),
    /// A file holds rows of an erasure whose files were all rewritten: path, rows.
    Unerased(String, u64),
    /// A file that no commit names. A running gateway may be writing it.
    Stray(String),
}

impl Discrepancy {
    /// Returns its stable code: the word that its line begins with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Changed(_) => "changed",
            Self::Unreadable(..) => "unreadable",
            Self::Rows(..) => "rows",
            Self::Times(_) => "times",
            Self::Tenant(_) => "tenant",
            Self::Unseen(..) => "unseen",
            Self::Twice(..) => "twice",
            Self::Offsets(_) => "offsets",
            Self::Intervals(..) => "intervals",
            Self::Frames(..) => "frames",
            Self::Completeness(_) => "completeness",
            Self::Catalog(_) => "catalog",
            Self::Shredded(_) => "shredded",
            Self::Unerased(..) => "unerased",
            Self::Stray(_) => "stray",
        }
    }

    /// Says whether it means damage. A stray file does not: what no commit names is no part of the archive. Nor does
    /// one that was made unreadable on purpose.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Stray(_) | Self::Shredded(_))
    }
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "missing: {path} is committed and not there"),
            Self::Changed(path) => write!(f, "changed: {path} is not the file that was committed"),
            Self::Unreadable(path, why) => write!(f, "unreadable: {path}: {why}"),
            Self::Rows(path, found, committed) => {
                write!(f, "rows: {path} has {found}, the catalog says {committed}")
            }
            Self::Times(path) => write!(f, "times: {path} has rows outside the catalog's range"),
            Self::Tenant(path) => write!(f, "tenant: {path} has rows of another tenant"),
            Self::Unseen(path, stream, seq) => {
                write!(f, "unseen: {path} has a row of {stream} seq {seq}, which the catalog has not seen")
            }
            Self::Twice(path, stream, seq) => {
                write!(f, "twice: {path} has {stream} seq {seq}, which another file has too")
            }
            Self::Offsets(path) => {
                write!(f, "offsets: {path} has rows of other places of the journal than were committed")
            }
            Self::Intervals(stream, how) => write!(f, "intervals: of {stream} {how}"),
            Self::Frames(stream, found, archived) => {
                write!(f, "frames: {found} of {stream} are in files, {archived} were archived")
            }
            Self::Completeness(what) => write!(f, "completeness: {what}"),
            Self::Catalog(what) => write!(f, "catalog: {what} does not read"),
            Self::Shredded(path) => write!(f, "shredded: {path} is of a tenant whose keys were destroyed"),
            Self::Unerased(path, rows) => write!(f, "unerased: {path} has {rows} rows that were erased"),
            Self::Stray(path) => {
                write!(f, "stray: {path} is in no commit (a running gateway may be writing it)")
            }
        }
    }
}
