//! Reads a profile and tells everything that is wrong with it, each with its line and a stable code.
//!
//! | code | what |
//! |---|---|
//! | WL-PRF-001 | not TOML, or larger than a profile may be |
//! | WL-PRF-002 | a key that is unknown, missing or of the wrong type |
//! | WL-PRF-003 | reference id, code, LOINC and kind that do not belong together |
//! | WL-PRF-004 | a unit that is not the metric's |
//! | WL-PRF-005 | a number or word outside its bounds |
//! | WL-PRF-006 | an alarm default that cannot alarm, cannot clear or has no source |
//! | WL-PRF-007 | a second entry for what there is one of |
//! | WL-PRF-008 | changed content under the old version ([`crate::revision`]) |
//! | WL-PRF-009 | advice: the only one that is a warning |

mod alarm;
mod measurement;
mod section;

use crate::limits::{
    KEEP_ALIVE_S, MEASUREMENTS_MAX, OFFLINE_HOURS_ADVISED, OFFLINE_HOURS_MAX, PROFILE_BYTES_MAX,
    RECONNECT_S_MAX, SKEW_S_MAX,
};
use crate::profile::{ClockRule, Connection, Profile, Sync};
use section::{Notes, Section};
use serde::Serialize;
use std::fmt;
use toml::de::DeTable;
use wardline_proto::DeviceId;
use wardline_proto::refusal::Refusal;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The profile is not usable.
    Error,
    /// The profile is usable; somebody should look.
    Warning,
}

/// One thing that is wrong with a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Line of the file, from 1.
    pub line: u32,
    /// How bad it is.
    pub severity: Severity,
    /// Stable code with a page in `docs/errors`.
    pub code: &'static str,
    /// Where in the profile: `profile.version`, `MDC_ECG_HEART_RATE.low`.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "line {}: {severity} {} {}: {}", self.line, self.code, self.place, self.message)
    }
}

/// What came of a text: a profile unless there is an error, and every finding in order of lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Linted {
    /// The profile, when no finding is an error.
    pub profile: Option<Profile>,
    /// Every finding.
    pub findings: Vec<Finding>,
}

impl Linted {
    /// Counts the findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }
}

/// Reads a profile's text.
pub fn lint(text: &str) -> Linted {
    let mut notes = Notes::of(text);
    let profile = read(text, &mut notes);
    let mut findings = notes.findings;
    findings.sort_by_key(|f| f.line);
    let failed = findings.iter().any(|f| f.severity == Severity::Error);
    Linted { profile: profile.filter(|_| !failed), findings }
}

fn read(text: &str, notes: &mut Notes) -> Option<Profile> {
    if text.len() > PROFILE_BYTES_MAX {
        let message = format!("larger than {PROFILE_BYTES_MAX} bytes");
        notes.error(1, Refusal::ProfileUnreadable, "file", message);
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(1, |span| notes.line_of(span.start));
        notes.error(line, Refusal::ProfileUnreadable, "file", error.message());
    }
    if !errors.is_empty() {
        return None;
    }
    let mut file = Section::new("", 1, table.into_inner(), notes);
    let head = file.table("profile");
    let clock = file.table("clock");
    let connection = file.table("connection");
    let entries = file.tables("measurement", MEASUREMENTS_MAX);
    file.finish();

    let head = head.and_then(|(line, table)| read_head(Section::new("profile", line, table, notes)));
    let clock = clock.and_then(|(line, table)| read_clock(Section::new("clock", line, table, notes)));
    let connection =
        connection.and_then(|(line, table)| read_connection(Section::new("connection", line, table, notes)));
    if entries.is_empty() {
        notes.error(1, Refusal::ProfileKey, "measurement", "a profile has at least one [[measurement]]");
    }
    let mut measurements = Vec::with_capacity(entries.len());
    for (number, (line, table)) in entries.into_iter().enumerate() {
        let place = format!("measurement {}", number + 1);
        let Some(measurement) = measurement::read(Section::new(&place, line, table, notes)) else { continue };
        measurements.push((line, measurement));
    }
    let mut seen: Vec<u32> = Vec::with_capacity(measurements.len());
    for (line, measurement) in &measurements {
        if seen.contains(&measurement.mdc_code) {
            notes.error(*line, Refusal::ProfileTwice, &measurement.ref_id, "a second entry for this code");
        }
        seen.push(measurement.mdc_code);
    }
    let measurements = measurements.into_iter().map(|(_, measurement)| measurement).collect();
    let Head { model, version, maker, display_name, udi_di } = head?;
    let (clock, connection) = (clock?, connection?);
    Some(Profile { model, version, maker, display_name, udi_di, clock, connection, measurements })
}

struct Head {
    model: String,
    version: u32,
    maker: String,
    display_name: String,
    udi_di: Option<String>,
}

fn read_head(mut section: Section<'_, '_>) -> Option<Head> {
    let model = id(&mut section, "model");
    let version = section.whole("version", (1, u64::from(u32::MAX)));
    let maker = id(&mut section, "maker");
    let display_name = section.text("display_name");
    let udi_di = section.maybe_text("udi_di");
    match &udi_di {
        None => {
            section.advise("udi_di", "no device identifier of a UDI: regulators and hospitals ask for one")
        }
        Some(di) if di.bytes().all(|b| b.is_ascii_digit()) && !is_gtin_14(di) => {
            let message = format!("{di} is no GTIN-14: fourteen digits, the last a GS1 check digit");
            section.error(Refusal::ProfileBound, "udi_di", message);
        }
        Some(_) => {}
    }
    section.finish();
    let version = u32::try_from(version?).ok()?;
    Some(Head { model: model?, version, maker: maker?, display_name: display_name?, udi_di })
}

fn id(section: &mut Section<'_, '_>, key: &str) -> Option<String> {
    let text = section.text(key)?;
    if DeviceId::new(&text).is_err() {
        let grammar = "an id is 1 to 64 of a-z 0-9 . _ - and starts and ends with a letter or digit";
        section.error(Refusal::ProfileBound, key, grammar);
    }
    Some(text)
}

/// Says whether a text is a GTIN of fourteen digits with its check digit (GS1 General Specifications 7.9).
fn is_gtin_14(text: &str) -> bool {
    let sum: u32 = text.bytes().zip([3, 1].into_iter().cycle()).map(|(b, w)| u32::from(b - b'0') * w).sum();
    text.len() == 14 && sum.is_multiple_of(10)
}

fn read_clock(mut section: Section<'_, '_>) -> Option<ClockRule> {
    let max_skew_s = section.number("max_skew_s");
    if max_skew_s.is_some_and(|skew| skew <= 0.0 || skew > SKEW_S_MAX) {
        section.error(Refusal::ProfileBound, "max_skew_s", format!("above 0, at most {SKEW_S_MAX} s"));
    }
    let sync = section.word("sync", "none, ntp or gateway", Sync::from_word);
    section.finish();
    Some(ClockRule { max_skew_s: max_skew_s?, sync: sync? })
}

fn read_connection(mut section: Section<'_, '_>) -> Option<Connection> {
    let keep_alive_s = section.whole("keep_alive_s", KEEP_ALIVE_S);
    let reconnect_max_s = section.whole("reconnect_max_s", (1, RECONNECT_S_MAX));
    let offline_hours = section.whole("offline_hours", (1, OFFLINE_HOURS_MAX));
    if offline_hours.is_some_and(|hours| hours < OFFLINE_HOURS_ADVISED) {
        let message =
            format!("below {OFFLINE_HOURS_ADVISED} h, a long weekend without a gateway loses readings");
        section.advise("offline_hours", message);
    }
    section.finish();
    Some(Connection {
        keep_alive_s: u16::try_from(keep_alive_s?).ok()?,
        reconnect_max_s: u32::try_from(reconnect_max_s?).ok()?,
        offline_hours: u32::try_from(offline_hours?).ok()?,
    })
}

#[cfg(test)]
mod tests;
