//! The whole path, with real processes, real TLS, real disks and other people's software.

mod alerts;
mod archive;
mod bad_input;
mod clients;
mod compromise;
mod flood;
mod frames;
mod kill;
mod metrics;
mod news2;
mod onboarding;
mod postgres;
mod process;
mod python;
mod quarantine;
mod query;
mod random;
mod readme;
mod recordings;
mod records;
mod rows;
mod sealed;
mod silence;
mod stand;
mod trust;
mod ward;
