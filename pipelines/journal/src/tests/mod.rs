//! Tests of the whole log.

mod basic;
