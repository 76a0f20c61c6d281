//! Which value of a rule is in force for a device at a time, and which may be put in its place.

use super::{Limit, News2Rule, Rules, ThresholdRule, lint};
use crate::news2::SpO2Scale;
use std::borrow::Cow;
use wardline_proto::v1::OverrideSetting;
use wardline_proto::{DeviceKey, codes};

impl Rules {
    /// Returns a rule with the limit that is in force for a device for a reading of `at_us` that came at `now_us`,
    /// journal time. Overrides of the store go before those of the file; of two of the file the later one counts.
    pub(crate) fn in_force<'a>(
        &self,
        rule: &'a ThresholdRule,
        key: &DeviceKey,
        (at_us, now_us): (i64, i64),
    ) -> Cow<'a, ThresholdRule> {
        let (setting, side): (_, fn(f64) -> Limit) = match rule.limit {
            Limit::Below(_) => (OverrideSetting::Below, Limit::Below),
            Limit::Above(_) => (OverrideSetting::Above, Limit::Above),
        };
        if let Some(limit) = self.orders.value(key, &rule.id, setting, now_us).map(side) {
            return Cow::Owned(ThresholdRule { limit, ..rule.clone() });
        }
        let found = self.overrides.iter().rev().find(|other| {
            other.rule == rule.id && other.valid_us.contains(&at_us) && other.scope.covers(key)
        });
        match found {
            Some(other) => Cow::Owned(ThresholdRule { limit: other.limit, ..rule.clone() }),
            None => Cow::Borrowed(rule),
        }
    }

    /// Returns the score with the scale that is in force for the patient who wears a device.
    pub(crate) fn scored<'a>(&self, rule: &'a News2Rule, key: &DeviceKey, now_us: i64) -> Cow<'a, News2Rule> {
        let scale = match self.orders.value(key, &rule.id, OverrideSetting::Spo2Scale, now_us) {
            Some(2.0) => SpO2Scale::Two,
            Some(_one) => SpO2Scale::One,
            None => return Cow::Borrowed(rule),
        };
        Cow::Owned(News2Rule { scale, ..rule.clone() })
    }

    /// Says what is wrong with another value of a rule; nothing when it may be set.
    pub fn refuses(&self, rule_id: &str, setting: OverrideSetting, value: f64) -> Option<String> {
        if setting == OverrideSetting::Spo2Scale {
            let is_score = self.news2.iter().any(|rule| rule.id == rule_id);
            let why = if is_score { "the scale is 1 or 2" } else { "it is no rule of NEWS2 in force" };
            return (!is_score || ![1.0, 2.0].contains(&value)).then(|| why.to_owned());
        }
        let Some(rule) = self.thresholds.iter().find(|rule| rule.id == rule_id) else {
            return Some("it is no threshold in force".to_owned());
        };
        let limit = match (rule.limit, setting) {
            (Limit::Below(_), OverrideSetting::Below) => Limit::Below(value),
            (Limit::Above(_), OverrideSetting::Above) => Limit::Above(value),
            _ => return Some("the rule alarms on the other side of its limit".to_owned()),
        };
        let metric = codes::by_code(rule.mdc_code)?;
        let why = "no plausible value crosses and clears this limit";
        (!lint::is_reachable(metric, limit, rule.hysteresis)).then(|| why.to_owned())
    }
}
