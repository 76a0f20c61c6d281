//! What a store answers, as what an operator can do about it.

use std::error::Error;
use std::io;
use wardline_proto::refusal::Refusal;

/// Characters of a store's own words that are told.
const WORDS_MAX: usize = 300;
/// Answers that no waiting mends, where the status alone does not say it.
const REFUSALS: [&str; 6] = [
    "NoSuchBucket",
    "InvalidBucketName",
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "NotImplemented",
    "InvalidArgument",
];

/// Says why the bucket of an archive is of no use now.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The store cannot be reached, or does not answer.
    #[error(
        "WL-ARC-001: {0} cannot be reached or fails: {1}; nothing is lost, the journal keeps it: bring it back"
    )]
    Away(String, String),
    /// The store answers that it will not.
    #[error("WL-ARC-002: {0} refuses: {1}; check the bucket's name, the credentials and what they may do")]
    Refused(String, String),
    /// The bucket holds the files of another archive.
    #[error("WL-ARC-003: {0} holds the files of another archive: give each its own bucket or prefix")]
    NotOurs(String),
    /// The place is not empty, or lies in another archive's; nothing was written.
    #[error(
        "WL-ARC-004: {0} is not for an archive to begin in: it {1}; give the archive an empty bucket or prefix of its own"
    )]
    NotAlone(String, String),
}

impl BucketError {
    /// Returns the stable code.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Away(..) => Refusal::ArchiveAway,
            Self::Refused(..) => Refusal::ArchiveRefused,
            Self::NotOurs(_) => Refusal::ArchiveNotOurs,
            Self::NotAlone(..) => Refusal::ArchiveNotAlone,
        }
    }

    /// Sorts what the client of a store says of `place`; none when it means that one object is not there.
    pub(super) fn of(place: &str, error: &object_store::Error) -> Option<Self> {
        let words = words(error);
        let is_told = |code: &&str| words.starts_with(*code);
        let is_refused = REFUSALS.iter().any(is_told) || words.contains("configured region");
        match error {
            object_store::Error::NotFound { .. } if !is_refused => None,
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
            | object_store::Error::NotImplemented { .. } => Some(Self::Refused(place.to_owned(), words)),
            _ if is_refused => Some(Self::Refused(place.to_owned(), words)),
            _ => Some(Self::Away(place.to_owned(), words)),
        }
    }
}

/// Returns the words of an answer, `CODE: MESSAGE`, or those of the last cause where there was no answer.
fn words(error: &object_store::Error) -> String {
    let text = error.to_string();
    let tag = |name: &str| {
        let rest = text.split_once(&format!("<{name}>"))?.1;
        Some(rest.split_once("</")?.0.to_owned())
    };
    let told = match (tag("Code"), tag("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => {
            let mut last: &dyn Error = error;
            while let Some(cause) = last.source() {
                last = cause;
            }
            last.to_string()
        }
    };
    told.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

/// Says that one object is not there, as a folder would.
pub(super) fn not_there(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path} is not in the bucket"))
}
