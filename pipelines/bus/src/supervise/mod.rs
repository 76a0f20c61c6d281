//! What stands between an engine's client and everybody else: deadlines, rebuilding, lanes, continuity.

mod health;
mod lane;
mod pool;
mod stats;
mod tail;

pub use health::{Wedged, wedged};
pub use lane::{Bus, BusService, Committed};
pub use stats::BusStats;
pub use tail::{Place, Tail};

use crate::engine::Wait;
use crate::error::BusError;
use std::time::Duration;

/// Waits for an engine, and no longer than this.
async fn within<T>(limit: Duration, what: &'static str, wait: Wait<'_, T>) -> Result<T, BusError> {
    tokio::time::timeout(limit, wait).await.unwrap_or(Err(BusError::Timeout(what)))
}
