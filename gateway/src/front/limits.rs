//! Every bound of the front that is not the wire's own, in one place (LIM-1).

use std::time::Duration;
pub use wardline_access::limits::REGISTRY_POLL;
use wardline_proto::limits::{ID_BYTES_MAX, PACKET_BYTES_MAX, PAYLOAD_BYTES_MAX, RECEIVE_MAXIMUM};

/// Largest packet other than PUBLISH, bytes of remaining length.
pub const CONTROL_BYTES_MAX: usize = 4 * 1024;
/// Longest topic that can be one of ours, bytes: `wl/1/{tenant}/{device}/up/telemetry`.
pub const TOPIC_BYTES_MAX: usize = 2 * ID_BYTES_MAX + 32;
/// Bytes of a refused topic that the audit trail names.
pub const TOLD_BYTES_MAX: usize = 128;
/// Longest property section of a v5 PUBLISH, bytes.
pub const PROPERTIES_BYTES_MAX: usize = 1024;
/// Most filters in one SUBSCRIBE or UNSUBSCRIBE.
pub const FILTERS_MAX: usize = 16;
/// Connections that shake hands at the same time; more wait in the kernel's accept queue.
pub const HANDSHAKES_MAX: usize = 256;
/// Peer addresses whose connects are counted apart; who was not heard of for longest is forgotten.
pub const PEERS_MAX: usize = 65_536;
/// Plaintext that rustls may buffer per session in each direction, bytes.
pub const TLS_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Largest reply buffer that a session keeps for its next replies, bytes: some PUBACKs.
pub const OUT_KEPT_BYTES_MAX: usize = 64;
/// Publishes to one device that wait for its PUBACK.
pub const DOWN_INFLIGHT_MAX: usize = 16;
/// Publishes to one device that wait to be written to it; one more is refused, and counted.
pub const DOWN_WAITING_MAX: usize = 64;
/// Bytes of them. What waits must fit in what the router keeps of a topic, or the router would drop the oldest.
pub const DOWN_WAITING_BYTES_MAX: usize = ROUTER_SEGMENT_BYTES_MAX;
/// Segment of the router's log of a topic, bytes; it keeps [`ROUTER_SEGMENTS_MAX`].
pub const ROUTER_SEGMENT_BYTES_MAX: usize = 64 * 1024;
/// See [`ROUTER_SEGMENT_BYTES_MAX`].
pub const ROUTER_SEGMENTS_MAX: usize = 2;
/// New routers of the way down within [`ROUTER_WINDOW`]; past it sessions that use one are ended until it has passed.
pub const ROUTER_RESTARTS_MAX: usize = 3;
/// See [`ROUTER_RESTARTS_MAX`].
pub const ROUTER_WINDOW: Duration = Duration::from_secs(60);
/// Sessions that wait for the thread that makes links; more wait for a place.
pub const LINKS_WAITING_MAX: usize = 1024;
/// How long a session waits for its link to the router.
pub const LINK_MAX: Duration = Duration::from_secs(5);
/// An older session that was heard this recently, from another address, is a second place.
pub const CONTEST_HEARD: Duration = Duration::from_secs(3);
/// So many takeovers of one device within [`TAKEOVER_WINDOW`] are two that fight for it.
pub const TAKEOVERS_MAX: usize = 3;
/// See [`TAKEOVERS_MAX`].
pub const TAKEOVER_WINDOW: Duration = Duration::from_secs(60);
/// Notices that wait for the router.
pub const NOTICES_MAX: usize = 1024;
/// Greatest keep-alive a v5 device is granted; it also gets this one when it asks for none.
pub const KEEP_ALIVE_SECONDS_MAX: u16 = 1200;
/// How long a v3.1.1 session that asked for no keep-alive may say nothing.
pub const IDLE_MAX: Duration = Duration::from_secs(1200);
/// How long a publish of a v3.1.1 device waits for room in the journal before its session is ended.
pub const STALL_MAX: Duration = Duration::from_secs(2);
/// How often such a publish is tried again.
pub const STALL_STEP: Duration = Duration::from_millis(5);
/// Data syncs of the journal outlast this only when the disk is failing.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(PAYLOAD_BYTES_MAX + TOPIC_BYTES_MAX + PROPERTIES_BYTES_MAX + 16 <= PACKET_BYTES_MAX);
const _: () = assert!(CONTROL_BYTES_MAX < PACKET_BYTES_MAX);
const _: () = assert!(DOWN_INFLIGHT_MAX <= RECEIVE_MAXIMUM as usize);
const _: () = assert!(DOWN_WAITING_BYTES_MAX <= (ROUTER_SEGMENTS_MAX - 1) * ROUTER_SEGMENT_BYTES_MAX);
const _: () = assert!(KEEP_ALIVE_SECONDS_MAX as u64 <= IDLE_MAX.as_secs());
// SEC-2: a revoked certificate's sessions are cut within 2 s.
const _: () = assert!(2 * REGISTRY_POLL.as_millis() <= 1_000);

/// Times that a peer has; shorter in tests.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to a whole CONNECT.
    pub connect: Duration,
    /// From a packet's first byte to its last.
    pub packet: Duration,
    /// For the peer to take what is written.
    pub write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            packet: Duration::from_secs(30),
            write: Duration::from_secs(30),
        }
    }
}
