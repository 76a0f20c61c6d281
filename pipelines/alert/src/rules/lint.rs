//! The rules linter: every finding of a file at once, each with the rule that it is about.

use super::file::{Missing, RulesFile, Threshold, VERSION};
use super::{Limit, LiveWindow, MissingRule, Rules, Scope, ThresholdRule};
use crate::limits::{RULE_SECONDS_MAX, RULES_BYTES_MAX, RULES_MAX};
use std::collections::BTreeSet;
use std::fmt;
use wardline_proto::codes::{self, Metric, MetricKind};
use wardline_proto::v1::Priority;
use wardline_proto::{DeviceId, TenantId};

/// One thing that is wrong with a rules file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule, or the part of the file.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Checks a file's text.
pub fn check(text: &str) -> Result<Rules, Vec<Finding>> {
    let whole = |message: String| vec![Finding { place: "file".into(), message }];
    if text.len() > RULES_BYTES_MAX {
        return Err(whole(format!("larger than {RULES_BYTES_MAX} bytes")));
    }
    let file: RulesFile = toml::from_str(text).map_err(|e| whole(e.to_string().trim_end().to_owned()))?;
    let mut lint = Lint::default();
    lint.file(&file);
    let thresholds: Vec<_> = file.threshold.iter().filter_map(|rule| lint.threshold(rule)).collect();
    let missing = file.missing.iter().filter_map(|rule| lint.missing(rule)).collect();
    let news2 = file.news2.iter().filter_map(|rule| lint.news2(rule)).collect();
    let rates = file.rate.iter().filter_map(|rule| lint.rate(rule)).collect();
    let composites = file.composite.iter().filter_map(|rule| lint.composite(rule)).collect();
    let suppressions = lint.suppressions(&file);
    let overrides = file.overrides.iter().filter_map(|other| lint.other_limit(other, &thresholds)).collect();
    lint.overlaps(&thresholds);
    let live = LiveWindow {
        behind_us: lint.seconds("live", "behind_s", file.live.behind_s),
        ahead_us: lint.seconds("live", "ahead_s", file.live.ahead_s),
    };
    let pass_device_alarms = file.device_alarms.pass_through;
    let policy = lint.escalation(&file.escalation);
    let policies = lint.policies(&file, policy);
    if lint.findings.is_empty() {
        Ok(Rules {
            live,
            pass_device_alarms,
            thresholds,
            missing,
            news2,
            rates,
            composites,
            suppressions,
            overrides,
            policy,
            policies,
        })
    } else {
        Err(lint.findings)
    }
}

#[derive(Default)]
pub(super) struct Lint {
    findings: Vec<Finding>,
    pub(super) ids: BTreeSet<String>,
}

impl Lint {
    pub(super) fn say(&mut self, place: &str, message: impl Into<String>) {
        self.findings.push(Finding { place: place.to_owned(), message: message.into() });
    }

    fn file(&mut self, file: &RulesFile) {
        if file.version != VERSION {
            self.say("file", format!("version is {}, this build reads {VERSION}", file.version));
        }
        let kinds = [
            file.threshold.len(),
            file.missing.len(),
            file.news2.len(),
            file.rate.len(),
            file.composite.len(),
            file.suppress.len(),
            file.overrides.len(),
        ];
        if kinds.into_iter().sum::<usize>() > RULES_MAX {
            self.say("file", format!("more than {RULES_MAX} rules"));
        }
    }

    fn threshold(&mut self, rule: &Threshold) -> Option<ThresholdRule> {
        let place = rule.id.as_str();
        self.id(place);
        self.source(place, &rule.source);
        let scope = self.scope(place, &rule.tenants, &rule.devices);
        let metric = self.metric(place, &rule.metric, rule.mdc_code);
        let limit = self.limit(place, rule);
        let priority = self.priority(place, &rule.priority);
        let onset_delay_us = self.seconds(place, "onset_delay_s", rule.onset_delay_s);
        let clear_delay_us = self.seconds(place, "clear_delay_s", rule.clear_delay_s);
        let max_gap_us = self.seconds(place, "max_gap_s", rule.max_gap_s);
        if max_gap_us == 0 {
            self.say(place, "max_gap_s must be at least 1");
        }
        if !(rule.hysteresis.is_finite() && rule.hysteresis >= 0.0) {
            self.say(place, "hysteresis must be a number of at least 0");
        }
        let (metric, limit, priority) = (metric?, limit?, priority?);
        self.fits(place, rule, metric, limit);
        Some(ThresholdRule {
            id: rule.id.clone(),
            mdc_code: rule.mdc_code,
            limit,
            hysteresis: rule.hysteresis,
            onset_delay_us,
            clear_delay_us,
            max_gap_us,
            priority,
            scope,
        })
    }

    fn missing(&mut self, rule: &Missing) -> Option<MissingRule> {
        let place = rule.id.as_str();
        self.id(place);
        self.source(place, &rule.source);
        let scope = self.scope(place, &rule.tenants, &rule.devices);
        let metric = self.metric(place, &rule.metric, rule.mdc_code);
        let priority = self.priority(place, &rule.priority);
        let cadence_us = self.seconds(place, "expect_every_s", rule.expect_every_s);
        let grace_us = self.seconds(place, "grace_s", rule.grace_s);
        if cadence_us == 0 {
            self.say(place, "expect_every_s must be at least 1");
        }
        let overdue_after_us = cadence_us + grace_us;
        let mdc_code = metric?.mdc_code;
        Some(MissingRule { id: rule.id.clone(), mdc_code, overdue_after_us, priority: priority?, scope })
    }

    pub(super) fn id(&mut self, id: &str) {
        // An id of the device grammar also keeps clear of `device/` and `system/`, which are the engine's own.
        if DeviceId::new(id).is_err() {
            self.say(id, "an id is 1 to 64 of a-z 0-9 . _ - and starts and ends with a letter or digit");
        }
        if !self.ids.insert(id.to_owned()) {
            self.say(id, "a second rule with this id");
        }
    }

    pub(super) fn source(&mut self, place: &str, source: &str) {
        if source.trim().is_empty() {
            self.say(place, "source is empty: say where the limit comes from");
        }
    }

    pub(super) fn scope(&mut self, place: &str, tenants: &[String], devices: &[String]) -> Scope {
        let bad = tenants
            .iter()
            .filter(|t| TenantId::new(t).is_err())
            .chain(devices.iter().filter(|d| DeviceId::new(d).is_err()));
        for name in bad {
            self.say(place, format!("{name:?} is no id"));
        }
        Scope { tenants: tenants.to_vec(), devices: devices.to_vec() }
    }

    pub(super) fn metric(&mut self, place: &str, ref_id: &str, mdc_code: u32) -> Option<&'static Metric> {
        codes::lint(ref_id, mdc_code).map_err(|message| self.say(place, message)).ok()
    }

    fn limit(&mut self, place: &str, rule: &Threshold) -> Option<Limit> {
        let limit = match (rule.below, rule.above) {
            (Some(limit), None) => Some(Limit::Below(limit)),
            (None, Some(limit)) => Some(Limit::Above(limit)),
            _ => None,
        };
        if limit.is_none() {
            self.say(place, "give either below or above");
        }
        limit
    }

    fn fits(&mut self, place: &str, rule: &Threshold, metric: &Metric, limit: Limit) {
        if rule.unit != metric.ucum_unit {
            self.say(place, format!("unit is {:?}, {} has {:?}", rule.unit, metric.ref_id, metric.ucum_unit));
        }
        if metric.kind != MetricKind::Numeric {
            self.say(place, "a waveform has no threshold");
        }
        let cleared_at = match limit {
            Limit::Below(limit) => limit + rule.hysteresis,
            Limit::Above(limit) => limit - rule.hysteresis,
        };
        let possible = metric.is_plausible(limit.value()) && metric.is_plausible(cleared_at);
        let reachable = match limit {
            Limit::Below(limit) => limit > metric.plausible_min,
            Limit::Above(limit) => limit < metric.plausible_max,
        };
        if !possible || !reachable {
            self.say(place, "no plausible value crosses and clears this limit");
        }
    }

    pub(super) fn priority(&mut self, place: &str, word: &str) -> Option<Priority> {
        let priority = match word {
            "low" => Some(Priority::Low),
            "medium" => Some(Priority::Medium),
            "high" => Some(Priority::High),
            _ => None,
        };
        if priority.is_none() {
            self.say(place, format!("priority is low, medium or high, not {word:?}"));
        }
        priority
    }

    pub(super) fn seconds(&mut self, place: &str, key: &str, seconds: u32) -> i64 {
        if seconds > RULE_SECONDS_MAX {
            self.say(place, format!("{key} is more than {RULE_SECONDS_MAX}"));
        }
        i64::from(seconds) * 1_000_000
    }

    /// One condition, one alert: two limits on one side of a metric for one device would make two of one episode.
    fn overlaps(&mut self, rules: &[ThresholdRule]) {
        for (i, rule) in rules.iter().enumerate() {
            let same_side = |other: &&ThresholdRule| {
                other.mdc_code == rule.mdc_code
                    && matches!(other.limit, Limit::Below(_)) == matches!(rule.limit, Limit::Below(_))
                    && meet(&other.scope.tenants, &rule.scope.tenants)
                    && meet(&other.scope.devices, &rule.scope.devices)
            };
            if let Some(other) = rules[..i].iter().find(same_side) {
                self.say(&rule.id, format!("watches the same side of the same metric as {}", other.id));
            }
        }
    }
}

fn meet(a: &[String], b: &[String]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|name| b.contains(name))
}
