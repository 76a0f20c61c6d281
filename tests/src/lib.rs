//! What the tests and the benchmark share.

pub mod mqtt_client;
