//! A certificate that seems to be in use in two places: technical, of the device, until it has been quiet for a while.

use super::transition::{Subject, Transition, alert};
use crate::limits::CONTESTED_US;
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmKind, Alert, Priority};

/// Rule id of its alerts.
pub const CONTESTED_RULE: &str = "system/certificate-contested";

/// The alert while it is present. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContestedState {
    /// When it ends if nothing more is heard of it.
    #[prost(int64, tag = "1")]
    pub until_us: i64,
    /// The alert.
    #[prost(message, optional, tag = "2")]
    pub alert: Option<Alert>,
}

/// Raises the alert, or keeps it up.
pub(crate) fn seen(
    state: &mut Option<ContestedState>,
    key: &DeviceKey,
    at_us: i64,
    out: &mut Vec<Transition>,
) {
    let until_us = at_us.saturating_add(CONTESTED_US);
    if let Some(state) = state {
        state.until_us = state.until_us.max(until_us);
        return;
    }
    let (kind, priority) = (AlarmKind::Technical, Priority::Medium);
    let raised = alert(key, Subject { rule_id: CONTESTED_RULE, kind, priority, mdc_code: 0 }, at_us);
    *state = Some(ContestedState { until_us, alert: Some(raised.clone()) });
    out.push(Transition::start(raised, "contested", at_us));
}

/// Ends it when it is time.
pub(crate) fn expire(state: &mut Option<ContestedState>, now_us: i64, out: &mut Vec<Transition>) {
    if let Some(over) = state.take_if(|state| state.until_us <= now_us) {
        out.extend(over.alert.map(|alert| Transition::end(alert, "quiet", over.until_us)));
    }
}
