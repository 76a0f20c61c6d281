//! The `wardline-edge` command.
fn main() {}
