//! Device profiles: what a model measures, in which unit, how often, within which bounds; and the judges of it.
//!
//! ```text
//! file.toml --lint--> Profile --judge--> findings of one body     (does it keep its profile?)
//!                            `--Tally--> counts, ranges, cadence  (does a recording?)
//! ```
//! The format is described in `docs/profiles.md`. A profile that [`lint`] passes is consistent: codes and reference ids
//! agree with the catalogue of `wardline_proto::codes`, every number lies within its bound of [`limits`].
//!
//! **Invariant:** opens no file, reads no clock, and nothing read here panics.

pub mod judge;
pub mod limits;
pub mod lint;
pub mod profile;
pub mod revision;
pub mod tally;

pub use lint::{Finding, Linted, Severity};
pub use profile::{
    AlarmDefault, Cadence, ClockRule, Connection, Kind, Limit, Measurement, Profile, Signal, Sync,
};
pub use revision::Revision;
pub use tally::Tally;
