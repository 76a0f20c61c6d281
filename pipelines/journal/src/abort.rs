//! Named points at which a test lets the process die, as by `kill -9`: no destructor runs and nothing is flushed.
//!
//! The variable `WARDLINE_ABORT_AT` names one, and at which of its passes: `commit.put`, `erase.synced:3`. There are
//! none in a release build.

/// Dies here when a test wants it.
#[cfg(not(debug_assertions))]
pub fn at(_point: &str) {}

/// Dies here when a test wants it.
#[cfg(debug_assertions)]
pub fn at(point: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let wanted = std::env::var("WARDLINE_ABORT_AT").ok()?;
        let (name, pass) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((name.to_owned(), pass.parse().ok()?))
    });
    let is_here =
        |(name, pass): &(String, u64)| name == point && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *pass;
    if wanted.as_ref().is_some_and(is_here) {
        std::process::abort();
    }
}
