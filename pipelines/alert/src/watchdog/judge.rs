//! What is wrong with the alarm service, as a pure function of what is seen.

use std::collections::{BTreeMap, BTreeSet};
use wardline_proto::TenantId;
use wardline_store::alert_ledger::ListenerRow;

/// A condition of the alarm service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Fault {
    /// A ward has devices, and nobody listens for it.
    WardUnheard,
    /// A listener's lease ran out without being given back.
    ListenerLost,
    /// A listener has left an event unconfirmed beyond its bound.
    ListenerBehind,
    /// The alarm engine takes no turns.
    EngineSilent,
    /// The log goes on, and the engine does not.
    PartitionStalled,
}

impl Fault {
    /// Returns the rule id of its alerts.
    pub(super) fn rule_id(self) -> &'static str {
        match self {
            Self::WardUnheard => "system/ward-unheard",
            Self::ListenerLost => "system/listener-lost",
            Self::ListenerBehind => "system/listener-behind",
            Self::EngineSilent => "system/engine-silent",
            Self::PartitionStalled => "system/partition-stalled",
        }
    }
}

/// A fault, whose, and of what: a ward, a listener, or nothing more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Wrong {
    /// Whose.
    pub(super) tenant: TenantId,
    /// What.
    pub(super) fault: Fault,
    /// Of what.
    pub(super) detail: String,
}

/// What the watch sees at one moment. Times are unix microseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Now.
    pub(super) now_us: i64,
    /// Every listener, and since when its first unconfirmed event waits.
    pub(super) listeners: Vec<(ListenerRow, Option<i64>)>,
    /// Sites of each tenant with devices; an empty one stands for devices without.
    pub(super) wards: BTreeMap<TenantId, BTreeSet<String>>,
    /// For how long the engine has taken no turn.
    pub(super) engine_silent_us: i64,
    /// For how long the engine has not moved though there is more in the log.
    pub(super) stalled_us: i64,
}

/// From when on something is wrong, microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The engine's silence.
    pub(super) engine_silent_us: i64,
    /// The partition's standstill.
    pub(super) stalled_us: i64,
}

/// Says all that is wrong now.
pub(super) fn judge(seen: &Seen, bounds: &Bounds) -> BTreeSet<Wrong> {
    let mut wrong = BTreeSet::new();
    for (listener, waits_since_us) in &seen.listeners {
        let mut say = |fault| {
            let (tenant, detail) = (listener.tenant.clone(), listener.listener.clone());
            wrong.insert(Wrong { tenant, fault, detail });
        };
        if is_lost(listener, seen.now_us) {
            say(Fault::ListenerLost);
        }
        if is_leased(listener) && is_behind(listener, *waits_since_us, seen.now_us) {
            say(Fault::ListenerBehind);
        }
    }
    for (tenant, sites) in &seen.wards {
        let of_tenant = || seen.listeners.iter().map(|(l, _)| l).filter(|l| l.tenant == *tenant);
        for site in sites.iter().filter(|site| !is_heard(site, of_tenant(), seen.now_us)) {
            // Who never had a listener has not said that anybody listens for devices outside of the wards.
            if !site.is_empty() || of_tenant().any(|l| l.lease_us > 0) {
                let detail = site.clone();
                wrong.insert(Wrong { tenant: tenant.clone(), fault: Fault::WardUnheard, detail });
            }
        }
    }
    let everybody = seen.wards.keys().chain(seen.listeners.iter().map(|(l, _)| &l.tenant));
    for tenant in everybody {
        let mut say = |fault| {
            wrong.insert(Wrong { tenant: tenant.clone(), fault, detail: String::new() });
        };
        if seen.engine_silent_us > bounds.engine_silent_us {
            say(Fault::EngineSilent);
        } else if seen.stalled_us > bounds.stalled_us {
            say(Fault::PartitionStalled);
        }
    }
    wrong
}

/// Has a lease that was not given back.
fn is_leased(listener: &ListenerRow) -> bool {
    listener.lease_us > 0 && listener.leased_until_us > 0
}

fn is_lost(listener: &ListenerRow, now_us: i64) -> bool {
    is_leased(listener) && listener.leased_until_us < now_us
}

fn is_behind(listener: &ListenerRow, waits_since_us: Option<i64>, now_us: i64) -> bool {
    // Who has just subscribed has the same time for what waited before.
    let since_us = waits_since_us.map(|since_us| since_us.max(listener.opened_at_us));
    since_us.is_some_and(|since_us| now_us - since_us > listener.behind_us)
}

/// What has no ward goes to everybody, so that anybody hears it; but nothing is heard by who filters some of it away.
fn is_heard<'a>(site: &str, mut listeners: impl Iterator<Item = &'a ListenerRow>, now_us: i64) -> bool {
    let hears = |l: &ListenerRow| site.is_empty() || l.sites.is_empty() || l.sites.iter().any(|s| s == site);
    listeners.any(|l| is_leased(l) && !is_lost(l, now_us) && l.misses.is_empty() && hears(l))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_store::alert_ledger::Hearing;

    const BOUNDS: Bounds = Bounds { engine_silent_us: 10, stalled_us: 20 };

    fn tenant() -> TenantId {
        TenantId::new("demo").unwrap()
    }

    fn listener(name: &str, sites: &[&str], leased_until_us: i64) -> (ListenerRow, Option<i64>) {
        let row = ListenerRow {
            tenant: tenant(),
            listener: name.into(),
            sites: sites.iter().map(|&s| s.into()).collect(),
            state: Hearing::Listening,
            lease_us: 5,
            leased_until_us,
            behind_us: 30,
            opened_at_us: 0,
            sent: 0,
            confirmed: 0,
            misses: String::new(),
        };
        (row, None)
    }

    fn seen(now_us: i64, listeners: Vec<(ListenerRow, Option<i64>)>, sites: &[&str]) -> Seen {
        let sites = sites.iter().map(|&s| s.into()).collect();
        Seen { now_us, listeners, wards: [(tenant(), sites)].into(), ..Seen::default() }
    }

    fn faults(seen: &Seen) -> Vec<(Fault, String)> {
        judge(seen, &BOUNDS).into_iter().map(|wrong| (wrong.fault, wrong.detail)).collect()
    }

    #[test]
    fn a_ward_is_heard_by_its_own_listener_or_by_one_for_all() {
        use Fault::{ListenerLost, WardUnheard};
        let icu = || listener("icu", &["icu-1"], 100);
        assert!(faults(&seen(50, vec![icu()], &["icu-1"])).is_empty());
        assert!(faults(&seen(50, vec![listener("all", &[], 100)], &["icu-1", "icu-2", ""])).is_empty());
        assert_eq!(faults(&seen(50, vec![icu()], &["icu-1", "icu-2"])), [(WardUnheard, "icu-2".into())]);
        let lost = faults(&seen(101, vec![icu()], &["icu-1"]));
        assert_eq!(lost, [(WardUnheard, "icu-1".into()), (ListenerLost, "icu".into())]);
        let both = vec![icu(), listener("all", &[], 200)];
        assert_eq!(faults(&seen(101, both, &["icu-1"])), [(ListenerLost, "icu".into())]);
    }

    #[test]
    fn who_filters_alerts_away_hears_no_ward() {
        let mut all = listener("high-only", &[], 100);
        all.0.misses = "priority".into();
        let icu = [(Fault::WardUnheard, "icu-1".to_owned())];
        assert_eq!(faults(&seen(50, vec![all.clone()], &["icu-1"])), icu);
        assert_eq!(faults(&seen(50, vec![all.clone()], &[""])), [(Fault::WardUnheard, String::new())]);
        assert!(
            faults(&seen(50, vec![all.clone(), listener("icu", &["icu-1"], 100)], &["icu-1"])).is_empty()
        );
        let lost = [icu[0].clone(), (Fault::ListenerLost, "high-only".into())];
        assert_eq!(faults(&seen(101, vec![all], &["icu-1"])), lost, "its lease counts all the same");
    }

    #[test]
    fn a_lease_that_was_given_back_is_not_missed_but_its_ward_is() {
        let released = || vec![listener("icu", &["icu-1"], 0)];
        assert_eq!(faults(&seen(500, released(), &["icu-1"])), [(Fault::WardUnheard, "icu-1".into())]);
        assert_eq!(faults(&seen(500, released(), &[""])), [(Fault::WardUnheard, String::new())]);
        assert!(faults(&seen(500, vec![], &[""])).is_empty(), "nobody ever said that they listen");
        assert_eq!(faults(&seen(500, vec![], &["icu-1"])).len(), 1, "a ward is a ward");
    }

    #[test]
    fn behind_is_an_event_that_waits_too_long_since_it_could_be_confirmed() {
        let waits = |since_us, opened_at_us, now_us| {
            let (mut row, _) = listener("icu", &[], 1000);
            row.opened_at_us = opened_at_us;
            faults(&seen(now_us, vec![(row, since_us)], &[]))
        };
        assert!(waits(None, 0, 500).is_empty());
        assert!(waits(Some(100), 0, 130).is_empty());
        assert_eq!(waits(Some(100), 0, 131), [(Fault::ListenerBehind, "icu".into())]);
        assert!(waits(Some(100), 110, 131).is_empty(), "it has just subscribed");
    }

    #[test]
    fn a_silent_engine_is_told_to_everybody_and_once() {
        let mut seen = seen(0, vec![listener("icu", &[], 100)], &[""]);
        (seen.engine_silent_us, seen.stalled_us) = (10, 20);
        assert!(faults(&seen).is_empty());
        seen.stalled_us = 21;
        assert_eq!(faults(&seen), [(Fault::PartitionStalled, String::new())]);
        seen.engine_silent_us = 11;
        assert_eq!(faults(&seen), [(Fault::EngineSilent, String::new())]);
    }
}
