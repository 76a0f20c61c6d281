//! The gateway: an mTLS MQTT front that acknowledges what is durable, and the roles behind it.
//!
//! [`node::Node`] wires everything of one process together; [`front`] takes devices' publishes into the journal;
//! [`pki`] makes and issues certificates; [`cli`] is the command line over them. Archive and alert worker are
//! crates of their own.

pub mod access;
pub mod alert_service;
pub mod audit;
pub mod cli;
pub mod conform;
pub mod demo;
pub mod enrol;
pub mod erasure;
pub mod front;
pub mod node;
pub mod operate;
pub mod pki;
pub mod registry_service;
pub use wardline_access::tls_listener;
