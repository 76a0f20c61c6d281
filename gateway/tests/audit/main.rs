//! The audit trail of a real gateway process: killed, refused, and verified.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod foreign;
mod full;
mod gateway;
mod kill;
mod refuse;
mod trail;
