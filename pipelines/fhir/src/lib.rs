//! FHIR R4 resources and HL7 v2 text: what bytes of others' standards say of a reading, a device, an alert.
//!
//! Pure functions from our model to a JSON value or a text, and from a query string to what it asks for. No IO, no
//! clock, no SQL engine; who may see what is decided by who calls. docs/fhir.md and docs/alert-formats.md tell readers
//! what is mapped to what.

pub mod alert;
pub mod bundle;
pub mod capability;
pub mod device;
pub mod id;
pub mod limits;
pub mod observation;
pub mod outcome;
pub mod search;
mod status;
pub mod systems;
pub mod time;
