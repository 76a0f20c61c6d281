//! Every bound of the alarm engine, in one place (LIM-1). What reaching one does stands beside it.

/// Most devices that are watched. One more is not watched, and a technical alert says so.
pub const DEVICES_MAX: usize = 50_000;
/// Most streams (epoch, lane) remembered per device for duplicates; the least recent one goes.
pub const STREAMS_MAX: usize = 16;
/// Words of 64 positions in a stream's window of seen frames. What lies below the window counts as seen.
pub const WINDOW_WORDS: usize = 8;
/// Most device-raised conditions per device; ended ones go first, then a new one is counted and not raised.
pub const CONDITIONS_MAX: usize = 64;
/// Most rules in a rules file.
pub const RULES_MAX: usize = 256;
/// Largest rules file, bytes.
pub const RULES_BYTES_MAX: usize = 256 * 1024;
/// Longest delay, gap or grace in a rule, seconds.
pub const RULE_SECONDS_MAX: u32 = 24 * 3600;
/// A silent device is forgotten after this long when room is needed, microseconds.
pub const IDLE_US: i64 = 24 * 3600 * 1_000_000;
/// Journal bytes that the worker takes in one step.
pub const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Records between two checkpoints at most.
pub const CHECKPOINT_RECORDS_MAX: usize = 20_000;
/// Most events that one read of the feed returns.
pub const FEED_PAGE_MAX: u32 = 1000;

const _: () = assert!(WINDOW_WORDS > 0 && STREAMS_MAX > 4);
const _: () = assert!(CONDITIONS_MAX * DEVICES_MAX < u32::MAX as usize);
/// Most tenants that a system alert reaches.
pub const TENANTS_MAX: usize = 1024;
/// A backfilled device alarm without an end becomes an alert after this long, microseconds of ingest time.
pub const HOLD_US: i64 = 15_000_000;
/// After a restart, devices have at least this long to come back before their data counts as missing,
/// microseconds.
pub const RECONNECT_US: i64 = 15_000_000;
/// A contested certificate is told of until it has been quiet for this long, microseconds.
pub const CONTESTED_US: i64 = 600_000_000;
/// Between two looks for idle devices when there is no room, microseconds.
pub const EVICTION_INTERVAL_US: i64 = 60_000_000;

const _: () = assert!(RECONNECT_US < IDLE_US && HOLD_US < IDLE_US);
