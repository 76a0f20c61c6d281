//! Missing-data rules: a metric that was seen must keep coming.
//!
//! The clock is ingest time: the watermark of the journal, moved on by ticks, so that silence of everything is
//! noticed too. Only a live, usable reading counts as seen; a device that sends nothing but backfill or readings
//! from a wrong clock is armed once and then found missing: it is not being watched, and that must be said (ALR-2).

use super::transition::{Subject, Transition, alert};
use crate::rules::MissingRule;
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmKind, Alert};

/// A metric of one device that is expected. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MissingState {
    /// The rule.
    #[prost(string, tag = "1")]
    pub rule_id: String,
    /// Ingest time of the last usable reading: the onset of an alert.
    #[prost(int64, tag = "2")]
    pub seen_us: i64,
    /// When silence becomes an alert.
    #[prost(int64, tag = "3")]
    pub due_us: i64,
    /// The alert while it is present.
    #[prost(message, optional, tag = "4")]
    pub alert: Option<Alert>,
    /// Metric; 0 when it is not known.
    #[prost(uint32, tag = "5")]
    pub mdc_code: u32,
}

impl MissingState {
    /// Returns when this wants to be looked at.
    pub(crate) fn wake_us(&self) -> Option<i64> {
        self.alert.is_none().then_some(self.due_us)
    }
}

/// Notes that data of the metric came. With `usable` false it arms the rule and nothing else.
pub(crate) fn seen(
    rule: &MissingRule,
    states: &mut Vec<MissingState>,
    (ingested_at_us, usable): (i64, bool),
    out: &mut Vec<Transition>,
) {
    let due_us = ingested_at_us.saturating_add(rule.overdue_after_us);
    let Some(state) = states.iter_mut().find(|s| s.rule_id == rule.id) else {
        let rule_id = rule.id.clone();
        let mdc_code = rule.mdc_code;
        states.push(MissingState { rule_id, seen_us: ingested_at_us, due_us, alert: None, mdc_code });
        return;
    };
    if !usable || ingested_at_us < state.seen_us {
        return;
    }
    (state.seen_us, state.due_us, state.mdc_code) = (ingested_at_us, due_us, rule.mdc_code);
    if let Some(ended) = state.alert.take() {
        out.push(Transition::end(ended, "data_resumed", ingested_at_us));
    }
}

/// Raises when the state is due at `now_us`.
pub(crate) fn expire(
    rule: &MissingRule,
    key: &DeviceKey,
    state: &mut MissingState,
    now_us: i64,
    out: &mut Vec<Transition>,
) {
    if state.alert.is_some() || state.due_us > now_us {
        return;
    }
    let subject = Subject {
        rule_id: &rule.id,
        kind: AlarmKind::Technical,
        priority: rule.priority,
        mdc_code: rule.mdc_code,
    };
    let raised = alert(key, subject, state.seen_us);
    state.alert = Some(raised.clone());
    out.push(Transition::start(raised, "data_missing", state.due_us));
}
