//! After a commit the worker merges small files, for a part of its time.

use super::Session;
use crate::compact;
use crate::error::ArchiveError;
use std::time::Duration;
use tokio::time::Instant;

/// Files are merged for so long before the journal has its turn; a merge that was begun is ended.
const TURN: Duration = Duration::from_secs(2);
/// While there is more to merge, the journal has so many times what the last turn took.
const REST: u32 = 3;

impl Session<'_> {
    /// Merges small files when it is time. What goes wrong here is told and tried later: the archive goes on.
    pub(super) async fn compact(&mut self) -> Result<(), ArchiveError> {
        let Some(interval) = self.parts.options.compact_interval else { return Ok(()) };
        let begun = Instant::now();
        if begun < self.merge_due {
            return Ok(());
        }
        let removed = compact::remove_retired(self.parts, &self.shelf).await;
        let done = match removed {
            // What is rewritten was listed.
            Ok(_) if self.erasing.is_under_way() => Ok(false),
            Ok(_) => compact::pass(self.parts, &self.shelf, self.lease, &mut self.left, begun + TURN).await,
            Err(error) => Err(error),
        };
        // Timed from its end: merging never takes more than its share.
        let pause = if let Ok(true) = done { interval.min(begun.elapsed() * REST) } else { interval };
        self.merge_due = Instant::now() + pause;
        match done {
            Ok(_) => Ok(()),
            Err(ArchiveError::Fenced) => Err(ArchiveError::Fenced),
            Err(error) => {
                self.parts.metrics.compaction_failures.inc();
                tracing::error!(%error, "small files not merged");
                Ok(())
            }
        }
    }
}
