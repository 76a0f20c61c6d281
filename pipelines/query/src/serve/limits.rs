//! Every bound of the server (LIM-1).

use std::time::Duration;

/// Rows that one statement may give, unless something else is said.
pub(crate) const ROWS_MAX: u64 = 50_000_000;
/// How long one statement may take, its client's reading included, unless something else is said, seconds.
pub(crate) const SECONDS_MAX: u64 = 300;
/// Statements at a time, unless something else is said.
pub(crate) const STATEMENTS_MAX: usize = 8;
/// Statements at a time of one caller, unless something else is said.
pub(crate) const STATEMENTS_PER_CALLER_MAX: usize = 2;
/// Memory of sorting, grouping, joining and windows that one statement may take, bytes.
pub(crate) const MEMORY_BYTES_MAX: usize = 1 << 30;
/// Longest statement, bytes.
pub(crate) const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// Statements that are kept as they were understood; the oldest go first.
pub(crate) const STATEMENTS_KEPT: usize = 128;
/// Longest statement that is kept, bytes.
pub(crate) const STATEMENTS_KEPT_BYTES: usize = 4 * 1024;
/// Batches that wait for the client; then the statement waits.
pub(crate) const BATCHES_AHEAD: usize = 2;
/// Refusals that wait to be written into the outbox.
pub(crate) const REFUSALS_AHEAD: usize = 1024;
/// After a shutdown, statements have this long to end.
pub(crate) const DRAIN: Duration = Duration::from_secs(3);

const _: () = assert!(STATEMENTS_PER_CALLER_MAX < STATEMENTS_MAX);
