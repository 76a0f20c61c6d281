//! FHIR R6 preview: an alert as a DeviceAlert, by the ballot `6.0.0-ballot3`. R6 is not published: this changes with it.

use super::{device, event_code, is_present, label, priority, side, timing};
use crate::observation::quantity;
use crate::systems::{ALERT, MDC};
use crate::time::instant;
use serde_json::{Value, json};
use wardline_proto::v1::{AlarmKind, Alert, AlertEvent, AlertState};

/// Makes the DeviceAlert of an event.
pub fn device_alert(event: &AlertEvent) -> Value {
    let alert = event.alert.clone().unwrap_or_default();
    let version = event.cursor.to_string();
    json!({
        "resourceType": "DeviceAlert",
        "id": alert.alert_id,
        "meta": { "versionId": version, "lastUpdated": instant(event.stored_at_us) },
        "identifier": [{ "system": ALERT, "value": alert.alert_id }],
        "status": if alert.state() == AlertState::Ended { "completed" } else { "in-progress" },
        "type": if alert.kind() == AlarmKind::Physiological { "physiological" } else { "technical" },
        "priority": if priority(&alert) == "none" { "info" } else { priority(&alert) },
        // Who wears the device is what FHIR searches answer; an alert knows its device.
        "subject": device(&alert),
        "source": device(&alert),
        "condition": condition(event, &alert),
        "label": label(&alert),
        "signal": [signal(&alert)],
    })
}

fn condition(event: &AlertEvent, alert: &Alert) -> Value {
    let (name, code) = event_code(event);
    let is_acknowledged = alert.state() == AlertState::Acknowledged;
    let mut condition = json!({
        "code": { "coding": [{ "system": MDC, "code": code.to_string(), "display": name }] },
        "acknowledged": is_acknowledged,
        "presence": is_present(alert),
        "timing": timing(alert),
    });
    if let (Some(limit), Some(side), Some(condition)) = (alert.limit, side(event), condition.as_object_mut())
    {
        // The range that the value should have been in: from a low limit on, or up to a high one.
        condition.insert("limit".into(), json!({ side: quantity(limit, &alert.ucum_unit) }));
    }
    condition
}

fn signal(alert: &Alert) -> Value {
    let (activation, presence) = match alert.state() {
        AlertState::Paused => ("paused", "off"),
        AlertState::Acknowledged => ("on", "ack"),
        AlertState::Latched => ("on", "latched"),
        AlertState::Ended => ("on", "off"),
        AlertState::Present | AlertState::Unspecified => ("on", "on"),
    };
    json!({ "activationState": activation, "presence": presence })
}

#[cfg(test)]
mod tests {
    use super::super::tests::low_spo2;
    use super::*;

    #[test]
    fn condition_and_signal_are_kept_apart() {
        let mut event = low_spo2();
        let alert = device_alert(&event);
        assert_eq!(
            (alert["priority"].as_str(), alert["condition"]["presence"].as_bool()),
            (Some("high"), Some(true))
        );
        event.alert.as_mut().unwrap().state = AlertState::Latched.into();
        let latched = device_alert(&event);
        assert_eq!(latched["condition"]["presence"], false);
        assert_eq!(
            (latched["status"].as_str(), latched["signal"][0]["presence"].as_str()),
            (Some("in-progress"), Some("latched"))
        );
    }
}
