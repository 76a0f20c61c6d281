//! What the engine says: an alert began, changed or ended.

use ring::digest::{Context, SHA256};
use wardline_proto::v1::{AlarmKind, AlarmPhase, Alert, AlertState, Priority};
use wardline_proto::{DeviceKey, codes};

/// One change of one alert, before it has a cursor.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// What happened.
    pub phase: AlarmPhase,
    /// Why, in one word.
    pub reason: &'static str,
    /// Event time, unix microseconds.
    pub at_us: i64,
    /// The alert after it.
    pub alert: Alert,
}

impl Transition {
    pub(crate) fn start(alert: Alert, reason: &'static str, at_us: i64) -> Self {
        Self { phase: AlarmPhase::Start, reason, at_us, alert }
    }

    pub(crate) fn end(mut alert: Alert, reason: &'static str, at_us: i64) -> Self {
        alert.set_state(AlertState::Ended);
        // An end before its onset can only come from a clock that moved; 0 would read as present.
        alert.ended_us = at_us.max(alert.onset_us).max(1);
        Self { phase: AlarmPhase::End, reason, at_us, alert }
    }
}

/// What an alert is about, before it has a device and an onset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) rule_id: &'a str,
    pub(crate) kind: AlarmKind,
    pub(crate) priority: Priority,
    pub(crate) mdc_code: u32,
}

/// Makes a present alert of a device.
pub(crate) fn alert(key: &DeviceKey, subject: Subject<'_>, onset_us: i64) -> Alert {
    let names = (key.tenant.as_str(), key.device.as_str());
    present(names, subject, onset_us)
}

/// Makes a present alert; an empty device means the system itself.
pub(crate) fn present((tenant, device): (&str, &str), subject: Subject<'_>, onset_us: i64) -> Alert {
    let metric = codes::by_code(subject.mdc_code);
    Alert {
        alert_id: alert_id(tenant, device, subject.rule_id, onset_us),
        tenant: tenant.to_owned(),
        device: device.to_owned(),
        rule_id: subject.rule_id.to_owned(),
        kind: subject.kind.into(),
        priority: subject.priority.into(),
        state: AlertState::Present.into(),
        mdc_code: subject.mdc_code,
        mdc_ref_id: metric.map(|m| m.ref_id.to_owned()).unwrap_or_default(),
        ucum_unit: metric.map(|m| m.ucum_unit.to_owned()).unwrap_or_default(),
        value: None,
        limit: None,
        onset_us,
        ended_us: 0,
        ..Alert::default()
    }
}

/// Names an alert: hex SHA-256 over tenant, device, rule and onset, each text behind its length (u32 LE), the
/// onset as i64 LE. Stable for ever: the same journal gives the same ids.
pub(crate) fn alert_id(tenant: &str, device: &str, rule_id: &str, onset_us: i64) -> String {
    let mut hash = Context::new(&SHA256);
    for text in [tenant, device, rule_id] {
        hash.update(&(text.len() as u32).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(&onset_us.to_le_bytes());
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names what an alert is about, whenever it comes: the name of an alert without its onset.
pub(crate) fn condition_id(alert: &Alert) -> String {
    // The detail of a device's alert says how it is this time.
    let detail = if alert.device.is_empty() { alert.detail.as_str() } else { "" };
    let about = format!("{}/{detail}", alert.rule_id);
    alert_id(&alert.tenant, &alert.device, &about, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_fields_do_not_run_together() {
        let id = alert_id("demo", "mon-1", "spo2-low", 1_700_000_000_000_000);
        assert_eq!(id.len(), 64);
        assert_eq!(id, alert_id("demo", "mon-1", "spo2-low", 1_700_000_000_000_000));
        assert_ne!(alert_id("ab", "c", "r", 1), alert_id("a", "bc", "r", 1));
    }
}
