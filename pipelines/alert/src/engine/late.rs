//! Findings in what came too late to be live: a limit that was crossed for its onset delay, as backfill shows.
//!
//! A finding is advisory, of low priority, and over when it is told: it is never present and never pages. Each run of
//! crossed readings is told once.

use super::threshold::About;
use super::transition::{Subject, Transition, alert};
use crate::observation::Reading;
use crate::rules::ThresholdRule;
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmKind, Alert, Priority};

/// A run of crossed readings that came late. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LateState {
    /// The rule.
    #[prost(string, tag = "1")]
    pub rule_id: String,
    /// First reading of the run; 0 while there is none.
    #[prost(int64, tag = "2")]
    pub crossed_us: i64,
    /// The last reading.
    #[prost(int64, tag = "3")]
    pub last_us: i64,
    /// Whether the run was told.
    #[prost(bool, tag = "4")]
    pub told: bool,
    /// Metric and side of the limit when it began.
    #[prost(message, optional, tag = "5")]
    pub about: Option<About>,
}

/// Feeds one usable reading that came late.
pub(crate) fn step(
    rule: &ThresholdRule,
    key: &DeviceKey,
    states: &mut Vec<LateState>,
    reading: Reading,
    out: &mut Vec<Transition>,
) {
    let at = states.iter().position(|s| s.rule_id == rule.id).unwrap_or_else(|| {
        let about = Some(About::of(rule));
        states.push(LateState { rule_id: rule.id.clone(), last_us: i64::MIN, about, ..LateState::default() });
        states.len() - 1
    });
    let state = &mut states[at];
    if reading.at_us <= state.last_us {
        return;
    }
    let previous_us = std::mem::replace(&mut state.last_us, reading.at_us);
    if !rule.limit.is_crossed(reading.value) {
        (state.crossed_us, state.told) = (0, false);
        return;
    }
    if state.crossed_us == 0 || reading.at_us.saturating_sub(previous_us) > rule.max_gap_us {
        (state.crossed_us, state.told) = (reading.at_us, false);
    }
    if !state.told && reading.at_us - state.crossed_us >= rule.onset_delay_us {
        state.told = true;
        out.push(finding(rule, key, state.crossed_us, reading));
    }
}

fn finding(rule: &ThresholdRule, key: &DeviceKey, onset_us: i64, reading: Reading) -> Transition {
    let mut found = found(key, (&rule.id, rule.mdc_code), onset_us);
    (found.value, found.limit) = (Some(reading.value), Some(rule.limit.value()));
    Transition::end(found, "retrospective", reading.at_us)
}

/// Tells of an alarm that nobody was told of while it was on.
pub(super) fn of_alert(key: &DeviceKey, over: &Alert, at_us: i64) -> Transition {
    let mut found = found(key, (&over.rule_id, over.mdc_code), over.onset_us);
    (found.value, found.limit) = (over.value, over.limit);
    found.ucum_unit.clone_from(&over.ucum_unit);
    Transition::end(found, "retrospective", at_us)
}

fn found(key: &DeviceKey, (rule_id, mdc_code): (&str, u32), onset_us: i64) -> Alert {
    // An id of its own: a rule's id holds no slash.
    let rule_id = format!("late/{rule_id}");
    let (kind, priority) = (AlarmKind::Advisory, Priority::Low);
    alert(key, Subject { rule_id: &rule_id, kind, priority, mdc_code }, onset_us)
}
