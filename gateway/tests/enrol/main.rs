//! Enrolment over real HTTPS with openssl and curl alone, and everything that must not get a certificate.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ages;
mod attacks;
mod factory;
#[path = "../audit/full.rs"]
mod full;
mod life;
mod rate;
mod rig;
mod strangers;
mod unauditable;
