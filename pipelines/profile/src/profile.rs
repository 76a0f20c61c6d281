//! A profile as data. Only [`crate::lint`] makes one, so what it says is consistent.

use serde::Serialize;
use wardline_proto::v1::SyncState;

/// What a model of device measures and how it behaves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Id of the model, in the grammar of device ids.
    pub model: String,
    /// Version of this profile, from 1; it rises with every change.
    pub version: u32,
    /// Tenant id of the maker.
    pub maker: String,
    /// What people call the model.
    pub display_name: String,
    /// Device identifier of the UDI, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udi_di: Option<String>,
    /// What the device promises about its clock.
    pub clock: ClockRule,
    /// What the device promises about its connection.
    pub connection: Connection,
    /// What it measures, in the file's order.
    pub measurements: Vec<Measurement>,
}

/// What a device promises about its clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClockRule {
    /// Greatest difference to the gateway's clock, seconds.
    pub max_skew_s: f64,
    /// How the clock is kept.
    pub sync: Sync,
}

/// How a clock is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// Free-running.
    None,
    /// Disciplined by NTP.
    Ntp,
    /// Set from the gateway.
    Gateway,
}

impl Sync {
    /// Finds the state of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::None, Self::Ntp, Self::Gateway].into_iter().find(|sync| sync.word() == word)
    }

    /// Returns the word of the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ntp => "ntp",
            Self::Gateway => "gateway",
        }
    }

    /// Returns what frames say of such a clock.
    pub fn state(self) -> SyncState {
        match self {
            Self::None => SyncState::None,
            Self::Ntp => SyncState::Ntp,
            Self::Gateway => SyncState::Gateway,
        }
    }
}

/// What a device promises about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// MQTT keep-alive, seconds.
    pub keep_alive_s: u16,
    /// Longest time from a cut to the next session while the gateway is there, seconds.
    pub reconnect_max_s: u32,
    /// How long it keeps readings while the gateway is away, hours.
    pub offline_hours: u32,
}

/// What kind of thing is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Single readings.
    Numeric,
    /// Equally spaced samples.
    Waveform,
    /// Alarms that the device raises itself.
    Alarm,
}

impl Kind {
    /// Finds the kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Numeric, Self::Waveform, Self::Alarm].into_iter().find(|kind| kind.word() == word)
    }

    /// Returns the word of the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Waveform => "waveform",
            Self::Alarm => "alarm",
        }
    }
}

/// One thing that the model measures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// MDC reference id.
    pub ref_id: String,
    /// 32-bit MDC code of the same term.
    pub mdc_code: u32,
    /// LOINC, where the metric has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loinc: Option<String>,
    /// Kind of thing.
    pub kind: Kind,
    /// How often; none for what comes when it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cadence: Option<Cadence>,
    /// Its values; none for an alarm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// The model's default limits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<AlarmDefault>,
}

/// How often a reading or block is due, by its device time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cadence {
    /// Expected interval, milliseconds.
    pub interval_ms: u64,
    /// How much an interval may differ, milliseconds.
    pub tolerance_ms: u64,
}

impl Cadence {
    /// Returns the longest interval that keeps the promise, microseconds.
    pub fn longest_us(&self) -> i64 {
        i64::try_from((self.interval_ms + self.tolerance_ms) * 1000).unwrap_or(i64::MAX)
    }
}

/// The values of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signal {
    /// UCUM unit.
    pub unit: String,
    /// Least plausible value in the unit.
    pub low: f64,
    /// Greatest plausible value in the unit.
    pub high: f64,
    /// Step between two values, in the unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<f64>,
    /// Samples per second of a waveform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate_hz: Option<f64>,
}

impl Signal {
    /// Says whether a value lies in the plausible range.
    pub fn is_plausible(&self, value: f64) -> bool {
        value >= self.low && value <= self.high
    }
}

/// A default limit of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlarmDefault {
    /// Where it is.
    pub limit: Limit,
    /// `low`, `medium` or `high`, IEC 60601-1-8.
    pub priority: String,
    /// How long the value must be beyond the limit, seconds.
    pub onset_delay_s: u32,
    /// How far the value must come back, in the unit.
    pub hysteresis: f64,
    /// Where the limit comes from.
    pub source: String,
}

/// A side and a value, in the measurement's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Alarms below it.
    Below(f64),
    /// Alarms above it.
    Above(f64),
}

impl Profile {
    /// Finds the measurement of a code.
    pub fn measurement(&self, mdc_code: u32) -> Option<&Measurement> {
        self.measurements.iter().find(|m| m.mdc_code == mdc_code)
    }
}
