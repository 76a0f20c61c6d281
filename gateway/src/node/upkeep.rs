//! Small turns that a node takes whatever its roles are.

use crate::audit::Auditor;
use crate::audit::limits::AUDIT_WINDOW;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// Writes what was counted of refusals, window by window, and all of it at the end.
pub(super) async fn audit_windows(
    auditor: Arc<Auditor>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let mut turn = interval(AUDIT_WINDOW);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => true,
            _ = turn.tick() => false,
        };
        if auditor.flush(stopping).is_err() {
            tracing::error!("counted refusals could not be audited");
        }
        if stopping {
            return Ok(());
        }
    }
}
