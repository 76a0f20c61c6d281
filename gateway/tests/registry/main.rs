//! The registry over real TLS and gRPC, and its commands: who may do what, imports, revocation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod access;
mod command;
mod commands;
mod import;
mod keys;
mod makers;
mod matrix;
mod support;
