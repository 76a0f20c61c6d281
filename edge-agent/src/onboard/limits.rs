//! Bounds of enrolment, renewal and the list of fronts (LIM-1).

use std::time::Duration;

/// Largest answer of the gateway's HTTPS listener that is read, bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest time for one request: name, TCP, TLS, answer.
pub(super) const REQUEST_TIME_MAX: Duration = Duration::from_secs(20);
/// Most certificates in one answer, and most authorities that are trusted at once.
pub(super) const CERTIFICATES_MAX: usize = 8;
/// Most certificates between the signer of a list and its root.
pub(super) const SIGNER_CHAIN_MAX: usize = 3;
/// Most fronts in a list.
pub(super) const FRONTS_MAX: usize = 16;
/// A list may be dated so far in the future of this machine's clock.
pub(super) const CLOCK_SKEW_US_MAX: i64 = 10 * 60 * 1_000_000;
/// How much of a refusal's words is shown.
pub(super) const REFUSAL_CHARS_MAX: usize = 200;
