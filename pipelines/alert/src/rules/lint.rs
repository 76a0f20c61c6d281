//! The rules linter: every finding of a file at once, each with the rule that it is about.

use super::file::{Missing, RulesFile, Threshold, VERSION};
use super::position::{Positions, position};
use super::{Limit, LiveWindow, MissingRule, Rules, Scope, ThresholdRule};
use crate::limits::{RULE_SECONDS_MAX, RULES_BYTES_MAX, RULES_MAX};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use wardline_proto::codes::{self, Metric, MetricKind};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::Priority;
use wardline_proto::{DeviceId, TenantId};

/// One thing that is wrong with a rules file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Line of the file, from 1.
    pub line: u32,
    /// Column of the line, characters from 1.
    pub column: u32,
    /// Stable code with a page in `docs/errors`.
    pub code: Refusal,
    /// The rule, or the part of the file.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, code, place, message } = self;
        write!(f, "line {line}, column {column}: {} {place}: {message}", code.code())
    }
}

/// Checks a file's text.
pub fn check(text: &str) -> Result<Rules, Vec<Finding>> {
    let file = read(text).map_err(|finding| vec![finding])?;
    let mut lint = Lint { positions: Positions::of(text), ..Lint::default() };
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
            orders: Arc::default(),
            policy,
            policies,
        })
    } else {
        Err(lint.findings)
    }
}

/// Reads a file's grammar.
fn read(text: &str) -> Result<RulesFile, Finding> {
    let finding = |code, at: usize, message: String| {
        let (line, column) = position(text, at);
        Finding { line, column, code, place: "file".into(), message }
    };
    if text.len() > RULES_BYTES_MAX {
        let message = format!("larger than {RULES_BYTES_MAX} bytes");
        return Err(finding(Refusal::RulesUnreadable, 0, message));
    }
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let is_toml = toml::de::DeTable::parse(text).is_ok();
        let code = if is_toml { Refusal::RulesKey } else { Refusal::RulesUnreadable };
        finding(code, error.span().map_or(0, |span| span.start), error.message().to_owned())
    })
}

#[derive(Default)]
pub(super) struct Lint {
    findings: Vec<Finding>,
    positions: Positions,
    pub(super) ids: BTreeSet<String>,
}

impl Lint {
    /// Notes what is wrong with a key of a place.
    pub(super) fn say(&mut self, code: Refusal, (place, key): (&str, &str), message: impl Into<String>) {
        let (line, column) = self.positions.find(place, key);
        let (place, message) = (place.to_owned(), message.into());
        self.findings.push(Finding { line, column, code, place, message });
    }

    fn file(&mut self, file: &RulesFile) {
        if file.version != VERSION {
            self.say(
                Refusal::RulesKey,
                ("file", "version"),
                format!("version is {}, this build reads {VERSION}", file.version),
            );
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
            self.say(Refusal::RulesBound, ("file", ""), format!("more than {RULES_MAX} rules"));
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
            self.say(Refusal::RulesBound, (place, "max_gap_s"), "max_gap_s must be at least 1");
        }
        if !(rule.hysteresis.is_finite() && rule.hysteresis >= 0.0) {
            self.say(Refusal::RulesBound, (place, "hysteresis"), "hysteresis must be a number of at least 0");
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
            self.say(Refusal::RulesBound, (place, "expect_every_s"), "expect_every_s must be at least 1");
        }
        let overdue_after_us = cadence_us + grace_us;
        let mdc_code = metric?.mdc_code;
        Some(MissingRule { id: rule.id.clone(), mdc_code, overdue_after_us, priority: priority?, scope })
    }

    pub(super) fn id(&mut self, id: &str) {
        // An id of the device grammar also keeps clear of `device/` and `system/`, which are the engine's own.
        if DeviceId::new(id).is_err() {
            self.say(
                Refusal::RulesBound,
                (id, "id"),
                "an id is 1 to 64 of a-z 0-9 . _ - and starts and ends with a letter or digit",
            );
        }
        if !self.ids.insert(id.to_owned()) {
            self.say(Refusal::RulesTwice, (id, "id"), "a second rule with this id");
        }
    }

    pub(super) fn source(&mut self, place: &str, source: &str) {
        if source.trim().is_empty() {
            self.say(
                Refusal::RulesSource,
                (place, "source"),
                "source is empty: say where the limit comes from",
            );
        }
    }

    pub(super) fn scope(&mut self, place: &str, tenants: &[String], devices: &[String]) -> Scope {
        let tenants_bad = tenants.iter().filter(|t| TenantId::new(t).is_err()).map(|t| ("tenants", t));
        let devices_bad = devices.iter().filter(|d| DeviceId::new(d).is_err()).map(|d| ("devices", d));
        for (key, name) in tenants_bad.chain(devices_bad) {
            self.say(Refusal::RulesBound, (place, key), format!("{name:?} is no id"));
        }
        Scope { tenants: tenants.to_vec(), devices: devices.to_vec() }
    }

    pub(super) fn metric(&mut self, place: &str, ref_id: &str, mdc_code: u32) -> Option<&'static Metric> {
        codes::lint(ref_id, mdc_code)
            .map_err(|message| self.say(Refusal::RulesMetric, (place, "mdc_code"), message))
            .ok()
    }

    fn limit(&mut self, place: &str, rule: &Threshold) -> Option<Limit> {
        let limit = match (rule.below, rule.above) {
            (Some(limit), None) => Some(Limit::Below(limit)),
            (None, Some(limit)) => Some(Limit::Above(limit)),
            _ => None,
        };
        if limit.is_none() {
            self.say(Refusal::RulesKey, (place, ""), "give either below or above");
        }
        limit
    }

    fn fits(&mut self, place: &str, rule: &Threshold, metric: &Metric, limit: Limit) {
        if rule.unit != metric.ucum_unit {
            self.say(
                Refusal::RulesMetric,
                (place, "unit"),
                format!("unit is {:?}, {} has {:?}", rule.unit, metric.ref_id, metric.ucum_unit),
            );
        }
        if metric.kind != MetricKind::Numeric {
            self.say(Refusal::RulesMetric, (place, "metric"), "a waveform has no threshold");
        }
        if !is_reachable(metric, limit, rule.hysteresis) {
            self.say(
                Refusal::RulesLimit,
                (place, side(limit)),
                "no plausible value crosses and clears this limit",
            );
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
            self.say(
                Refusal::RulesBound,
                (place, "priority"),
                format!("priority is low, medium or high, not {word:?}"),
            );
        }
        priority
    }

    pub(super) fn seconds(&mut self, place: &str, key: &str, seconds: u32) -> i64 {
        if seconds > RULE_SECONDS_MAX {
            self.say(Refusal::RulesBound, (place, key), format!("{key} is more than {RULE_SECONDS_MAX}"));
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
                self.say(
                    Refusal::RulesTwice,
                    (&rule.id, "id"),
                    format!("watches the same side of the same metric as {}", other.id),
                );
            }
        }
    }
}

fn side(limit: Limit) -> &'static str {
    match limit {
        Limit::Below(_) => "below",
        Limit::Above(_) => "above",
    }
}

/// Says whether plausible values cross a limit and clear it.
pub(super) fn is_reachable(metric: &Metric, limit: Limit, hysteresis: f64) -> bool {
    let cleared_at = match limit {
        Limit::Below(limit) => limit + hysteresis,
        Limit::Above(limit) => limit - hysteresis,
    };
    let possible = metric.is_plausible(limit.value()) && metric.is_plausible(cleared_at);
    let reachable = match limit {
        Limit::Below(limit) => limit > metric.plausible_min,
        Limit::Above(limit) => limit < metric.plausible_max,
    };
    possible && reachable
}

fn meet(a: &[String], b: &[String]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|name| b.contains(name))
}
