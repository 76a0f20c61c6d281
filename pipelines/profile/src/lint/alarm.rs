//! The `[[measurement.alarm]]` of a measurement.

use super::section::Section;
use crate::limits::ONSET_DELAY_S_MAX;
use crate::profile::{AlarmDefault, Cadence, Limit, Signal};
use toml::de::DeTable;
use wardline_proto::refusal::Refusal;

/// Reads all of them and checks them against each other.
pub(super) fn read_all(
    parent: &mut Section<'_, '_>,
    entries: Vec<(u32, DeTable<'_>)>,
    signal: Option<&Signal>,
    cadence: Option<&Cadence>,
) -> Vec<AlarmDefault> {
    let mut alarms: Vec<AlarmDefault> = Vec::with_capacity(entries.len());
    for (number, (line, table)) in entries.into_iter().enumerate() {
        let place = format!("{}.alarm {}", parent.place(), number + 1);
        let mut section = Section::new(&place, line, table, parent.notes());
        let Some(alarm) = read(&mut section, signal, cadence) else {
            section.finish();
            continue;
        };
        let is_same_side = |other: &AlarmDefault| is_below(other.limit) == is_below(alarm.limit);
        if alarms.iter().any(is_same_side) {
            section.error(Refusal::ProfileTwice, side(alarm.limit), "a second limit on this side");
        }
        if let Some(other) = alarms.iter().find(|other| !is_same_side(other)) {
            let (below, above) = if is_below(alarm.limit) {
                (value(alarm.limit), value(other.limit))
            } else {
                (value(other.limit), value(alarm.limit))
            };
            if below >= above {
                let message = "the limits cross: every value alarms";
                section.error(Refusal::ProfileAlarm, side(alarm.limit), message);
            }
        }
        section.finish();
        alarms.push(alarm);
    }
    alarms
}

fn read(
    section: &mut Section<'_, '_>,
    signal: Option<&Signal>,
    cadence: Option<&Cadence>,
) -> Option<AlarmDefault> {
    let (below, above) = (section.maybe_number("below"), section.maybe_number("above"));
    let limit = match (below, above) {
        (Some(limit), None) => Some(Limit::Below(limit)),
        (None, Some(limit)) => Some(Limit::Above(limit)),
        _ => None,
    };
    if limit.is_none() {
        section.error(Refusal::ProfileAlarm, "below", "give either below or above");
    }
    let word = |word: &str| matches!(word, "low" | "medium" | "high").then(|| word.to_owned());
    let priority = section.word("priority", "low, medium or high", word);
    let onset_delay_s = section.whole("onset_delay_s", (0, ONSET_DELAY_S_MAX));
    let hysteresis = section.number("hysteresis");
    let source = section.text("source");
    if let (Some(limit), Some(signal)) = (limit, signal) {
        check_limit(section, limit, hysteresis, signal);
    }
    if let (Some(delay_s), Some(cadence)) = (onset_delay_s, cadence)
        && delay_s > 0
        && delay_s * 1000 < cadence.interval_ms
    {
        section.advise("onset_delay_s", "shorter than the interval between readings: it delays nothing");
    }
    Some(AlarmDefault {
        limit: limit?,
        priority: priority?,
        onset_delay_s: u32::try_from(onset_delay_s?).ok()?,
        hysteresis: hysteresis?,
        source: source?,
    })
}

/// Checks that a plausible value can cross the limit, and that one can come back.
fn check_limit(section: &mut Section<'_, '_>, limit: Limit, hysteresis: Option<f64>, signal: &Signal) {
    let at = value(limit);
    let crossed = match limit {
        Limit::Below(_) => at > signal.low && at <= signal.high,
        Limit::Above(_) => at < signal.high && at >= signal.low,
    };
    if !crossed {
        let message = format!("no value from {} to {} crosses {at}", signal.low, signal.high);
        section.error(Refusal::ProfileAlarm, side(limit), message);
    }
    let Some(hysteresis) = hysteresis else { return };
    let cleared_at = if is_below(limit) { at + hysteresis } else { at - hysteresis };
    if hysteresis < 0.0 || !signal.is_plausible(cleared_at) {
        section.error(Refusal::ProfileAlarm, "hysteresis", "at least 0, and a plausible value must clear it");
    } else if signal.resolution.is_some_and(|step| hysteresis < step) {
        section.advise("hysteresis", "less than one step of the value: the alarm will chatter");
    }
}

fn value(limit: Limit) -> f64 {
    match limit {
        Limit::Below(value) | Limit::Above(value) => value,
    }
}

fn is_below(limit: Limit) -> bool {
    matches!(limit, Limit::Below(_))
}

fn side(limit: Limit) -> &'static str {
    if is_below(limit) { "below" } else { "above" }
}
