//! Every bound of the registry service (LIM-1). Those of the data are the store's.

use std::time::Duration;

/// Rows of an import that are registered in one transaction.
pub const IMPORT_CHUNK_ROWS: usize = 500;
/// A started chunk waits this long for more rows.
pub const IMPORT_CHUNK_WAIT: Duration = Duration::from_millis(50);
/// Most rows of one import.
pub const IMPORT_ROWS_MAX: usize = 1_000_000;
/// Life of a claim when none is asked for.
pub const CLAIM_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Longest life of a claim.
pub const CLAIM_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Largest PEM of a manufacturer's authority, bytes.
pub const PEM_BYTES_MAX: usize = 16 * 1024;
