//! How a file of a table is laid out: for who compares it with something.

pub use crate::file::{Effort, encode as encode_sealed, encode_plain};
