//! Rate-of-change rules: how far a value has risen or fallen within a time, against a limit.
//!
//! The change since the lowest (or highest) value of the window is itself a reading, and goes through the machine of
//! limits: so onset delay, hysteresis and gaps mean the same. The window is kept in a bounded number of slots, of each
//! the extreme: a change is never overlooked, and seen at most one slot late to end.

use super::threshold::{self, About, ThresholdState};
use super::transition::Transition;
use crate::limits::RATE_SLOTS;
use crate::observation::Reading;
use crate::rules::RateRule;
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmPhase, Alert};

/// The window of one rule on one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RateState {
    /// The rule.
    #[prost(string, tag = "1")]
    pub rule_id: String,
    /// Start of each slot, rising.
    #[prost(int64, repeated, tag = "2")]
    pub slots_us: Vec<i64>,
    /// The extreme of each.
    #[prost(double, repeated, tag = "3")]
    pub extremes: Vec<f64>,
    /// Metric and direction.
    #[prost(message, optional, tag = "4")]
    pub about: Option<About>,
}

/// Feeds one usable, live reading, later than `previous_us`, to one rule.
pub(crate) fn step(
    rule: &RateRule,
    key: &DeviceKey,
    (windows, thresholds): (&mut Vec<RateState>, &mut Vec<ThresholdState>),
    (reading, previous_us): (Reading, i64),
    out: &mut Vec<Transition>,
) {
    let at = windows.iter().position(|w| w.rule_id == rule.change.id).unwrap_or_else(|| {
        let about = Some(about(rule));
        windows.push(RateState { rule_id: rule.change.id.clone(), about, ..RateState::default() });
        windows.len() - 1
    });
    let window = &mut windows[at];
    if reading.at_us.saturating_sub(previous_us) > rule.change.max_gap_us {
        // What lies between is not known: nothing is compared over it.
        (window.slots_us, window.extremes) = (Vec::new(), Vec::new());
    }
    window.forget(reading.at_us.saturating_sub(rule.within_us));
    window.put(rule, reading);
    let change = window.change(rule, reading.value);
    let (mark, changed) = (out.len(), Reading { value: change, ..reading });
    threshold::step(&rule.change, key, thresholds, (changed, previous_us), out);
    for told in out.iter_mut().skip(mark) {
        tell(rule, &mut told.alert, (told.phase, change, reading.value));
        let remembered = thresholds.iter_mut().filter_map(|state| state.alert.as_mut());
        remembered.filter(|a| a.alert_id == told.alert.alert_id).for_each(|a| a.clone_from(&told.alert));
    }
}

/// Returns what a rule of a change is about.
pub(super) fn about(rule: &RateRule) -> About {
    About { mdc_code: rule.change.mdc_code, side: rule.falls }
}

/// Says what was measured: the reading. The change is no reading of the metric, and its limit no limit of it.
fn tell(rule: &RateRule, alert: &mut Alert, (phase, change, value): (AlarmPhase, f64, f64)) {
    (alert.value, alert.limit) = (Some(value), None);
    if phase == AlarmPhase::Start {
        let sign = if rule.falls { '-' } else { '+' };
        let (unit, seconds) = (&alert.ucum_unit, rule.within_us / 1_000_000);
        alert.detail = format!("{sign}{} {unit} within {seconds} s", rounded(change));
    }
}

/// Rounds to what is worth reading.
fn rounded(change: f64) -> f64 {
    (change * 100.0).round() / 100.0
}

impl RateState {
    fn forget(&mut self, before_us: i64) {
        let gone = self.slots_us.iter().take_while(|start_us| **start_us < before_us).count();
        self.slots_us.drain(..gone);
        self.extremes.drain(..gone.min(self.extremes.len()));
    }

    fn put(&mut self, rule: &RateRule, reading: Reading) {
        let slot_us = (rule.within_us / RATE_SLOTS).max(1);
        match (self.slots_us.last(), self.extremes.last_mut()) {
            (Some(start_us), Some(extreme)) if reading.at_us - start_us < slot_us => {
                *extreme = if rule.falls { extreme.max(reading.value) } else { extreme.min(reading.value) };
            }
            _ => {
                self.slots_us.push(reading.at_us);
                self.extremes.push(reading.value);
            }
        }
    }

    /// Returns how far the value has moved in the rule's direction; never below 0.
    fn change(&self, rule: &RateRule, value: f64) -> f64 {
        let moved = |extreme: &f64| if rule.falls { extreme - value } else { value - extreme };
        self.extremes.iter().map(moved).fold(0.0, f64::max)
    }
}
