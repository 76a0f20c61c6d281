//! The alarm engine: rules over the journal, alerts durable before they are told.
//!
//! [`engine`] decides, without IO; [`rules`] is what it decides by; [`worker`] feeds it from the journal and commits
//! its events, its state and its position in one transaction (ALR-1); [`feed`] is what subscribers read.
//!
//! Wardline transmits and archives. It is a secondary means of notification: the device's own alarm stays the first.

pub mod engine;
pub mod limits;
pub mod observation;
pub mod rules;
