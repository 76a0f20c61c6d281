//! The whole path, with real processes, real TLS, real disks and other people's software.

mod alerts;
mod archive;
mod bad_input;
mod bucket;
mod clients;
mod compromise;
mod erase;
mod evidence;
mod fhir;
mod flood;
mod frames;
mod keys;
mod kill;
mod ledger;
mod metrics;
#[cfg(feature = "cluster")]
#[path = "../../../pipelines/bus/tests/it/nats.rs"]
#[allow(dead_code, reason = "shared with the suite of the bus")]
mod nats;
mod news2;
mod onboarding;
mod overrides;
mod postgres;
mod process;
mod python;
mod quarantine;
mod query;
mod random;
mod readme;
mod recordings;
mod records;
mod resend;
mod rows;
mod sealed;
mod silence;
mod sink;
mod stand;
mod strip;
mod tiered;
mod trust;
mod ward;
mod webhook;
