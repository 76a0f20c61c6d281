//! The binary over a real archive.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

mod bucket;
mod rig;
mod round_trip;
mod tail;
mod views;
mod wards;
