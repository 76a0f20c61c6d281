//! The registry's conformance suite: every test runs against a real SQLite and a real PostgreSQL.

mod enrolment;
mod import;
mod ledger;
mod registry;
mod rig;
