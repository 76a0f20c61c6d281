//! What the demo shows: one row per device, the alerts as they arrived, and the final account.

use std::collections::VecDeque;
use std::time::Duration;

/// Alerts that the board keeps; older ones have scrolled away.
const ALERTS_MAX: usize = 64;

/// What is known of one device at this moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// The device's id.
    pub(crate) device: String,
    /// Last durable heart rate, per minute.
    pub(crate) heart_rate: Option<f64>,
    /// Last durable oxygen saturation, percent.
    pub(crate) spo2: Option<f64>,
    /// Frames that its agent made.
    pub(crate) sent: u64,
    /// Frames that the gateway acknowledged.
    pub(crate) acked: u64,
    /// Frames that are in the archive, committed.
    pub(crate) archived: u64,
    /// Frames that are in the quarantine, committed.
    pub(crate) quarantined: u64,
}

impl Row {
    /// Returns how many acknowledged frames the archive has yet to commit.
    pub(crate) fn lag(&self) -> u64 {
        self.acked.saturating_sub(self.archived + self.quarantined)
    }

    /// Says whether what was sent was acknowledged, and what was acknowledged was archived.
    pub(crate) fn agrees(&self) -> bool {
        self.sent > 0 && self.sent == self.acked && self.acked == self.archived && self.quarantined == 0
    }
}

/// The whole board.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// One row per device, in order.
    pub(crate) rows: Vec<Row>,
    /// What happens now, in a few words.
    pub(crate) phase: String,
    /// Time since the first device started.
    pub(crate) elapsed: Duration,
    /// How long devices measure.
    pub(crate) duration: Duration,
    /// Alerts not printed yet, oldest first.
    fresh_alerts: VecDeque<String>,
    /// Alerts received over gRPC that began.
    pub(crate) alerts_begun: u64,
    /// Alerts received over gRPC that ended.
    pub(crate) alerts_ended: u64,
}

impl Board {
    /// Makes the board of these devices.
    pub(crate) fn new(rows: Vec<Row>, duration: Duration) -> Self {
        Self { rows, duration, ..Self::default() }
    }

    /// Adds an alert line.
    pub(crate) fn alert(&mut self, line: String) {
        if self.fresh_alerts.len() == ALERTS_MAX {
            self.fresh_alerts.pop_front();
        }
        self.fresh_alerts.push_back(line);
    }

    /// Takes the alert lines that were not printed yet.
    pub(crate) fn take_alerts(&mut self) -> Vec<String> {
        self.fresh_alerts.drain(..).collect()
    }

    /// Returns the sum over all devices, as a row of its own.
    pub(crate) fn total(&self) -> Row {
        let zero = Row { device: "total".to_owned(), ..Row::default() };
        self.rows.iter().fold(zero, |sum, row| Row {
            sent: sum.sent + row.sent,
            acked: sum.acked + row.acked,
            archived: sum.archived + row.archived,
            quarantined: sum.quarantined + row.quarantined,
            ..sum
        })
    }

    /// Says whether every device's account agrees.
    pub(crate) fn agrees(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::agrees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sent: u64, acked: u64, archived: u64) -> Row {
        Row { sent, acked, archived, ..Row::default() }
    }

    #[test]
    fn one_device_that_disagrees_spoils_the_account() {
        let agree = Board { rows: vec![row(3, 3, 3), row(4, 4, 4)], ..Board::default() };
        assert!(agree.agrees());
        for bad in [row(0, 0, 0), row(3, 2, 2), row(3, 3, 2), row(3, 3, 4)] {
            let board = Board { rows: vec![row(3, 3, 3), bad], ..Board::default() };
            assert!(!board.agrees());
        }
        assert!(!Board::default().agrees());
    }
}
