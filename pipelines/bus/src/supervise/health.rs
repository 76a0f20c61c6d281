//! Finding a partition that takes records and commits none, from two looks at it.

use crate::engine::PartitionHealth;
use wardline_proto::PartitionId;

/// A partition that is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wedged {
    /// Nobody leads it.
    NoLeader(PartitionId),
    /// The leader has more than is committed, and that has not moved between the looks.
    NotCommitting(PartitionId),
    /// It works, with fewer replicas than it should have: the next fault may stop it.
    Degraded(PartitionId),
}

/// Compares two looks at the partitions and names what the operator is told (WL-BUS-005). Take the looks further
/// apart than a publish may take: what is only slow has moved by then.
pub fn wedged(before: &[PartitionHealth], now: &[PartitionHealth]) -> Vec<Wedged> {
    let judge = |now: &PartitionHealth| {
        let before = before.iter().find(|b| b.partition == now.partition)?;
        if !now.led && !before.led {
            return Some(Wedged::NoLeader(now.partition));
        }
        let stuck = |h: &PartitionHealth| h.committed < h.end;
        if stuck(before) && stuck(now) && before.committed == now.committed {
            return Some(Wedged::NotCommitting(now.partition));
        }
        let fewer = |h: &PartitionHealth| h.replicas_current < h.replicas;
        (fewer(before) && fewer(now)).then_some(Wedged::Degraded(now.partition))
    };
    now.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Position;

    #[test]
    fn only_what_is_the_same_twice_is_told() {
        let partition = PartitionId::default();
        let look = |led, replicas_current, committed, end| PartitionHealth {
            partition,
            led,
            replicas_current,
            replicas: 3,
            committed: Position::new(committed),
            end: Position::new(end),
        };
        let well = look(true, 3, 9, 9);
        assert_eq!(wedged(&[well], &[well]), []);
        assert_eq!(wedged(&[look(true, 3, 5, 9)], &[look(true, 3, 6, 12)]), [], "slow, but it moves");
        assert_eq!(wedged(&[look(false, 3, 9, 9)], &[well]), [], "a new leader was found");
        let stuck = [look(true, 3, 5, 9)];
        assert_eq!(wedged(&stuck, &stuck), [Wedged::NotCommitting(partition)]);
        let led_by_none = [look(false, 0, 5, 9)];
        assert_eq!(wedged(&led_by_none, &led_by_none), [Wedged::NoLeader(partition)]);
        let degraded = [look(true, 2, 9, 9)];
        assert_eq!(wedged(&degraded, &degraded), [Wedged::Degraded(partition)]);
        assert_eq!(wedged(&[], &degraded), [], "one look says nothing");
    }
}
