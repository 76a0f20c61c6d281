//! Which alerts somebody wants: by ward, device, priority, kind and state.

use crate::limits::FILTER_NAMES_MAX;
use wardline_proto::v1::{AlarmKind, Alert, AlertState};

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

    /// Says whether it is larger than a filter may be.
    pub fn is_too_large(&self) -> bool {
        [self.kinds.len(), self.sites.len(), self.devices.len(), self.states.len()]
            .into_iter()
            .any(|names| names > FILTER_NAMES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::v1::Priority;

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
