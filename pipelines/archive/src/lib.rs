//! Journal records become encrypted Parquet, exactly once.
//!
//! ```text
//! journal -> intake: decode -> validate -> desk: dedup, rows -> commit: encrypt, write, fsync -> catalog (SQL)
//! ```
//!
//! [`ArchiveService`] is the worker, [`ArchiveHandle`] watches it, [`read`] reads what it wrote. Tables and columns
//! are described in `docs/archive.md`, the JSON that devices may send in `docs/json.md`.
//!
//! **Invariants:** what was acknowledged ends in a table or in the quarantine, once (ACK-1); files, position and
//! stream state change in one transaction (ARC-1); no column, statistic or index is written in plaintext (SEC-3); no
//! payload stops the ones behind it. The archive never reads the clock for a row.

pub mod bucket;
mod commit;
mod compact;
mod completeness;
mod coverage;
pub mod dedup;
mod desk;
mod endpoint;
mod erase;
mod erased;
mod error;
pub mod export;
mod file;
mod files;
mod handle;
mod heads;
mod held;
mod hours;
mod intake;
mod keys;
pub mod layout;
pub mod losses;
mod metrics;
mod names;
mod notices;
mod options;
pub mod order;
mod pending;
pub mod place;
mod profiles;
pub mod proof;
pub mod read;
mod replay;
mod requests;
mod rows;
mod session;
mod shelf;
mod streams;
mod table;
pub mod tail;
mod telling;
mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transit;
pub mod validate;
pub mod verify;
mod worker;

pub use completeness::HourReport;
pub use coverage::{Asked, Coverage};
pub use erased::Erased;
pub use error::{ArchiveError, ErrorKind};
pub use files::Files;
pub use handle::{ArchiveHandle, Progress};
pub use keys::ArchiveKeys;
pub use metrics::ArchiveMetrics;
pub use notices::{NOTICES_PER_COMMIT_MAX, QuarantineNotice};
pub use options::ArchiveOptions;
pub use rows::schema;
pub use streams::Counts;
pub use table::{Day, Table};
pub use tenant::SYSTEM;
pub use worker::ArchiveService;
