//! A lean MQTT 3.1.1 client over mutual TLS, for load and for crash tests: QoS 1, clean or persistent sessions.
//!
//! [`packet`] reads and writes bytes and knows no socket; [`Connection`] is one session; [`load`] drives many of
//! them with a fixed number of publishes in flight each and measures the time to each acknowledgement. TLS is 1.3
//! only and never resumes, so that each connect is a full handshake. It does not reconnect, and it sends no QoS 2.

mod connection;
pub mod load;
pub mod packet;
mod tls;

pub use connection::{Connection, Session};
pub use tls::{Trust, client_config};
