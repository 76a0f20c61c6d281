//! In which order link messages may be taken. Sans-IO.
//!
//! Acknowledgements are cumulative, so a message is taken only when all before it on this connection were taken: a
//! damaged message must be sent again with all that follow it (go back N). The device does so by itself when
//! acknowledgements stay away; a gap that stays ends the connection.

use std::time::{Duration, Instant};

/// A gap that is not closed within this time ends the connection. Longer than a device waits before it resends.
const GAP_PATIENCE: Duration = Duration::from_secs(8);

/// What to do with a numbered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Take it.
    Take,
    /// It was taken on this connection: say again what is acknowledged.
    Again,
    /// One before it is missing: leave it, the device sends it again.
    Skip,
    /// The missing one does not come: end the connection.
    GiveUp,
}

/// Which message comes next on a connection.
#[derive(Debug, Default)]
pub(super) struct Order {
    next: Option<u64>,
    gap_since: Option<Instant>,
}

impl Order {
    /// Begins a connection: the device sends what follows `acked`. So the first body is missed when it is damaged.
    pub(super) fn begin(&mut self, acked: u64) {
        *self = Self { next: Some(acked.saturating_add(1)), gap_since: None };
    }

    /// Judges a message. Without a beginning the first one sets the start.
    pub(super) fn judge(&mut self, seq: u64, now: Instant) -> Verdict {
        let next = *self.next.get_or_insert(seq);
        if seq < next {
            return Verdict::Again;
        }
        if seq == next {
            return Verdict::Take;
        }
        let since = *self.gap_since.get_or_insert(now);
        if now.duration_since(since) >= GAP_PATIENCE { Verdict::GiveUp } else { Verdict::Skip }
    }

    /// Notes that a message was taken.
    pub(super) fn taken(&mut self, seq: u64) {
        self.next = Some(seq.saturating_add(1));
        self.gap_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_of_a_connection_is_not_passed_over() {
        let (mut order, now) = (Order::default(), Instant::now());
        order.begin(40);
        assert_eq!(order.judge(42, now), Verdict::Skip);
        assert_eq!(order.judge(40, now), Verdict::Again);
        assert_eq!(order.judge(41, now), Verdict::Take);
    }

    #[test]
    fn a_gap_is_closed_by_going_back_and_ends_the_link_when_it_is_not() {
        let (mut order, start) = (Order::default(), Instant::now());
        let judge = |order: &mut Order, seq, after| {
            let verdict = order.judge(seq, start + Duration::from_secs(after));
            if verdict == Verdict::Take {
                order.taken(seq);
            }
            verdict
        };
        assert_eq!(judge(&mut order, 41, 0), Verdict::Take);
        assert_eq!(judge(&mut order, 43, 0), Verdict::Skip);
        assert_eq!(judge(&mut order, 41, 1), Verdict::Again);
        assert_eq!(judge(&mut order, 42, 1), Verdict::Take);
        assert_eq!(judge(&mut order, 43, 1), Verdict::Take);
        assert_eq!(judge(&mut order, 45, 2), Verdict::Skip);
        assert_eq!(judge(&mut order, 46, 11), Verdict::GiveUp);
    }
}
