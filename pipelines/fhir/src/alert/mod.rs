//! Alerts in others' forms, all from one model: the event that every subscriber gets.

mod detected_issue;
mod device_alert;
mod pcd04;

pub use detected_issue::detected_issue;
pub use device_alert::device_alert;
pub use pcd04::{Sender, pcd04};

use serde_json::{Value, json};
use wardline_proto::codes::{ALARM_EVENTS, EVT_LO};
use wardline_proto::v1::{Alert, AlertState, Priority};

/// `MDC_EVT_ALARM`: an alarm, when no more is known.
const EVT_ALARM: (&str, u32) = ("MDC_EVT_ALARM", 196_616);
const EVT_HI: (&str, u32) = ("MDC_EVT_HI", 196_648);
const EVT_LO_NAMED: (&str, u32) = ("MDC_EVT_LO", EVT_LO);

/// Returns the MDC event that says best what an alert is: beyond which limit a value is, or that there is an alarm.
fn event_code(alert: &Alert) -> (&'static str, u32) {
    match (alert.value, alert.limit) {
        (Some(value), Some(limit)) if value < limit => EVT_LO_NAMED,
        (Some(value), Some(limit)) if value > limit => EVT_HI,
        _ => ALARM_EVENTS.iter().find(|(_, code)| *code == alert.mdc_code).copied().unwrap_or(EVT_ALARM),
    }
}

/// Says what an alert is of, for people.
fn label(alert: &Alert) -> String {
    let what = if alert.mdc_ref_id.is_empty() { String::new() } else { format!(" {}", alert.mdc_ref_id) };
    let value = alert.value.map_or_else(String::new, |value| format!(" {value} {}", alert.ucum_unit));
    let limit = alert.limit.map_or_else(String::new, |limit| format!(" (limit {limit})"));
    format!("{}{what}{value}{limit}", alert.rule_id)
}

/// Whether the condition is there, whatever is done about its signal.
fn is_present(alert: &Alert) -> bool {
    alert.ended_us == 0 && !matches!(alert.state(), AlertState::Ended | AlertState::Latched)
}

fn priority(alert: &Alert) -> &'static str {
    match alert.priority() {
        Priority::High => "high",
        Priority::Medium => "medium",
        Priority::Low => "low",
        Priority::Unspecified => "none",
    }
}

/// The period of a condition.
fn timing(alert: &Alert) -> Value {
    let start = crate::time::instant(alert.onset_us);
    match alert.ended_us {
        0 => json!({ "start": start }),
        // A clock that was set back must not make a period that ends before it starts.
        ended_us => json!({ "start": start, "end": crate::time::instant(ended_us.max(alert.onset_us)) }),
    }
}

/// Refers to a device of ours, or to the gateway itself.
fn device(alert: &Alert) -> Value {
    match alert.device.as_str() {
        "" => json!({ "display": if alert.detail.is_empty() { "gateway" } else { &alert.detail } }),
        name => json!({ "reference": format!("Device/{}", crate::id::device(name)) }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use wardline_proto::v1::{AlarmPhase, Alert, AlertEvent, AlertSignal, AlertState, Priority};

    /// An event of an alert that is present: SpO2 below its limit.
    pub(crate) fn low_spo2() -> AlertEvent {
        let alert = Alert {
            alert_id: "ab".repeat(32),
            tenant: "demo".into(),
            device: "mon_1".into(),
            rule_id: "spo2-low".into(),
            kind: wardline_proto::v1::AlarmKind::Physiological.into(),
            priority: Priority::High.into(),
            state: AlertState::Present.into(),
            mdc_code: 150_456,
            mdc_ref_id: "MDC_PULS_OXIM_SAT_O2".into(),
            ucum_unit: "%".into(),
            value: Some(84.5),
            limit: Some(90.0),
            onset_us: 1_700_000_000_000_000,
            site: "icu|1".into(),
            signal: Some(AlertSignal::default()),
            ..Alert::default()
        };
        AlertEvent {
            cursor: 7,
            phase: AlarmPhase::Start.into(),
            reason: "onset".into(),
            at_us: 1_700_000_005_250_000,
            stored_at_us: 1_700_000_005_300_000,
            alert: Some(alert),
        }
    }
}
