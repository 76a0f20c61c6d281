//! The rules file's grammar, version 1. An unknown key is an error: a misspelt limit must not pass in silence.

use serde::Deserialize;

/// The version that this build reads.
pub const VERSION: u32 = 1;

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesFile {
    /// [`VERSION`].
    pub version: u32,
    /// Which readings are live.
    #[serde(default)]
    pub live: Live,
    /// What happens to alarms that a device raised itself.
    #[serde(default)]
    pub device_alarms: DeviceAlarms,
    /// What happens when nobody acknowledges.
    #[serde(default)]
    pub escalation: Escalation,
    /// Limits.
    #[serde(default)]
    pub threshold: Vec<Threshold>,
    /// Data that must keep coming.
    #[serde(default)]
    pub missing: Vec<Missing>,
    /// Early warning scores.
    #[serde(default)]
    pub news2: Vec<News2>,
    /// Limits on changes.
    #[serde(default)]
    pub rate: Vec<Rate>,
    /// Conditions together.
    #[serde(default)]
    pub composite: Vec<Composite>,
    /// Conditions that a cause explains.
    #[serde(default)]
    pub suppress: Vec<Suppress>,
    /// Other limits for some, for a time.
    #[serde(default, rename = "override")]
    pub overrides: Vec<Override>,
}

/// `[live]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Older than this when it arrives is backfill.
    pub behind_s: u32,
    /// Further in the future than this is a wrong clock.
    pub ahead_s: u32,
}

impl Default for Live {
    fn default() -> Self {
        Self { behind_s: 120, ahead_s: 30 }
    }
}

/// `[device_alarms]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceAlarms {
    /// Whether they become alerts.
    pub pass_through: bool,
}

impl Default for DeviceAlarms {
    fn default() -> Self {
        Self { pass_through: true }
    }
}

/// `[escalation]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// An alert that nobody acknowledges escalates after this long, and again; 0 means never.
    pub after_s: u32,
    /// So often at most.
    pub times_max: u32,
    /// From this priority on: `low`, `medium` or `high`.
    pub from_priority: String,
}

impl Default for Escalation {
    fn default() -> Self {
        Self { after_s: 120, times_max: 3, from_priority: "high".into() }
    }
}

/// `[[threshold]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Unique; letters, digits and `- _ .`, lower case.
    pub id: String,
    /// MDC RefId; must agree with `mdc_code`.
    pub metric: String,
    /// 32-bit MDC code.
    pub mdc_code: u32,
    /// UCUM unit of the limit; must be the metric's.
    pub unit: String,
    /// A value below this is an alarm. Either this or `above`.
    pub below: Option<f64>,
    /// A value above this is an alarm.
    pub above: Option<f64>,
    /// How far back a value must be to clear.
    pub hysteresis: f64,
    /// How long the limit must stay crossed; 0 raises at the first reading.
    pub onset_delay_s: u32,
    /// How long it must stay cleared.
    pub clear_delay_s: u32,
    /// Readings further apart do not prove what lies between them.
    pub max_gap_s: u32,
    /// `low`, `medium` or `high`.
    pub priority: String,
    /// The signal stays after the condition has ended, until somebody acknowledges it.
    #[serde(default)]
    pub latching: bool,
    /// Still present so long after it was acknowledged, it alarms again; 0 means never.
    #[serde(default)]
    pub realarm_after_s: u32,
    /// Where the limit comes from.
    pub source: String,
    /// Only these tenants.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Only these devices.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// `[[missing]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Unique; letters, digits and `- _ .`, lower case.
    pub id: String,
    /// MDC RefId; must agree with `mdc_code`. Waveforms may be watched too.
    pub metric: String,
    /// 32-bit MDC code.
    pub mdc_code: u32,
    /// Expected cadence.
    pub expect_every_s: u32,
    /// How long beyond it silence is borne.
    pub grace_s: u32,
    /// `low`, `medium` or `high`.
    pub priority: String,
    /// Where the times come from.
    pub source: String,
    /// Only these tenants.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Only these devices.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// `[[news2]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct News2 {
    /// Unique; letters, digits and `- _ .`, lower case.
    pub id: String,
    /// Must be `adult-not-pregnant`: whoever writes the rule says so of its patients, as the chart asks.
    pub population: String,
    /// 1, or 2 where a clinician has prescribed 88 to 92 % for these patients.
    pub spo2_scale: u8,
    /// `measured` (inspired oxygen), `air` or `oxygen`.
    pub breathing: String,
    /// `not-measured`: every score stays incomplete; `presumed-alert`: somebody answers for it.
    pub consciousness: String,
    /// `low-medium`, `medium` or `high`: from here on there is an alert.
    pub from_band: String,
    /// Older readings of respiration, saturation, pulse and inspired oxygen are missing.
    pub stale_after_s: u32,
    /// Older readings of blood pressure and temperature are missing.
    pub spot_stale_after_s: u32,
    /// How long the band must stay reached.
    pub onset_delay_s: u32,
    /// How long the score must stay below it.
    pub clear_delay_s: u32,
    /// Who decided this and why.
    pub source: String,
    /// Only these tenants.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Only these devices.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// `[[rate]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Unique; letters, digits and `- _ .`, lower case.
    pub id: String,
    /// MDC RefId; must agree with `mdc_code`.
    pub metric: String,
    /// 32-bit MDC code.
    pub mdc_code: u32,
    /// UCUM unit of the change; must be the metric's.
    pub unit: String,
    /// A rise by more than this is an alarm. Either this or `falls_by`.
    pub rises_by: Option<f64>,
    /// A fall by more than this is an alarm.
    pub falls_by: Option<f64>,
    /// Within this time.
    pub within_s: u32,
    /// How far back the change must be to clear.
    pub hysteresis: f64,
    /// How long the change must stay above the limit; 0 raises at the first reading.
    pub onset_delay_s: u32,
    /// How long it must stay cleared.
    pub clear_delay_s: u32,
    /// Readings further apart are not compared.
    pub max_gap_s: u32,
    /// `low`, `medium` or `high`.
    pub priority: String,
    /// Where the limit comes from.
    pub source: String,
    /// Only these tenants.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Only these devices.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// `[[composite]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composite {
    /// Unique; letters, digits and `- _ .`, lower case.
    pub id: String,
    /// Rules that must all be present. Either this or `any_of`.
    #[serde(default)]
    pub all_of: Vec<String>,
    /// Rules of which one must be present.
    #[serde(default)]
    pub any_of: Vec<String>,
    /// With `all_of`: what ended this short ago still counts.
    #[serde(default)]
    pub within_s: u32,
    /// How long it must hold.
    pub onset_delay_s: u32,
    /// `low`, `medium` or `high`.
    pub priority: String,
    /// Who decided this and why.
    pub source: String,
    /// Only these tenants.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Only these devices.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// `[[suppress]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppress {
    /// The rule of the cause, or `device/...` for an alarm of the device.
    pub cause: String,
    /// The rules that are held back while it is present.
    pub rules: Vec<String>,
    /// How long after it they still are.
    pub settle_s: u32,
    /// Who decided this and why.
    pub source: String,
    /// Only these tenants.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Only these devices.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// `[[override]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// A `[[threshold]]`.
    pub rule: String,
    /// The limit in the place of the rule's `below`.
    pub below: Option<f64>,
    /// The limit in the place of the rule's `above`.
    pub above: Option<f64>,
    /// In force from this time on: `2026-11-21T08:00:00Z`.
    pub from: toml::value::Datetime,
    /// And before this one.
    pub until: toml::value::Datetime,
    /// Who decided it.
    pub author: String,
    /// Why.
    pub source: String,
    /// Only these tenants.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Only these devices.
    #[serde(default)]
    pub devices: Vec<String>,
}
