//! What the tests and the benchmark share.

pub mod alert_client;
pub mod enrolled;
pub mod installed;
pub mod mqtt_client;
