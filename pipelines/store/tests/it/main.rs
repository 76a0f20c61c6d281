//! The database's conformance suite: every test runs against a real SQLite and a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod alert_signals;
mod alerts;
mod bell;
mod catalog;
mod changes;
mod enrolment;
mod erasure;
mod frozen;
mod held;
mod holds;
mod hours;
mod import;
mod leases;
mod ledger;
mod makers;
mod origin;
mod overrides;
mod profiles;
mod registry;
mod replay;
mod resend;
mod rig;
mod versions;
