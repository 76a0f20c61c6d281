//! Which alerts somebody wants: by ward, device, priority, kind and state.

use crate::limits::{FILTER_NAMES_MAX, FILTER_SITES_MAX};
use wardline_proto::v1::{AlarmKind, Alert, AlertState, Priority};

/// A choice of alerts; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of at least this priority.
    pub min_priority: i32,
    /// Of these kinds; none means all.
    pub kinds: Vec<AlarmKind>,
    /// Of devices in these wards; none means all.
    pub sites: Vec<String>,
    /// Of these devices; none means all.
    pub devices: Vec<String>,
    /// In these states; none means all.
    pub states: Vec<AlertState>,
}

impl Selection {
    /// Says whether an alert is wanted. What belongs to no device or to no ward is everybody's: a filter never hides
    /// what nobody else would see.
    pub fn wants(&self, alert: &Alert) -> bool {
        let chosen = |names: &[String], name: &str| {
            names.is_empty() || name.is_empty() || names.iter().any(|n| n == name)
        };
        alert.priority >= self.min_priority
            && (self.kinds.is_empty() || self.kinds.contains(&alert.kind()))
            && (self.states.is_empty() || self.states.contains(&alert.state()))
            && chosen(&self.devices, &alert.device)
            && (alert.device.is_empty() || chosen(&self.sites, &alert.site))
    }

    /// Says whether an event of an alert is told to somebody who hears the log with this choice: also of one whose priority
    /// has fallen since, so that who heard that it began hears that it ended.
    pub fn hears(&self, alert: &Alert) -> bool {
        let highest = alert.signal.as_ref().map_or(0, |signal| signal.highest_priority);
        let least = Self { min_priority: 0, ..self.clone() };
        alert.priority.max(highest) >= self.min_priority && least.wants(alert)
    }

    /// Names what it leaves out of the wards that it is for, with commas; empty when it lets through every physiological
    /// and technical alert of them.
    pub fn misses(&self) -> String {
        let watched = [AlarmKind::Physiological, AlarmKind::Technical];
        let kinds = !self.kinds.is_empty() && !watched.iter().all(|kind| self.kinds.contains(kind));
        let named = [
            (self.min_priority > Priority::Low.into(), "priority"),
            (kinds, "kinds"),
            (!self.devices.is_empty(), "devices"),
        ];
        let missed: Vec<_> = named.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        missed.join(",")
    }

    /// Says whether it is larger than a filter may be.
    pub fn is_too_large(&self) -> bool {
        self.sites.len() > FILTER_SITES_MAX
            || [self.kinds.len(), self.devices.len(), self.states.len()]
                .into_iter()
                .any(|names| names > FILTER_NAMES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::v1::AlertSignal;

    fn alert(device: &str, site: &str) -> Alert {
        Alert {
            device: device.into(),
            site: site.into(),
            priority: Priority::Medium.into(),
            kind: AlarmKind::Physiological.into(),
            state: AlertState::Present.into(),
            ..Alert::default()
        }
    }

    #[test]
    fn a_ward_hears_its_own_and_what_is_nobodys() {
        let ward = Selection { sites: vec!["icu-1".into()], ..Selection::default() };
        assert!(ward.wants(&alert("mon-1", "icu-1")));
        assert!(!ward.wants(&alert("mon-2", "icu-2")));
        assert!(ward.wants(&alert("mon-3", "")), "a device in no ward is everybody's");
        assert!(ward.wants(&alert("", "icu-2")), "so is the system itself");
        let device = Selection { devices: vec!["mon-1".into()], ..Selection::default() };
        assert!(device.wants(&alert("mon-1", "icu-1")) && !device.wants(&alert("mon-2", "icu-1")));
    }

    #[test]
    fn who_heard_that_it_began_hears_that_it_ended() {
        let high = Selection { min_priority: Priority::High.into(), ..Selection::default() };
        let mut fallen = alert("mon-1", "");
        assert!(!high.hears(&fallen));
        let highest_priority = Priority::High.into();
        fallen.signal = Some(AlertSignal { highest_priority, ..AlertSignal::default() });
        assert!(high.hears(&fallen) && !high.wants(&fallen), "a list is of what is");
        let other = Selection { devices: vec!["mon-2".into()], ..high };
        assert!(!other.hears(&fallen));
    }

    #[test]
    fn what_is_filtered_away_is_named() {
        let misses = |change: fn(&mut Selection)| {
            let mut selection = Selection { sites: vec!["icu-1".into()], ..Selection::default() };
            change(&mut selection);
            selection.misses()
        };
        assert_eq!(misses(|_| {}), "");
        assert_eq!(misses(|s| s.min_priority = Priority::Low.into()), "");
        assert_eq!(misses(|s| s.kinds = vec![AlarmKind::Technical, AlarmKind::Physiological]), "");
        assert_eq!(misses(|s| s.kinds = vec![AlarmKind::Physiological]), "kinds");
        let all = misses(|s| {
            (s.min_priority, s.devices) = (Priority::Medium.into(), vec!["mon-1".into()]);
            s.kinds = vec![AlarmKind::Advisory];
        });
        assert_eq!(all, "priority,kinds,devices");
    }

    #[test]
    fn priority_kind_and_state_narrow() {
        let narrow = |change: fn(&mut Selection)| {
            let mut selection = Selection::default();
            change(&mut selection);
            selection.wants(&alert("mon-1", ""))
        };
        assert!(narrow(|_| {}));
        assert!(!narrow(|s| s.min_priority = Priority::High.into()));
        assert!(!narrow(|s| s.kinds = vec![AlarmKind::Technical]));
        assert!(!narrow(|s| s.states = vec![AlertState::Acknowledged]));
        assert!(narrow(|s| s.states = vec![AlertState::Acknowledged, AlertState::Present]));
    }
}
