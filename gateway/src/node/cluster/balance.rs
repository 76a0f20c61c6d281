//! Who should work on what: a pure judge of two looks at the database, by one clock that never goes back.
//!
//! Every member comes to the same answer from the same rows: members in order of name, partitions shared out evenly.
//! Who disagrees for a while takes too few or gives too many; who takes what is another's finds the row changed.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use wardline_store::cluster::LeaseRow;

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Free leases to take.
    pub(super) take: Vec<LeaseRow>,
    /// Leases of ours.
    pub(super) own: Vec<LeaseRow>,
    /// Partitions of ours to give back.
    pub(super) give: Vec<u16>,
    /// Members that show no life.
    pub(super) dead: Vec<(String, i64)>,
}

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Balance {
    me: String,
    silence_max: Duration,
    leases: HashMap<u16, ((i64, i64), Instant)>,
    members: HashMap<String, (i64, Instant)>,
}

impl Balance {
    pub(super) fn new(me: String, silence_max: Duration) -> Self {
        Self { me, silence_max, leases: HashMap::new(), members: HashMap::new() }
    }

    /// Looks at the rows. Whoever is seen for the first time lives.
    pub(super) fn look(&mut self, now: Instant, leases: Vec<LeaseRow>, members: &[(String, i64)]) -> Plan {
        let mut plan = Plan::default();
        self.members.retain(|name, _| members.iter().any(|(member, _)| member == name));
        let mut live = Vec::new();
        for (name, beats) in members {
            if is_silent(self.members.entry(name.clone()).or_insert((*beats, now)), *beats, now)
                < self.silence_max
            {
                live.push(name);
            } else {
                plan.dead.push((name.clone(), *beats));
            }
        }
        let Some(place) = live.iter().position(|name| **name == self.me) else {
            plan.own = leases.into_iter().filter(|lease| lease.holder == self.me).collect();
            return plan;
        };
        let (each, rest) = (leases.len() / live.len(), leases.len() % live.len());
        let quota = each + usize::from(place < rest);
        let mut free = Vec::new();
        for lease in leases {
            let beats = (lease.epoch, lease.beats);
            let seen = self.leases.entry(lease.partition).or_insert((beats, now));
            let silent = is_silent(seen, beats, now) >= self.silence_max;
            if lease.holder == self.me {
                plan.own.push(lease);
            } else if lease.holder.is_empty() || silent {
                free.push(lease);
            }
        }
        plan.give = plan.own.iter().skip(quota).map(|lease| lease.partition).collect();
        // Each begins at another place, so that two do not go for the same one first.
        let turn = (place * each + place.min(rest)).checked_rem(free.len()).unwrap_or_default();
        free.rotate_left(turn);
        free.truncate(quota.saturating_sub(plan.own.len()));
        plan.take = free;
        plan
    }
}

/// Returns for how long a counter has not moved.
fn is_silent<T: PartialEq>(seen: &mut (T, Instant), beats: T, now: Instant) -> Duration {
    if seen.0 != beats {
        *seen = (beats, now);
    }
    now - seen.1
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    fn lease(partition: u16, holder: &str, beats: i64) -> LeaseRow {
        LeaseRow { partition, holder: holder.to_owned(), epoch: 1, beats, next_offset: 0 }
    }

    fn members(names: &[(&str, i64)]) -> Vec<(String, i64)> {
        names.iter().map(|(name, beats)| ((*name).to_owned(), *beats)).collect()
    }

    fn partitions(leases: &[LeaseRow]) -> Vec<u16> {
        leases.iter().map(|lease| lease.partition).collect()
    }

    #[test]
    fn free_partitions_are_shared_out_and_a_newcomer_gets_its_part() {
        let now = Instant::now();
        let mut a = Balance::new("a".into(), TTL);
        let mut b = Balance::new("b".into(), TTL);
        let both = members(&[("a", 1), ("b", 1)]);
        let free = || (0..5).map(|p| lease(p, "", 0)).collect::<Vec<_>>();
        let (of_a, of_b) = (a.look(now, free(), &both), b.look(now, free(), &both));
        assert_eq!((of_a.take.len(), of_b.take.len()), (3, 2));
        assert!(
            partitions(&of_a.take).iter().all(|p| !partitions(&of_b.take).contains(p)),
            "not the same first"
        );
        let held = (0..5).map(|p| lease(p, "a", 1)).collect::<Vec<_>>();
        let joined = a.look(now, held.clone(), &both);
        assert_eq!((joined.give, joined.take), (vec![3, 4], vec![]));
        assert_eq!(b.look(now, held, &both).take, vec![], "what is held is given, not taken");
    }

    #[test]
    fn who_is_silent_for_long_enough_is_replaced_and_who_beats_is_not() {
        let start = Instant::now();
        let mut b = Balance::new("b".into(), TTL);
        let look = |b: &mut Balance, after: u64, a_beats: i64, row_beats: i64, my_beats: i64| {
            let rows = vec![lease(0, "a", row_beats), lease(1, "b", my_beats)];
            let both = members(&[("a", a_beats), ("b", my_beats)]);
            b.look(start + Duration::from_secs(after), rows, &both)
        };
        assert_eq!(look(&mut b, 0, 7, 3, 1).take, vec![]);
        assert_eq!(look(&mut b, 4, 7, 4, 2).take, vec![], "its lease moves");
        let silent = look(&mut b, 8, 7, 4, 3);
        assert_eq!((silent.take, silent.dead), (vec![], members(&[("a", 7)])), "gone, its lease not yet");
        let over = look(&mut b, 9, 7, 4, 4);
        assert_eq!((partitions(&over.take), partitions(&over.own)), (vec![0], vec![1]));
    }

    #[test]
    fn who_is_not_a_member_yet_takes_nothing_and_knows_its_own() {
        let mut a = Balance::new("a".into(), TTL);
        let plan = a.look(Instant::now(), vec![lease(0, "a", 1), lease(1, "", 0)], &[]);
        assert_eq!((partitions(&plan.own), plan.take, plan.give), (vec![0], vec![], vec![]));
    }
}
