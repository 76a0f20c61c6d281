//! Every bound of what is parsed here (LIM-1).

/// Resources of a page, unless something else is asked for.
pub const COUNT: usize = 100;
/// Most resources of a page.
pub const COUNT_MAX: usize = 1000;
/// Most alternatives of one search parameter.
pub const ALTERNATIVES_MAX: usize = 32;
/// Longest query string or form, bytes.
pub const QUERY_BYTES_MAX: usize = 8 * 1024;
/// Most missing ranges that one answer lists.
pub const HOLES_MAX: usize = 100;

const _: () = assert!(COUNT <= COUNT_MAX);
