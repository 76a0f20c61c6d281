//! Alerts in others' forms, all from one model: the event that every subscriber gets.

mod detected_issue;
mod device_alert;
mod pcd04;

pub use detected_issue::detected_issue;
pub use device_alert::device_alert;
pub use pcd04::{Sender, pcd04};

use serde_json::{Value, json};
use wardline_proto::codes::{ALARM_EVENTS, EVT_LO};
use wardline_proto::v1::{Alert, AlertEvent, AlertState, Priority};

/// `MDC_EVT_ALARM`: an alarm, when no more is known.
const EVT_ALARM: (&str, u32) = ("MDC_EVT_ALARM", 196_616);
const EVT_HI: (&str, u32) = ("MDC_EVT_HI", 196_648);
const EVT_LO_NAMED: (&str, u32) = ("MDC_EVT_LO", EVT_LO);

/// Returns on which side of its limit the value was, or had been before it cleared; none where the event does not tell.
fn side(event: &AlertEvent) -> Option<&'static str> {
    let alert = event.alert.as_ref()?;
    let (value, limit) = (alert.value?, alert.limit?);
    let is_below = match event.reason.as_str() {
        // The value that came late is the one beyond the limit.
        "retrospective" => value < limit,
        _ if is_present(alert) => value < limit,
        // The value is the one that cleared it.
        "cleared" | "latched" => value > limit,
        _ => return None,
    };
    let is_told = value.partial_cmp(&limit).is_some_and(std::cmp::Ordering::is_ne);
    is_told.then_some(if is_below { "low" } else { "high" })
}

/// Returns the MDC event that says best what an alert is: beyond which limit a value is, or that there is an alarm.
fn event_code(event: &AlertEvent) -> (&'static str, u32) {
    let code = event.alert.as_ref().map_or(0, |alert| alert.mdc_code);
    match side(event) {
        Some("low") => EVT_LO_NAMED,
        Some(_) => EVT_HI,
        None => ALARM_EVENTS.iter().find(|(_, event)| *event == code).copied().unwrap_or(EVT_ALARM),
    }
}

/// Says what an alert is of, for people.
fn label(alert: &Alert) -> String {
    let what = if alert.mdc_ref_id.is_empty() { String::new() } else { format!(" {}", alert.mdc_ref_id) };
    let value = alert.value.map_or_else(String::new, |value| format!(" {value} {}", alert.ucum_unit));
    let limit = alert.limit.map_or_else(String::new, |limit| format!(" (limit {limit})"));
    let detail = match (alert.device.as_str(), alert.detail.as_str()) {
        ("", _) | (_, "") => String::new(),
        (_, detail) => format!(" ({detail})"),
    };
    format!("{}{what}{value}{limit}{detail}", alert.rule_id)
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
    use super::{event_code, label, side};
    use wardline_proto::v1::{AlarmPhase, Alert, AlertEvent, AlertSignal, AlertState, Priority};

    #[test]
    fn a_low_alarm_stays_a_low_alarm_when_its_value_has_recovered() {
        let mut event = low_spo2();
        assert_eq!((side(&event), event_code(&event).0), (Some("low"), "MDC_EVT_LO"));
        let of = |event: &mut AlertEvent, reason: &str, value, state: AlertState| {
            event.reason = reason.into();
            let alert = event.alert.as_mut().unwrap();
            (alert.value, alert.state) = (Some(value), state.into());
            event_code(event).0
        };
        assert_eq!(of(&mut event, "cleared", 93.0, AlertState::Ended), "MDC_EVT_LO");
        assert_eq!(of(&mut event, "latched", 93.0, AlertState::Latched), "MDC_EVT_LO");
        assert_eq!(of(&mut event, "cleared", 90.0, AlertState::Ended), "MDC_EVT_ALARM");
        assert_eq!(of(&mut event, "retrospective", 84.0, AlertState::Ended), "MDC_EVT_LO");
        assert_eq!(of(&mut event, "acknowledged", 93.0, AlertState::Ended), "MDC_EVT_ALARM");
        assert_eq!(of(&mut event, "onset", 93.0, AlertState::Present), "MDC_EVT_HI");
    }

    #[test]
    fn a_change_is_told_beside_the_reading_and_not_as_one() {
        let mut event = low_spo2();
        let alert = event.alert.as_mut().unwrap();
        (alert.rule_id, alert.limit, alert.detail) = ("fall".into(), None, "-9 % within 60 s".into());
        assert_eq!((side(&event), event_code(&event).0), (None, "MDC_EVT_ALARM"));
        let told = label(event.alert.as_ref().unwrap());
        assert_eq!(told, "fall MDC_PULS_OXIM_SAT_O2 84.5 % (-9 % within 60 s)");
    }

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
