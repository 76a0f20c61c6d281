//! Technical conditions of a device that are noticed now and then: told when noticed, over when it has been quiet for a
//! while.

use super::transition::{Subject, Transition, alert};
use crate::limits::QUIET_US;
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmKind, Alert, Priority};

/// Rule id of a certificate that seems to be in use in two places.
pub const CONTESTED_RULE: &str = "system/certificate-contested";
/// Rule id of an alarm of a device that could not be told: it does not decode, breaks a limit, or found no room.
pub const ALARM_LOST_RULE: &str = "system/alarm-lost";

/// What can be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// See [`CONTESTED_RULE`].
    Contested,
    /// See [`ALARM_LOST_RULE`].
    AlarmLost,
}

impl Noticed {
    /// Rule, priority and reason: an alarm that was lost may have been of any priority.
    fn told(self) -> (&'static str, Priority, &'static str) {
        match self {
            Self::Contested => (CONTESTED_RULE, Priority::Medium, "contested"),
            Self::AlarmLost => (ALARM_LOST_RULE, Priority::High, "alarm_lost"),
        }
    }
}

/// The alert while it is present. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SpellState {
    /// When it ends if nothing more is heard of it.
    #[prost(int64, tag = "1")]
    pub until_us: i64,
    /// The alert.
    #[prost(message, optional, tag = "2")]
    pub alert: Option<Alert>,
}

/// Raises the alert, or keeps it up.
pub(crate) fn seen(
    what: Noticed,
    state: &mut Option<SpellState>,
    key: &DeviceKey,
    at_us: i64,
    out: &mut Vec<Transition>,
) {
    let until_us = at_us.saturating_add(QUIET_US);
    if let Some(state) = state {
        state.until_us = state.until_us.max(until_us);
        return;
    }
    let (rule_id, priority, reason) = what.told();
    let raised = alert(key, Subject { rule_id, kind: AlarmKind::Technical, priority, mdc_code: 0 }, at_us);
    *state = Some(SpellState { until_us, alert: Some(raised.clone()) });
    out.push(Transition::start(raised, reason, at_us));
}

/// Ends it when it is time.
pub(crate) fn expire(state: &mut Option<SpellState>, now_us: i64, out: &mut Vec<Transition>) {
    if let Some(over) = state.take_if(|state| state.until_us <= now_us) {
        out.extend(over.alert.map(|alert| Transition::end(alert, "quiet", over.until_us)));
    }
}
