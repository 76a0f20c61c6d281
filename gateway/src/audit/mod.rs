//! What must be accounted for: journaled with what it audits, in a hash chain per node (AUD-1).
//!
//! ```text
//! front, node ──Auditor──► chain: n, previous hash, hash ──► journal ──► archive `audit` + head in the catalog
//! registry change, command ──► outbox row, same transaction ──relay──┘                │
//!                                                    wardline audit verify ◄──────────┴── journal's tail
//! ```
//! [`Auditor`] numbers and journals, [`head`] finds where the chain goes on after a start, [`relay`] brings what other
//! transactions wrote into the chain, exactly once. `docs/audit.md` tells what is audited and how to check it.
//!
//! **Invariant:** order in the journal = order in the chain, and a number is taken only when the journal has accepted
//! its event. **Invariant:** what cannot be audited is not done. It is never shed under load.

mod auditor;
pub mod chain;
pub mod head;
mod life;
pub mod limits;
mod metrics;
mod node_id;
pub mod relay;
mod report;
pub mod trail;
pub mod verify;

#[cfg(test)]
mod tests;

pub use auditor::{Auditor, CannotAudit};
pub use metrics::AuditMetrics;
pub use node_id::NodeId;
pub use report::{Finding, NodeReport, Report, What};

/// Says why a chain cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file that names the node is not one that this version writes, or cannot be read or written.
    #[error("{path}: {error}")]
    NodeId {
        /// The file.
        path: String,
        /// What is wrong.
        error: std::io::Error,
    },
    /// The catalog's database failed.
    #[error("database: {0}")]
    Store(#[from] wardline_store::StoreError),
    /// The journal cannot be read.
    #[error("journal: {0}")]
    Journal(#[from] wardline_journal::ReadError),
    /// The catalog's head of this node's chain has no hash of the right length.
    #[error("the catalog holds a damaged head of the audit chain")]
    Head,
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] wardline_archive::ArchiveError),
    /// A background step panicked.
    #[error("reading the journal did not finish")]
    Unfinished,
}
