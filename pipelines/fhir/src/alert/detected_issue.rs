//! FHIR R4: an alert as a DetectedIssue, with the value that it is about as an Observation inside.
//!
//! R4 has no resource for an alarm. DetectedIssue has its severity, its period, its author, its evidence, and what was
//! done about it; docs/alert-formats.md says why not Flag or Communication.

use super::{device, event_code, label, side, timing};
use crate::observation::{codings, quantity};
use crate::systems::{ACT, ALERT, MDC, RULE};
use crate::time::instant;
use serde_json::{Map, Value, json};
use wardline_proto::v1::{Alert, AlertEvent, AlertState, Priority};

/// Makes the DetectedIssue of an event: the alert as it was then. `meta.versionId` is the event's cursor.
pub fn detected_issue(event: &AlertEvent) -> Value {
    let alert = event.alert.clone().unwrap_or_default();
    let value = value(event, &alert);
    let mut resource = Map::new();
    let mut put = |name: &str, value: Value| drop(resource.insert(name.to_owned(), value));
    put("resourceType", "DetectedIssue".into());
    put("id", alert.alert_id.as_str().into());
    let version = event.cursor.to_string();
    put("meta", json!({ "versionId": version, "lastUpdated": instant(event.stored_at_us) }));
    put("identifier", json!([{ "system": ALERT, "value": alert.alert_id }]));
    // Preliminary while it goes on: what it says still changes.
    let is_over = alert.state() == AlertState::Ended;
    put("status", if is_over { "final" } else { "preliminary" }.into());
    put("code", code(event, &alert));
    if let Some(severity) = severity(&alert) {
        put("severity", severity.into());
    }
    put("identifiedPeriod", timing(&alert));
    put("author", device(&alert));
    put("detail", label(&alert).into());
    if let Some(value) = value {
        put("contained", json!([value]));
        put("evidence", json!([{ "detail": [{ "reference": "#value" }] }]));
    }
    let mitigation = mitigation(&alert);
    if !mitigation.is_empty() {
        put("mitigation", mitigation.into());
    }
    Value::Object(resource)
}

fn code(event: &AlertEvent, alert: &Alert) -> Value {
    let (name, code) = event_code(event);
    json!({
        "coding": [
            { "system": MDC, "code": code.to_string(), "display": name },
            { "system": RULE, "code": alert.rule_id },
        ],
        "text": label(alert),
    })
}

fn severity(alert: &Alert) -> Option<&'static str> {
    match alert.priority() {
        Priority::High => Some("high"),
        Priority::Medium => Some("moderate"),
        Priority::Low => Some("low"),
        Priority::Unspecified => None,
    }
}

/// The value as of the event, with the limit that it was beyond.
fn value(event: &AlertEvent, alert: &Alert) -> Option<Value> {
    let value = alert.value.filter(|value| value.is_finite() && alert.mdc_code != 0)?;
    let mut observation = json!({
        "resourceType": "Observation",
        "id": "value",
        "status": "final",
        "code": { "coding": codings(alert.mdc_code, &alert.mdc_ref_id) },
        "effectiveDateTime": instant(event.at_us),
        "device": device(alert),
        "valueQuantity": quantity(value, &alert.ucum_unit),
    });
    if let (Some(side), Some(limit), Some(observation)) =
        (side(event), alert.limit, observation.as_object_mut())
    {
        observation.insert("referenceRange".into(), json!([{ side: quantity(limit, &alert.ucum_unit) }]));
    }
    Some(observation)
}

/// What people did about it.
fn mitigation(alert: &Alert) -> Vec<Value> {
    let Some(signal) = &alert.signal else { return Vec::new() };
    let act = |code: &str, text: String, who: &str, at_us: i64| {
        let mut act = json!({
            "action": { "coding": [{ "system": ACT, "code": code }], "text": text },
            "author": { "identifier": { "system": "urn:ietf:rfc:3986", "value": who } },
        });
        if let (true, Some(act)) = (at_us != 0, act.as_object_mut()) {
            act.insert("date".into(), instant(at_us).into());
        }
        act
    };
    let mut acts = Vec::new();
    if !signal.acknowledged_by.is_empty() {
        let (who, at_us) = (&signal.acknowledged_by, signal.acknowledged_at_us);
        acts.push(act("acknowledged", "acknowledged".into(), who, at_us));
    }
    if !signal.paused_by.is_empty() {
        let text = format!("paused until {}", instant(signal.paused_until_us));
        acts.push(act("paused", text, &signal.paused_by, 0));
    }
    acts
}

#[cfg(test)]
mod tests {
    use super::super::tests::low_spo2;
    use super::*;
    use wardline_proto::v1::AlertSignal;

    #[test]
    fn an_alert_has_its_severity_its_period_and_its_value() {
        let issue = detected_issue(&low_spo2());
        assert_eq!(
            (issue["severity"].as_str(), issue["status"].as_str()),
            (Some("high"), Some("preliminary"))
        );
        assert_eq!(issue["code"]["coding"][0]["code"], "196670");
        assert_eq!(issue["contained"][0]["valueQuantity"]["value"], 84.5);
        assert_eq!(issue["contained"][0]["referenceRange"][0]["low"]["value"], 90.0);
        assert_eq!(issue["author"]["reference"], "Device/monU1");
        assert!(issue["identifiedPeriod"].get("end").is_none() && issue.get("mitigation").is_none());
    }

    #[test]
    fn what_people_did_is_told() {
        let mut event = low_spo2();
        let alert = event.alert.as_mut().unwrap();
        alert.ended_us = alert.onset_us + 1_000_000;
        alert.state = AlertState::Ended.into();
        let (acknowledged_by, acknowledged_at_us) =
            ("spiffe://x/tenant/demo/user/ann".to_owned(), alert.ended_us);
        alert.signal = Some(AlertSignal { acknowledged_by, acknowledged_at_us, ..AlertSignal::default() });
        let issue = detected_issue(&event);
        assert_eq!(
            (issue["status"].as_str(), issue["mitigation"][0]["action"]["text"].as_str()),
            (Some("final"), Some("acknowledged"))
        );
        assert_eq!(issue["identifiedPeriod"]["end"], "2023-11-14T22:13:21.000000Z");
    }
}
