//! What can go wrong with a statement, each with its stable code.

use crate::growth::TooWide;
use datafusion::error::DataFusionError;
use wardline_proto::refusal::Refusal;

/// Says why a statement has no answer, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// It does not parse, or names what is not there.
    #[error("{code}: {0}", code = self.refusal())]
    Statement(String),
    /// It does more than read.
    #[error("{code}: only statements that read are run, and over the network only SELECT", code = self.refusal())]
    NotRead,
    /// The role does not read this.
    #[error("{code}: {what} is not granted to the role {role}, which reads {granted}", code = self.refusal())]
    NotGranted {
        /// Table or column.
        what: String,
        /// Of the caller.
        role: &'static str,
        /// What is granted.
        granted: String,
    },
    /// Neither analyst nor clinician.
    #[error("{code}: the archive is read by principals with the role analyst or clinician", code = self.refusal())]
    NoRole,
    /// A clinician without a site.
    #[error("{code}: a clinician reads the rows of its sites, and this one has none", code = self.refusal())]
    NoSite,
    /// More rows than may be.
    #[error("{code}: the statement gives more than {0} rows", code = self.refusal())]
    Rows(u64),
    /// It took too long.
    #[error("{code}: the statement took more than {0} seconds", code = self.refusal())]
    Time(u64),
    /// Whoever asked it has ended it.
    #[error("{code}: the statement was cancelled by its caller", code = self.refusal())]
    Cancelled,
    /// Too many at a time.
    #[error("{code}: {0} statements run, which is as many as may", code = self.refusal())]
    Busy(usize),
    /// It does not fit.
    #[error("{code}: the statement needs more memory than one may take", code = self.refusal())]
    Memory,
    /// It broke while it ran.
    #[error("{code}: {0}", code = self.refusal())]
    Failed(String),
    /// The archive does not open.
    #[error("{code}: {0}", code = self.refusal())]
    Archive(String),
    /// The rows cannot be written.
    #[error("{code}: {0}", code = self.refusal())]
    Output(String),
    /// The read could not be audited.
    #[error("{code}: who asks could not be audited, so nothing was read", code = self.refusal())]
    NotAudited,
}

impl QueryError {
    /// Returns its stable code.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Statement(_) => Refusal::QueryStatement,
            Self::NotRead => Refusal::QueryNotRead,
            Self::NotGranted { .. } => Refusal::QueryNotGranted,
            Self::NoRole => Refusal::RoleMissing,
            Self::NoSite => Refusal::IdentitySite,
            Self::Rows(_) => Refusal::QueryRows,
            Self::Time(_) => Refusal::QueryTime,
            Self::Cancelled => Refusal::QueryCancelled,
            Self::Busy(_) => Refusal::QueryBusy,
            Self::Memory => Refusal::QueryMemory,
            Self::Failed(_) => Refusal::QueryFailed,
            Self::Archive(_) => Refusal::QueryArchive,
            Self::Output(_) => Refusal::QueryOutput,
            Self::NotAudited => Refusal::QueryNotAudited,
        }
    }

    /// Makes the error of a statement that ran, for whoever may read everything: with the engine's words.
    pub(crate) fn told(error: &DataFusionError) -> Self {
        Self::Failed(format!("{}; is every file there, and its key in the keyring?", error.strip_backtrace()))
    }

    /// Makes the error of a statement that ran, for whoever asks over the network: an engine's words may hold a value
    /// of a row that the caller must not see.
    pub(crate) fn kept(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory,
            DataFusionError::External(error) if error.is::<TooWide>() => Self::Memory,
            _ => Self::Failed(
                "the statement failed while it ran: a value that does not fit, or a file or key that is gone"
                    .into(),
            ),
        }
    }
}
