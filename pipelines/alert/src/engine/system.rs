//! Alerts about Wardline itself, one per tenant: silence is never mistaken for health (ALR-2).

use super::transition::{Subject, Transition, present};
use wardline_proto::TenantId;
use wardline_proto::v1::{AlarmKind, Alert, Priority};

/// What can be wrong with the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SystemCondition {
    /// The journal failed: the gateway accepts nothing more.
    JournalFailed,
    /// The journal cannot be read: what is in it is not watched.
    JournalUnreadable,
    /// Records were gone from the journal before they were watched.
    RecordsLost,
    /// The engine is far behind the journal.
    EngineLag,
    /// No room to watch another device.
    Capacity,
    /// The journal's time leads the clock: a clock was ahead and was set back. Silence is noticed late until it catches up.
    Clock,
}

impl SystemCondition {
    /// Returns the rule id of its alerts.
    pub fn rule_id(self) -> &'static str {
        match self {
            Self::JournalFailed => "system/journal-failed",
            Self::JournalUnreadable => "system/journal-unreadable",
            Self::RecordsLost => "system/records-lost",
            Self::EngineLag => "system/engine-lag",
            Self::Capacity => "system/capacity",
            Self::Clock => "system/clock",
        }
    }
}

/// A system alert that is present. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SystemState {
    /// The alert; its device is empty.
    #[prost(message, optional, tag = "1")]
    pub alert: Option<Alert>,
}

impl SystemState {
    fn is(&self, tenant: &TenantId, condition: SystemCondition) -> bool {
        let same = |a: &Alert| a.tenant == tenant.as_str() && a.rule_id == condition.rule_id();
        self.alert.as_ref().is_some_and(same)
    }
}

/// Raises or ends a condition for one tenant; saying the same twice does nothing. Returns whether it changed.
pub(crate) fn set(
    states: &mut Vec<SystemState>,
    (tenant, condition, on): (&TenantId, SystemCondition, bool),
    at_us: i64,
    out: &mut Vec<Transition>,
) -> bool {
    let at = states.iter().position(|s| s.is(tenant, condition));
    match (at, on) {
        (None, true) => {
            let rule_id = condition.rule_id();
            let (kind, priority) = (AlarmKind::Technical, Priority::High);
            let alert =
                present((tenant.as_str(), ""), Subject { rule_id, kind, priority, mdc_code: 0 }, at_us);
            states.push(SystemState { alert: Some(alert.clone()) });
            out.push(Transition::start(alert, "system", at_us));
        }
        (Some(at), false) => {
            let ended = states.remove(at).alert;
            out.extend(ended.map(|alert| Transition::end(alert, "system", at_us)));
        }
        _ => return false,
    }
    true
}
