//! Every bound of auditing (LIM-1).

use std::time::Duration;
use wardline_proto::limits::ID_BYTES_MAX;

/// Actors whose repeated refusals are counted apart within one second; more share one entry.
pub const AUDIT_ACTORS_MAX: usize = 4096;
/// How long equal refusals of one actor are counted into one audit event.
pub const AUDIT_WINDOW: Duration = Duration::from_secs(1);
/// Longest action, actor or outcome of an event, bytes; what is longer is cut.
pub const NAME_BYTES_MAX: usize = 512;
/// Longest target of an event, bytes; what is longer is cut.
pub const TARGET_BYTES_MAX: usize = 1024;
/// Room that the journal must have for one more event: below it, nothing that must be audited is done.
pub const EVENT_BYTES_MAX: usize = 3 * NAME_BYTES_MAX + TARGET_BYTES_MAX + 256;
/// How often the outbox is looked at. What is in it is in the journal within two of these.
pub const RELAY_POLL: Duration = Duration::from_millis(400);
/// Rows of the outbox that are journaled under one sync.
pub const RELAY_ROWS_MAX: usize = 256;
/// Bytes of the journal that are read at a time in search of a chain's head.
pub const HEAD_READ_BYTES: usize = 4 << 20;

// Two identifiers and a trust domain in a SPIFFE URI, and two in a topic.
const _: () = assert!(NAME_BYTES_MAX >= 2 * ID_BYTES_MAX + 255 + 32);
const _: () = assert!(2 * RELAY_POLL.as_millis() <= 1_000);
