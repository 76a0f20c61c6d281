//! An alert or an event as one line, for people or for programs.

pub(super) use crate::alert_service::json::priority;
use crate::alert_service::json::{alert_json, event_json, phase, state};
use time::OffsetDateTime;
use time::macros::format_description;
use wardline_proto::v1::{AlarmPhase, Alert, AlertEvent, AlertState, News2Score, Priority, SignalEvidence};

/// An alarm of missing data that was told later than this was due while nothing ran.
const LATE_US: i64 = 2_000_000;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Json,
    Text { coloured: bool },
}

impl Style {
    /// Writes an event.
    pub(super) fn event(self, event: &AlertEvent) -> String {
        let alert = event.alert.clone().unwrap_or_default();
        match self {
            Self::Json => event_json(event).to_string(),
            Self::Text { coloured } => format!(
                "{} #{} {:<10} {}{}{}",
                clock(event.at_us),
                event.cursor,
                phase(event.phase()),
                describe(&alert, coloured && event.phase() != AlarmPhase::End),
                done(event, &alert),
                late(event),
            ),
        }
    }

    /// Writes an alert.
    pub(super) fn alert(self, alert: &Alert) -> String {
        match self {
            Self::Json => alert_json(alert).to_string(),
            Self::Text { coloured } => {
                let is_on = alert.state() != AlertState::Ended;
                let until = match alert.state() {
                    AlertState::Ended => format!("until {}", clock(alert.ended_us)),
                    on => state(on).to_owned(),
                };
                format!("{} {until} {}", clock(alert.onset_us), describe(alert, coloured && is_on))
            }
        }
    }
}

fn describe(alert: &Alert, coloured: bool) -> String {
    let priority = format!("{:<6}", priority(alert.priority()));
    let priority = match (coloured, alert.priority()) {
        // IEC 60601-1-8: red, yellow, cyan.
        (true, Priority::High) => format!("\x1b[1;31m{priority}\x1b[0m"),
        (true, Priority::Medium) => format!("\x1b[1;33m{priority}\x1b[0m"),
        (true, _) => format!("\x1b[36m{priority}\x1b[0m"),
        (false, _) => priority,
    };
    let (device, detail) = match (alert.device.as_str(), alert.detail.as_str()) {
        ("", "") => ("(gateway)", String::new()),
        ("", detail) => (detail, String::new()),
        (device, "") => (device, String::new()),
        (device, detail) => (device, format!(" ({detail})")),
    };
    let metric = if alert.mdc_ref_id.is_empty() { String::new() } else { format!(" {}", alert.mdc_ref_id) };
    let value = alert.value.map_or_else(String::new, |value| format!(" {value} {}", alert.ucum_unit));
    let limit = alert.limit.map_or_else(String::new, |limit| format!(" (limit {limit})"));
    let score = alert.news2.as_ref().map(score).unwrap_or_default();
    let id = alert.alert_id.get(..12).unwrap_or_default();
    let evidence = alert.evidence.as_ref().map(evidence).unwrap_or_default();
    let rule = &alert.rule_id;
    let said = format!("{device} {rule}{metric}{value}{limit}{detail}{score}{evidence} [{id}]");
    format!("{priority} {}", printable(&said))
}

/// Takes out what would act on a terminal: a device chooses some of these words.
pub(super) fn printable(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).collect()
}

/// Says what was done about an alert, when that is what the event is about.
fn done(event: &AlertEvent, alert: &Alert) -> String {
    let signal = alert.signal.clone().unwrap_or_default();
    match event.reason.as_str() {
        "acknowledged" => format!(" acknowledged by {}", signal.acknowledged_by),
        "paused" => format!(" paused until {} by {}", clock(signal.paused_until_us), signal.paused_by),
        "unacknowledged" => format!(" nobody acknowledged it ({})", signal.escalations),
        "strip" => waveforms(alert),
        "latched" | "pause_expired" | "pause_ended" | "re_alarm" => format!(" {}", event.reason),
        _ => String::new(),
    }
}

/// Says which waveforms there are around the onset.
fn waveforms(alert: &Alert) -> String {
    let streams = alert.strip.as_ref().map(|strip| strip.streams.as_slice()).unwrap_or_default();
    let gaps: usize = streams.iter().map(|stream| stream.gaps.len()).sum();
    format!(" waveforms around its onset: {}, gaps: {gaps}", streams.len())
}

/// What another signal says; nothing when it says nothing.
fn evidence(evidence: &SignalEvidence) -> String {
    let SignalEvidence { verdict, signal, pulses, rate_per_minute, .. } = evidence;
    match verdict.as_str() {
        "unavailable" => String::new(),
        verdict => format!(" ({verdict}: {signal} shows {pulses} pulses, {rate_per_minute:.0} /min)"),
    }
}

/// Says how late an event of time was told: nobody looked in between.
fn late(event: &AlertEvent) -> String {
    let late_us = event.stored_at_us - event.at_us;
    let told = event.reason == "data_missing" && late_us > LATE_US;
    if told { format!(" told {} s late: the gateway was away", late_us / 1_000_000) } else { String::new() }
}

/// A total, or what it cannot be below: never one in place of the other.
fn score(news2: &News2Score) -> String {
    match news2.total {
        Some(total) => format!(" NEWS2 {total}, {}", news2.band),
        None => {
            let (points, missing) = (news2.known_points, news2.missing.join(", "));
            format!(" NEWS2 incomplete, at least {points} ({}), without {missing}", news2.band)
        }
    }
}

pub(super) fn clock(us: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1000).ok();
    time.and_then(|t| t.format(&format).ok()).unwrap_or_else(|| us.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use wardline_proto::v1::AlarmKind;

    fn event() -> AlertEvent {
        let alert = Alert {
            alert_id: "0123456789abcdef".into(),
            tenant: "demo".into(),
            device: "mon-1".into(),
            rule_id: "spo2-low".into(),
            kind: AlarmKind::Physiological.into(),
            priority: Priority::High.into(),
            state: AlertState::Present.into(),
            mdc_code: 150_456,
            mdc_ref_id: "MDC_PULS_OXIM_SAT_O2".into(),
            ucum_unit: "%".into(),
            value: Some(84.0),
            limit: Some(90.0),
            onset_us: 1_700_000_000_000_000,
            ..Alert::default()
        };
        let (cursor, phase) = (7, AlarmPhase::Start.into());
        AlertEvent {
            cursor,
            phase,
            at_us: 1_700_000_005_250_000,
            alert: Some(alert),
            ..AlertEvent::default()
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let plain = Style::Text { coloured: false }.event(&event());
        assert_eq!(
            plain,
            "2023-11-14T22:13:25.250Z #7 start      high   mon-1 spo2-low MDC_PULS_OXIM_SAT_O2 84 % (limit 90) [0123456789ab]"
        );
        let coloured = Style::Text { coloured: true }.event(&event());
        assert_eq!(coloured.replace("\x1b[1;31m", "").replace("\x1b[0m", ""), plain);
        let parsed: Value = serde_json::from_str(&Style::Json.event(&event())).unwrap();
        assert_eq!(parsed["alert"]["priority"], "high");
        assert_eq!(parsed["alert"]["ended_us"], Value::Null);
    }

    #[test]
    fn what_a_device_says_does_not_act_on_the_terminal() {
        let mut event = event();
        let alert = event.alert.as_mut().unwrap();
        alert.rule_id = "device/\x1b[2Jc\u{9b}1\r\n".into();
        (alert.ucum_unit, alert.detail) = ("%\x07".into(), "+31 % within 60 s".into());
        let line = Style::Text { coloured: false }.event(&event);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(
            line.contains("device/[2Jc1 MDC_PULS_OXIM_SAT_O2 84 % (limit 90) (+31 % within 60 s)"),
            "{line}"
        );
    }

    #[test]
    fn an_incomplete_score_is_never_shown_as_a_total() {
        let mut event = event();
        let missing = vec!["consciousness".to_owned(), "temperature".to_owned()];
        let news2 = News2Score { known_points: 6, total: None, band: "medium".into(), missing };
        if let Some(alert) = &mut event.alert {
            alert.news2 = Some(news2);
        }
        let line = Style::Text { coloured: false }.event(&event);
        assert!(
            line.contains("NEWS2 incomplete, at least 6 (medium), without consciousness, temperature"),
            "{line}"
        );
        let parsed: Value = serde_json::from_str(&Style::Json.event(&event)).unwrap();
        assert_eq!(
            (&parsed["alert"]["news2"]["total"], &parsed["alert"]["news2"]["known_points"]),
            (&Value::Null, &json!(6))
        );
    }
}
