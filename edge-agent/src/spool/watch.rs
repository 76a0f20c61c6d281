//! Waiting for any lane to become more durable.

use super::{Spool, SpoolError};
use crate::lanes::{LANES, LaneIndex};
use wardline_journal::{DurableState, DurableWatch};

/// Follows the durable ends of all lanes.
pub(crate) struct LaneWatches([DurableWatch; LANES]);

impl LaneWatches {
    pub(crate) fn of(spool: &Spool) -> Self {
        Self(LaneIndex::ALL.map(|lane| spool.watch(lane)))
    }

    /// Waits until some lane's durable end has moved since the last call. Cancel safe. An error means that a log
    /// failed or was closed.
    pub(crate) async fn changed(&mut self) -> Result<(), SpoolError> {
        let [alarm, events, numerics, waveforms] = &mut self.0;
        let state = tokio::select! {
            state = alarm.changed() => state,
            state = events.changed() => state,
            state = numerics.changed() => state,
            state = waveforms.changed() => state,
        };
        match state {
            Ok(DurableState::Open { .. }) => Ok(()),
            Ok(DurableState::Failed) | Err(_) => Err(SpoolError::Failed),
        }
    }
}
