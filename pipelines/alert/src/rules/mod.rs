//! Rules: what is watched, in checked form.
//!
//! A rules file is TOML, `version = 1`; its grammar is [`file`], its checks are [`lint`], Wardline's own rules
//! are `defaults.toml`. A [`Rules`] can only be had through the linter.

pub mod file;
mod in_force;
pub mod lint;
mod lint_kinds;
mod lint_news2;
mod lint_signal;
mod position;

use crate::engine::SystemCondition;
use crate::news2::{Band, Parameter, SpO2Scale};
use crate::orders::Orders;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use wardline_proto::DeviceKey;
use wardline_proto::v1::Priority;
use wardline_store::alert_signal::Policy;

pub use lint::Finding;

const DEFAULTS: &str = include_str!("defaults.toml");
const SCHEMA: &str = include_str!("schema.json");

/// Returns the JSON schema of a rules file: for editors, which then know every key. What it cannot say the linter does.
pub fn schema() -> &'static str {
    SCHEMA.trim_end()
}

/// Says why a rules file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file could not be read.
    #[error("rules file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file breaks the format; every finding is listed.
    #[error("rules are not valid:{}", listed(.0))]
    Invalid(Vec<Finding>),
}

fn listed(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("\n  {f}")).collect()
}

/// Which side of a limit is the alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A value below this is an alarm.
    Below(f64),
    /// A value above this is an alarm.
    Above(f64),
}

impl Limit {
    /// Returns the limit itself.
    pub fn value(self) -> f64 {
        match self {
            Self::Below(limit) | Self::Above(limit) => limit,
        }
    }

    /// Says whether `value` is an alarm.
    pub fn is_crossed(self, value: f64) -> bool {
        match self {
            Self::Below(limit) => value < limit,
            Self::Above(limit) => value > limit,
        }
    }

    /// Says whether `value` is back by at least `hysteresis`.
    pub fn is_cleared(self, value: f64, hysteresis: f64) -> bool {
        match self {
            Self::Below(limit) => value >= limit + hysteresis,
            Self::Above(limit) => value <= limit - hysteresis,
        }
    }
}

/// Whom a rule is for. Empty lists mean everyone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Tenants.
    pub tenants: Vec<String>,
    /// Devices.
    pub devices: Vec<String>,
}

impl Scope {
    /// Says whether `key` is in this scope.
    pub fn covers(&self, key: &DeviceKey) -> bool {
        let within = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
        within(&self.tenants, key.tenant.as_str()) && within(&self.devices, key.device.as_str())
    }
}

/// A limit on a metric. All times are microseconds of event time.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdRule {
    /// Names the rule; part of the alert's id.
    pub id: String,
    /// Metric, 32-bit MDC code.
    pub mdc_code: u32,
    /// The limit and its side.
    pub limit: Limit,
    /// How far back behind the limit a value must be to clear.
    pub hysteresis: f64,
    /// How long the limit must stay crossed.
    pub onset_delay_us: i64,
    /// How long it must stay cleared.
    pub clear_delay_us: i64,
    /// Two readings further apart than this do not prove what lies between them.
    pub max_gap_us: i64,
    /// Priority of the alert.
    pub priority: Priority,
    /// Whom it is for.
    pub scope: Scope,
}

/// Data that must keep coming once it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct MissingRule {
    /// Names the rule; part of the alert's id.
    pub id: String,
    /// Metric, 32-bit MDC code.
    pub mdc_code: u32,
    /// Expected cadence plus grace, microseconds of ingest time.
    pub overdue_after_us: i64,
    /// Priority of the alert.
    pub priority: Priority,
    /// Whom it is for.
    pub scope: Scope,
}

/// A limit on how far a metric rises or falls within a time.
#[derive(Debug, Clone, PartialEq)]
pub struct RateRule {
    /// The limit on the change; it is always above.
    pub change: ThresholdRule,
    /// Whether it is about falling.
    pub falls: bool,
    /// Within which time, microseconds.
    pub within_us: i64,
}

/// An alert of several conditions of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct CompositeRule {
    /// Names the rule; part of the alert's id.
    pub id: String,
    /// The rules whose conditions it is about.
    pub members: Vec<String>,
    /// Whether all must be present; any otherwise.
    pub all: bool,
    /// A member that ended this short ago still counts, microseconds.
    pub within_us: i64,
    /// How long it must hold, microseconds.
    pub onset_delay_us: i64,
    /// Priority of the alert.
    pub priority: Priority,
    /// Whom it is for.
    pub scope: Scope,
}

/// Conditions that are not told while a cause explains them.
#[derive(Debug, Clone, PartialEq)]
pub struct SuppressRule {
    /// The rule of the cause.
    pub cause: String,
    /// The rules that are held back.
    pub rules: Vec<String>,
    /// How long after the cause they still are, microseconds.
    pub settle_us: i64,
    /// Whom it is for.
    pub scope: Scope,
}

/// Another limit for some, for a time, as somebody has decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The rule.
    pub rule: String,
    /// The limit in its place, on the same side.
    pub limit: Limit,
    /// In force from here to before there, unix microseconds of event time.
    pub valid_us: std::ops::Range<i64>,
    /// Who decided it.
    pub author: String,
    /// For whom.
    pub scope: Scope,
}

/// Whether the patient breathes oxygen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breathing {
    /// As inspired oxygen is measured.
    Measured,
    /// Air, as someone has noted.
    Air,
    /// Oxygen, as someone has noted.
    Oxygen,
}

/// What is known of consciousness, which no device measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consciousness {
    /// Nothing: every score is incomplete.
    NotMeasured,
    /// Someone has put down that the patient is presumed alert.
    PresumedAlert,
}

/// An early warning score, NEWS2. All times are microseconds of event time.
#[derive(Debug, Clone, PartialEq)]
pub struct News2Rule {
    /// Names the rule; part of the alert's id.
    pub id: String,
    /// Which column scores oxygen saturation.
    pub scale: SpO2Scale,
    /// Whether oxygen is given.
    pub breathing: Breathing,
    /// What is known of consciousness.
    pub consciousness: Consciousness,
    /// The band from which on there is an alert.
    pub from_band: Band,
    /// Older readings of what is measured all the time are missing.
    pub stale_after_us: i64,
    /// The same for blood pressure and temperature, which are measured now and then.
    pub spot_stale_after_us: i64,
    /// How long the band must stay reached.
    pub onset_delay_us: i64,
    /// How long the score must stay below it.
    pub clear_delay_us: i64,
    /// Whom it is for.
    pub scope: Scope,
}

impl News2Rule {
    /// Returns the age from which on a reading of a parameter is missing.
    pub(crate) fn stale_after_us(&self, parameter: Parameter) -> i64 {
        match parameter {
            Parameter::Systolic | Parameter::Temperature => self.spot_stale_after_us,
            _ => self.stale_after_us,
        }
    }

    /// Returns the priority of an alert at a band: NEWS2's urgent response is medium, its emergency response high.
    pub(crate) fn priority(&self, band: Band) -> Priority {
        match band {
            Band::High => Priority::High,
            Band::Medium => Priority::Medium,
            _ => Priority::Low,
        }
    }
}

/// Which readings are live, microseconds around the ingest time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveWindow {
    /// Older is backfill.
    pub behind_us: i64,
    /// Newer is a wrong clock.
    pub ahead_us: i64,
}

impl LiveWindow {
    /// Says whether something at `at_us` that came at `ingested_at_us` is live.
    pub fn holds(self, at_us: i64, ingested_at_us: i64) -> bool {
        at_us >= ingested_at_us.saturating_sub(self.behind_us)
            && at_us <= ingested_at_us.saturating_add(self.ahead_us)
    }
}

/// Every rule in force. Made by the linter only.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub(crate) live: LiveWindow,
    pub(crate) pass_device_alarms: bool,
    pub(crate) thresholds: Vec<ThresholdRule>,
    pub(crate) missing: Vec<MissingRule>,
    pub(crate) news2: Vec<News2Rule>,
    pub(crate) rates: Vec<RateRule>,
    pub(crate) composites: Vec<CompositeRule>,
    pub(crate) suppressions: Vec<SuppressRule>,
    pub(crate) overrides: Vec<Override>,
    /// What the store says besides.
    pub(crate) orders: Arc<Orders>,
    /// How signals behave when their rule does not say otherwise.
    pub(crate) policy: Policy,
    /// By rule id, of the rules that do.
    pub(crate) policies: BTreeMap<String, Policy>,
}

impl Rules {
    /// Returns every limit, on a value or on its change.
    pub(crate) fn limits(&self) -> impl Iterator<Item = &ThresholdRule> {
        self.thresholds.iter().chain(self.rates.iter().map(|rate| &rate.change))
    }

    /// Returns how the signal of a rule's alerts behaves; alarms of devices and of the system have the file's policy. That
    /// records were lost is over as soon as there is nothing more to lose: it stays until somebody has seen it.
    pub fn policy(&self, rule_id: &str) -> Policy {
        let policy = self.policies.get(rule_id).copied().unwrap_or(self.policy);
        let latching = policy.latching || rule_id == SystemCondition::RecordsLost.rule_id();
        Policy { latching, ..policy }
    }

    /// Returns how many rules there are.
    pub fn count(&self) -> usize {
        let watched = self.thresholds.len() + self.missing.len() + self.news2.len() + self.rates.len();
        watched + self.composites.len() + self.suppressions.len() + self.overrides.len()
    }

    /// Returns Wardline's own rules.
    pub fn defaults() -> Result<Self, RulesError> {
        Self::parse(DEFAULTS)
    }

    /// Returns the text of Wardline's own rules, to start a file from.
    pub fn defaults_text() -> &'static str {
        DEFAULTS
    }

    /// Reads and checks rules; all findings at once.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        lint::check(text).map_err(RulesError::Invalid)
    }

    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, RulesError> {
        let read = |source| RulesError::Read { path: path.display().to_string(), source };
        Self::parse(&std::fs::read_to_string(path).map_err(read)?)
    }

    /// Returns the threshold rules.
    pub fn thresholds(&self) -> &[ThresholdRule] {
        &self.thresholds
    }

    /// Returns the early warning scores.
    pub fn news2(&self) -> &[News2Rule] {
        &self.news2
    }

    /// Returns the missing-data rules.
    pub fn missing(&self) -> &[MissingRule] {
        &self.missing
    }
}
