//! The archive against a real journal, a real database and real files.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

mod bucket;
mod carried;
mod compact;
mod completeness;
mod crash;
mod erase;
mod erase_races;
mod export;
mod foreign;
mod held;
mod intake;
mod keys;
mod kill;
mod measure;
mod profile;
mod replay;
mod rig;
mod secrecy;
mod small;
mod tail;
mod transit;
mod transit_faults;
mod verify;
