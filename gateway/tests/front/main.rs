//! The front over real TLS on real sockets: what it takes, what it refuses, and that neighbours do not notice.

mod bad_input;
mod identity;
mod publish;
mod support;
