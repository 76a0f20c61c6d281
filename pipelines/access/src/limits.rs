//! Every bound of access to the services (LIM-1).

use std::time::Duration;

/// How often the registry's version is looked at. A revocation acts within two of these and the time of a reload.
pub const REGISTRY_POLL: Duration = Duration::from_millis(500);
/// A revoked certificate is remembered for this long past its end, microseconds.
pub const EXPIRY_MARGIN_US: i64 = 60_000_000;
/// Revoked certificates whose life is over are forgotten this often, microseconds: an hour.
pub const FORGET_EVERY_US: i64 = 3_600_000_000;
/// Between the status that ends a stream and the end of its connection: a caller that reads hears why.
pub const FAREWELL: Duration = Duration::from_millis(300);

// SEC-2: a revoked certificate's connections are cut within 2 s, whoever does not read.
const _: () = assert!(2 * REGISTRY_POLL.as_millis() + FAREWELL.as_millis() <= 1_500);
