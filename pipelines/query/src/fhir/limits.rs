//! Every bound of the FHIR server (LIM-1).

use std::time::Duration;
use wardline_access::tls_listener::TlsBounds;

/// Connections, handshakes and buffers of the port.
pub(crate) const TLS: TlsBounds = TlsBounds {
    connections_max: 256,
    handshakes_max: 32,
    handshake: Duration::from_secs(10),
    buffer_bytes_max: 64 * 1024,
};
/// How long a request's head may take, also while a connection rests.
pub(crate) const HEAD_MAX: Duration = Duration::from_secs(30);
/// Longest head, bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Longest form of a search, bytes.
pub(crate) const FORM_BYTES_MAX: usize = wardline_fhir::limits::QUERY_BYTES_MAX;
/// Blocks of samples of a page: a block can be long.
pub(crate) const BLOCKS_MAX: usize = 100;
/// Resources of a page end here, bytes of their JSON.
pub(crate) const PAGE_BYTES_MAX: usize = 16 << 20;
/// Rows that an id is looked for among.
pub(crate) const ROWS_PER_ID_MAX: u64 = 1_000_000;
/// Ids that one search may ask for.
pub(crate) const IDS_MAX: usize = 8;
/// Of so many devices the missing hours are told with an answer; of more, the streams alone.
pub(crate) const DEVICES_TOLD_MAX: usize = 16;
/// After a shutdown, connections have this long to end.
pub(crate) const DRAIN: Duration = Duration::from_secs(3);

const _: () = assert!(IDS_MAX <= wardline_fhir::limits::ALTERNATIVES_MAX);

/// Exports that are kept, of all callers and of one.
pub(crate) const EXPORTS_MAX: usize = 32;
/// Of one caller.
pub(crate) const EXPORTS_PER_CALLER_MAX: usize = 4;
/// What one export may grow to, bytes of JSON.
pub(crate) const EXPORT_BYTES_MAX: u64 = 64 << 30;
/// How long an export is kept, microseconds: a day.
pub(crate) const EXPORT_KEPT_US: i64 = 86_400_000_000;
/// Exports of a tenant of which it is kept how far they went.
pub(crate) const EXPORT_REACHES_MAX: usize = 256;
/// How long reading one day of one table may take.
pub(crate) const EXPORT_PART_MAX: Duration = Duration::from_secs(4 * 3600);
/// A file of an export ends behind so many bytes of JSON.
pub(crate) const EXPORT_FILE_BYTES: u64 = 64 << 20;
/// Bytes of JSON that are sealed at a time.
pub(crate) const EXPORT_CHUNK_BYTES: usize = 256 * 1024;
/// Longest sealed chunk that is read back: one resource may be longer than a chunk.
pub(crate) const EXPORT_SEALED_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(EXPORTS_PER_CALLER_MAX <= EXPORTS_MAX && EXPORT_CHUNK_BYTES < EXPORT_SEALED_BYTES_MAX);
/// A part that failed while it was read is begun again after this.
pub(crate) const EXPORT_AGAIN_AFTER: Duration = Duration::from_secs(1);
