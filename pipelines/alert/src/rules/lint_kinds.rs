//! The linter's part for rates of change, composites, suppressions and overrides.

use super::file::{Composite, Override, Rate, RulesFile, Suppress};
use super::lint::Lint;
use super::{CompositeRule, Limit, RateRule, SuppressRule, ThresholdRule};
use crate::limits::MEMBERS_MAX;
use toml::value::{Datetime, Offset};
use wardline_proto::codes::MetricKind;
use wardline_proto::refusal::Refusal;

/// Alarms of devices, as a member or a cause.
const DEVICE_PREFIX: &str = "device/";

impl Lint {
    pub(super) fn rate(&mut self, rule: &Rate) -> Option<RateRule> {
        let place = rule.id.as_str();
        self.id(place);
        self.source(place, &rule.source);
        let scope = self.scope(place, &rule.tenants, &rule.devices);
        let metric = self.metric(place, &rule.metric, rule.mdc_code);
        let priority = self.priority(place, &rule.priority);
        let change = match (rule.rises_by, rule.falls_by) {
            (Some(by), None) => Some((by, false)),
            (None, Some(by)) => Some((by, true)),
            _ => None,
        };
        if change.is_none() {
            self.say(Refusal::RulesKey, (place, ""), "give either rises_by or falls_by");
        }
        if rule.within_s == 0 || rule.max_gap_s == 0 {
            self.say(Refusal::RulesBound, (place, "within_s"), "within_s and max_gap_s must be at least 1");
        }
        let within_us = self.seconds(place, "within_s", rule.within_s);
        let onset_delay_us = self.seconds(place, "onset_delay_s", rule.onset_delay_s);
        let clear_delay_us = self.seconds(place, "clear_delay_s", rule.clear_delay_s);
        let max_gap_us = self.seconds(place, "max_gap_s", rule.max_gap_s);
        let (metric, (by, falls), priority) = (metric?, change?, priority?);
        if rule.unit != metric.ucum_unit {
            self.say(
                Refusal::RulesMetric,
                (place, "unit"),
                format!("unit is {:?}, {} has {:?}", rule.unit, metric.ref_id, metric.ucum_unit),
            );
        }
        let span = metric.plausible_max - metric.plausible_min;
        let hysteresis_fits = rule.hysteresis >= 0.0 && rule.hysteresis < by;
        if metric.kind != MetricKind::Numeric || by <= 0.0 || by >= span || !hysteresis_fits {
            self.say(
                Refusal::RulesLimit,
                (place, if falls { "falls_by" } else { "rises_by" }),
                "no plausible change crosses and clears this limit",
            );
        }
        let change = ThresholdRule {
            id: rule.id.clone(),
            mdc_code: rule.mdc_code,
            limit: Limit::Above(by),
            hysteresis: rule.hysteresis,
            onset_delay_us,
            clear_delay_us,
            max_gap_us,
            priority,
            scope,
        };
        Some(RateRule { change, falls, within_us })
    }

    /// Called when every other rule's id is known: a member that nothing raises would make a composite of no use.
    pub(super) fn composite(&mut self, rule: &Composite) -> Option<CompositeRule> {
        let place = rule.id.as_str();
        let (members, all) = match (rule.all_of.is_empty(), rule.any_of.is_empty()) {
            (false, true) => (rule.all_of.clone(), true),
            (true, false) => (rule.any_of.clone(), false),
            _ => {
                self.say(Refusal::RulesKey, (place, ""), "give either all_of or any_of");
                return None;
            }
        };
        self.members(place, &members);
        self.id(place);
        self.source(place, &rule.source);
        let scope = self.scope(place, &rule.tenants, &rule.devices);
        let priority = self.priority(place, &rule.priority);
        let within_us = self.seconds(place, "within_s", rule.within_s);
        let onset_delay_us = self.seconds(place, "onset_delay_s", rule.onset_delay_s);
        let id = rule.id.clone();
        Some(CompositeRule { id, members, all, within_us, onset_delay_us, priority: priority?, scope })
    }

    pub(super) fn suppressions(&mut self, file: &RulesFile) -> Vec<SuppressRule> {
        file.suppress.iter().map(|rule| self.suppression(file, rule)).collect()
    }

    fn suppression(&mut self, file: &RulesFile, rule: &Suppress) -> SuppressRule {
        let place = format!("suppress {}", rule.cause);
        self.source(&place, &rule.source);
        self.members(&place, std::slice::from_ref(&rule.cause));
        self.members(&place, &rule.rules);
        // What is held back must not hold back others: it would be a way to lose an alarm that nobody sees.
        let is_held = |id: &String| file.suppress.iter().any(|other| other.rules.contains(id));
        if is_held(&rule.cause) {
            self.say(Refusal::RulesReference, (&place, "cause"), "the cause is itself held back");
        }
        let scope = self.scope(&place, &rule.tenants, &rule.devices);
        let settle_us = self.seconds(&place, "settle_s", rule.settle_s);
        SuppressRule { cause: rule.cause.clone(), rules: rule.rules.clone(), settle_us, scope }
    }

    pub(super) fn other_limit(
        &mut self,
        other: &Override,
        thresholds: &[ThresholdRule],
    ) -> Option<super::Override> {
        let place = format!("override {}", other.rule);
        self.source(&place, &other.source);
        if other.author.trim().is_empty() {
            self.say(Refusal::RulesSource, (&place, "author"), "author is empty: say who decided it");
        }
        let scope = self.scope(&place, &other.tenants, &other.devices);
        let rule = thresholds.iter().find(|rule| rule.id == other.rule);
        let limit = match (rule.map(|rule| rule.limit), other.below, other.above) {
            (Some(Limit::Below(_)), Some(below), None) => Some(Limit::Below(below)),
            (Some(Limit::Above(_)), None, Some(above)) => Some(Limit::Above(above)),
            _ => None,
        };
        if limit.is_none() {
            self.say(
                Refusal::RulesReference,
                (&place, "rule"),
                "name a threshold, and give its side: below or above",
            );
        }
        let times = (unix_us(&other.from), unix_us(&other.until));
        let (Some(from_us), Some(until_us)) = times else {
            self.say(
                Refusal::RulesBound,
                (&place, "from"),
                "from and until are times in UTC: 2026-11-21T08:00:00Z",
            );
            return None;
        };
        if from_us >= until_us {
            self.say(Refusal::RulesBound, (&place, "until"), "until must be after from");
        }
        let (rule, author) = (other.rule.clone(), other.author.clone());
        Some(super::Override { rule, limit: limit?, valid_us: from_us..until_us, author, scope })
    }

    fn members(&mut self, place: &str, members: &[String]) {
        if members.is_empty() || members.len() > MEMBERS_MAX {
            self.say(Refusal::RulesBound, (place, ""), format!("1 to {MEMBERS_MAX} rules are named"));
        }
        for member in members {
            if !member.starts_with(DEVICE_PREFIX) && !self.ids.contains(member) {
                self.say(
                    Refusal::RulesReference,
                    (place, ""),
                    format!("{member:?} is no rule before it, and no alarm of a device"),
                );
            }
        }
    }
}

/// Reads a time in UTC as unix microseconds: Howard Hinnant's days from civil.
fn unix_us(time: &Datetime) -> Option<i64> {
    let (date, clock) = (time.date?, time.time?);
    let is_utc = matches!(time.offset, Some(Offset::Z | Offset::Custom { minutes: 0 }));
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    let year = i64::from(date.year) - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let second = clock.second;
    let seconds =
        days * 86_400 + i64::from(clock.hour) * 3600 + i64::from(clock.minute) * 60 + i64::from(second);
    is_utc.then(|| seconds * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_unix_microseconds() {
        let us = |text: &str| unix_us(&text.parse().unwrap());
        assert_eq!(us("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(us("2023-11-14T22:13:20Z"), Some(1_700_000_000_000_000));
        assert_eq!(us("2024-02-29T00:00:00Z"), Some(1_709_164_800_000_000));
        assert_eq!(us("2023-11-14T22:13:20+01:00"), None);
        assert_eq!(us("2023-11-14"), None);
    }
}
