//! Lets the bus forget what every role has committed: one node does, a bounded step at a time.

use super::ROLES;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wardline_bus::{Bus, BusError, Position};
use wardline_proto::PartitionId;
use wardline_store::Store;

/// How often it looks. In each turn a partition is trimmed once at most.
const TURN: Duration = Duration::from_secs(5);
/// Positions that are worth a request to the engine.
const WORTH: u64 = 256;

/// Trims until it is told to stop. Failures are tried again at the next turn: what is kept too long costs room alone.
pub(super) async fn run(bus: Bus, store: Store, mut stop: watch::Receiver<bool>) -> Result<(), String> {
    let mut trimmed = BTreeMap::new();
    let mut turn = interval(TURN);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _gone = stop.wait_for(|stop| *stop) => return Ok(()),
            _at = turn.tick() => {}
        }
        let passed = match store.passed_positions(&ROLES).await {
            Ok(passed) => passed,
            Err(error) => {
                tracing::warn!(%error, "what every role has passed is not known; the bus keeps everything");
                continue;
            }
        };
        for (partition, below) in passed {
            let Some(at) = PartitionId::new(partition) else { continue };
            let before = trimmed.get(&partition).copied().unwrap_or(0);
            if below < before + WORTH && below >= before {
                continue;
            }
            match trim(&bus, at, Position::new(below)).await {
                Ok(true) => drop(trimmed.insert(partition, below)),
                Ok(false) => {}
                Err(error) => tracing::warn!(partition, %error, "the bus was not trimmed"),
            }
        }
    }
}

/// Trims a partition, unless the position is of an engine that was there before: then what it has now may be unread.
async fn trim(bus: &Bus, partition: PartitionId, below: Position) -> Result<bool, BusError> {
    if bus.watermark(partition).await? < below {
        return Ok(false);
    }
    bus.trim(partition, below).await?;
    tracing::debug!(partition = partition.get(), %below, "the bus forgets what every role has committed");
    Ok(true)
}
