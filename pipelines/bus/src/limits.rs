//! Every bound of the bus (LIM-1).

use crate::record::HEADER_BYTES;
use std::time::Duration;
use wardline_proto::limits::PAYLOAD_BYTES_MAX;

/// Longest sealed body of a record: a payload, what the journal keeps beside it, and what sealing adds.
pub const BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 8 * 1024;
/// Longest record on an engine.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX;

/// Records that wait in a partition's lane; a submit waits for room behind them.
pub const LANE_RECORDS_MAX: usize = 256;
/// Records of one publish. One publish of a partition is in flight at a time.
pub const BATCH_RECORDS_MAX: usize = 256;
/// Bytes of one publish, unless its first record alone is longer. An engine's request stays below 1 MiB.
pub const BATCH_BYTES_MAX: usize = 768 * 1024;
/// Connections to an engine that serves one of them serially.
pub const CONNECTIONS_MAX: usize = 16;

/// Fronts that one partition's order hears at once: each costs its held records. Others are laid aside.
pub const FRONTS_MAX: usize = 1024;
/// Fronts whose next number one partition's order knows: 24 bytes each. A front's name lasts as long as its journal.
pub const FRONTS_KNOWN_MAX: usize = u16::MAX as usize;
/// Records held per front of a partition while an earlier one is missing. Later ones are asked for again.
pub const HELD_RECORDS_MAX: usize = 1024;
/// Bytes held per partition, all fronts together.
pub const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records that one resend request names.
pub const RESEND_RECORDS_MAX: u64 = 1024;
/// Records of the write-ahead log that the relay keeps an index of: 8 bytes each. At the bound the front refuses.
pub const UNCONFIRMED_RECORDS_MAX: usize = 4 * 1024 * 1024;
/// Records of a partition that wait for the bus's answer.
pub const IN_FLIGHT_RECORDS_MAX: usize = 128;
/// Numbers of a partition that wait to be published again.
pub const RESENDS_WAITING_MAX: usize = 64 * 1024;

/// A segment of an engine that cuts a fetch in the middle of a batch (Fluvio): below what a peer and a consumer fetch.
pub const SEGMENT_BYTES: u32 = 8_000_000;
/// What a consumer fetches at once from such an engine: at least one whole segment.
pub const FETCH_BYTES_MAX: i32 = 16_000_000;
/// Longest a request of that engine's client may wait for its socket.
pub const SOCKET_WAIT_MAX: Duration = Duration::from_secs(10);

const _: () =
    assert!(BATCH_BYTES_MAX + RECORD_BYTES_MAX < 1024 * 1024, "a batch and one record fit a request");
const _: () = assert!(SEGMENT_BYTES as i64 * 2 <= FETCH_BYTES_MAX as i64, "a fetch holds whole segments");
const _: () = assert!(BATCH_RECORDS_MAX <= LANE_RECORDS_MAX, "a lane holds a batch");
const _: () = assert!(FRONTS_MAX < FRONTS_KNOWN_MAX, "there is room beside those that are heard");
const _: () = assert!(IN_FLIGHT_RECORDS_MAX <= LANE_RECORDS_MAX, "the relay never waits for room in a lane");
const _: () = assert!(RESEND_RECORDS_MAX as usize <= HELD_RECORDS_MAX, "what is asked for can be held");
/// Bytes of a partition's records that wait for a worker; the tail waits behind them.
pub const BELT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of what whoever follows partitions keeps of them, all together; what comes behind it waits.
pub const FOLLOWED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Records of them.
pub const FOLLOWED_RECORDS_MAX: usize = 200_000;
/// Bytes of the log that the relay keeps in memory, to publish them without reading again.
pub const RELAY_CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the log that the relay reads at once.
pub const RELAY_READ_BYTES: usize = 512 * 1024;
/// Reads of older records that are kept, besides.
pub(crate) const RELAY_READS_BEHIND: usize = 8;
