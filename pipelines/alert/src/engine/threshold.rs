//! Threshold rules: a limit that stays crossed for the onset delay raises; one that stays cleared, ends.
//!
//! ```text
//!            crossed             crossed for onset_delay, no gap
//!  (no state) -----> pending ------------------------------------> present
//!      ^  not crossed   |                                             |
//!      +----------------+      cleared by hysteresis for clear_delay  |
//!      +--------------------------------------------------------------+
//! ```
//! Time is the readings' own. Two readings further apart than `max_gap` prove nothing about the time between them,
//! so a stale value cannot satisfy a duration. What is silent stays as it is; silence has its own rules.

use super::transition::{Subject, Transition, alert};
use crate::observation::Reading;
use crate::rules::{Limit, ThresholdRule};
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmKind, Alert};

/// A threshold that is pending or present on one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ThresholdState {
    /// The rule.
    #[prost(string, tag = "1")]
    pub rule_id: String,
    /// First reading of the run that crossed the limit.
    #[prost(int64, tag = "2")]
    pub crossed_us: i64,
    /// First reading of the run that cleared it.
    #[prost(int64, optional, tag = "3")]
    pub cleared_us: Option<i64>,
    /// The alert while it is present.
    #[prost(message, optional, tag = "4")]
    pub alert: Option<Alert>,
    /// Metric and side of the limit when it was crossed.
    #[prost(message, optional, tag = "5")]
    pub about: Option<About>,
}

/// What a rule measures: of a rule that is about something else now, what was before says nothing. Persisted.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct About {
    /// Metric.
    #[prost(uint32, tag = "1")]
    pub mdc_code: u32,
    /// Above the limit, not below it; of a change: falling, not rising.
    #[prost(bool, tag = "2")]
    pub side: bool,
}

impl About {
    pub(crate) fn of(rule: &ThresholdRule) -> Self {
        Self { mdc_code: rule.mdc_code, side: matches!(rule.limit, Limit::Above(_)) }
    }
}

/// Feeds one usable, live reading, later than `previous_us`, to one rule.
pub(crate) fn step(
    rule: &ThresholdRule,
    key: &DeviceKey,
    states: &mut Vec<ThresholdState>,
    (reading, previous_us): (Reading, i64),
    out: &mut Vec<Transition>,
) {
    let continuous = reading.at_us.saturating_sub(previous_us) <= rule.max_gap_us;
    let Some(at) = states.iter().position(|s| s.rule_id == rule.id) else {
        if rule.limit.is_crossed(reading.value) {
            let state = ThresholdState {
                rule_id: rule.id.clone(),
                crossed_us: reading.at_us,
                about: Some(About::of(rule)),
                ..ThresholdState::default()
            };
            states.push(state);
            let at = states.len() - 1;
            pend(rule, key, &mut states[at], reading, out);
        }
        return;
    };
    let over = match &mut states[at] {
        present if present.alert.is_some() => clear(rule, present, reading, continuous, out),
        _ if !rule.limit.is_crossed(reading.value) => true,
        pending => {
            if !continuous {
                pending.crossed_us = reading.at_us;
            }
            pend(rule, key, pending, reading, out);
            false
        }
    };
    if over {
        states.remove(at);
    }
}

fn pend(
    rule: &ThresholdRule,
    key: &DeviceKey,
    state: &mut ThresholdState,
    reading: Reading,
    out: &mut Vec<Transition>,
) {
    if reading.at_us - state.crossed_us < rule.onset_delay_us {
        return;
    }
    let subject = Subject {
        rule_id: &rule.id,
        kind: AlarmKind::Physiological,
        priority: rule.priority,
        mdc_code: rule.mdc_code,
    };
    let mut raised = alert(key, subject, state.crossed_us);
    (raised.value, raised.limit) = (Some(reading.value), Some(rule.limit.value()));
    state.alert = Some(raised.clone());
    out.push(Transition::start(raised, "onset", reading.at_us));
}

fn clear(
    rule: &ThresholdRule,
    state: &mut ThresholdState,
    reading: Reading,
    continuous: bool,
    out: &mut Vec<Transition>,
) -> bool {
    if !rule.limit.is_cleared(reading.value, rule.hysteresis) {
        state.cleared_us = None;
        return false;
    }
    let since_us = state.cleared_us.filter(|_| continuous).unwrap_or(reading.at_us);
    state.cleared_us = Some(since_us);
    if reading.at_us - since_us < rule.clear_delay_us {
        return false;
    }
    if let Some(mut ended) = state.alert.take() {
        ended.value = Some(reading.value);
        out.push(Transition::end(ended, "cleared", reading.at_us));
    }
    true
}
