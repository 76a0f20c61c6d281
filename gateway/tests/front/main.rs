//! The front over real TLS on real sockets: what it takes, what it refuses, and that neighbours do not notice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admission;
mod bad_input;
mod drain;
mod full_disk;
mod identity;
mod notices;
mod origin;
mod publish;
mod resends;
mod revoked;
mod router;
mod services;
mod support;
mod takeover;
