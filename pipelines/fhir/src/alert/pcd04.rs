//! IHE ACM PCD-04, Report Alert: `ORU^R40^ORU_R40` as text (IHE PCD TF-2, HL7 v2.6).
//!
//! ```text
//! MSH  sender, time, message type, control id, profile IHE_PCD_ACM_001
//! PV1  the ward, where the registry knows it
//! OBR  the alert: filler order number = alert id and its place in the log, parent = the alert itself
//! OBX  facets, by sub-id 1.0.0.0.N: 1 event and priority, 2 source and value, 3 phase, 4 state, 5 inactivation,
//!      6 priority, 7 type, 8 text
//! ```
//! PID is empty: the alert names its device, and who wears it is looked up by who may know.

use super::{event_code, is_present, label};
use crate::time::dtm;
use wardline_proto::codes;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Alert, AlertEvent, AlertState, Priority};

const PROFILE: &str = "IHE_PCD_ACM_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.4.1^ISO";

/// Who sends messages, and to whom: the texts of MSH-3 to MSH-6.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Sending application.
    pub application: String,
    /// Sending facility: the tenant.
    pub facility: String,
    /// Receiving application; may be empty.
    pub to_application: String,
    /// Receiving facility; may be empty.
    pub to_facility: String,
}

/// Writes the message of an event; segments end with a carriage return.
pub fn pcd04(event: &AlertEvent, sender: &Sender) -> String {
    let alert = event.alert.clone().unwrap_or_default();
    let mut segments = vec![msh(event, sender), "PID|||\"\"||^^^^^^U".into()];
    if !alert.site.is_empty() {
        segments.push(format!("PV1||I|{}", text(&alert.site)));
    }
    segments.push(obr(event, &alert));
    let mut facets = Facets { segments, count: 0 };
    let (name, code) = event_code(event);
    let event_code = format!("{code}^{name}^MDC");
    let flags = format!("{}~{}", priority(&alert), kind(&alert));
    facets.add(1, "ST", &event_code, &text(&label(&alert)), "", &flags, &dtm(event.at_us));
    facets.source(event, &alert);
    facets.word(3, "68481^MDC_ATTR_EVENT_PHASE^MDC", phase(event.phase()));
    facets.word(4, "68482^MDC_ATTR_ALARM_STATE^MDC", state(&alert));
    facets.word(5, "68483^MDC_ATTR_ALARM_INACTIVATION_STATE^MDC", inactivation(&alert));
    facets.word(6, "68484^MDC_ATTR_ALARM_PRIORITY^MDC", priority(&alert));
    facets.word(7, "68485^MDC_ATTR_ALERT_TYPE^MDC", kind(&alert));
    facets.word(8, "68546^MDC_ATTR_ALERT_TEXT^MDC", &text(&label(&alert)));
    let mut message = facets.segments.join("\r");
    message.push('\r');
    message
}

/// Segments under construction.
struct Facets {
    segments: Vec<String>,
    count: u32,
}

impl Facets {
    #[allow(clippy::too_many_arguments, reason = "the fields of one segment, in its order")]
    fn add(&mut self, facet: u32, kind: &str, what: &str, value: &str, unit: &str, flags: &str, at: &str) {
        self.count += 1;
        let n = self.count;
        let segment = format!("OBX|{n}|{kind}|{what}|1.0.0.0.{facet}|{value}|{unit}||{flags}|||F|||{at}");
        self.segments.push(segment.trim_end_matches('|').to_owned());
    }

    fn word(&mut self, facet: u32, what: &str, word: &str) {
        self.add(facet, "ST", what, word, "", "", "");
    }

    /// The metric with its value, or the device that the alert is of.
    fn source(&mut self, event: &AlertEvent, alert: &Alert) {
        let metric = codes::by_code(alert.mdc_code);
        match (alert.value.filter(|value| value.is_finite()), metric) {
            (Some(value), Some(metric)) => {
                let what = format!("{}^{}^MDC", metric.mdc_code, metric.ref_id);
                // The unit that the value is in: a device's alarm may have another than the metric's.
                let unit = match alert.ucum_unit.as_str() {
                    "" => String::new(),
                    unit => format!("{0}^{0}^UCUM", text(unit)),
                };
                self.add(2, "NM", &what, &value.to_string(), &unit, "", &dtm(event.at_us));
            }
            _ => {
                let source = if alert.device.is_empty() { &alert.detail } else { &alert.device };
                self.word(2, "68480^MDC_ATTR_ALERT_SOURCE^MDC", &text(source));
            }
        }
    }
}

fn msh(event: &AlertEvent, sender: &Sender) -> String {
    let Sender { application, facility, to_application, to_facility } = sender;
    let [from, of, to, at] = [application, facility, to_application, to_facility].map(|name| text(name));
    let (sent, control) = (dtm(event.stored_at_us), event.cursor);
    format!(
        "MSH|^~\\&|{from}|{of}|{to}|{at}|{sent}||ORU^R40^ORU_R40|{control}|P|2.6|||AL|NE||UNICODE UTF-8|||{PROFILE}"
    )
}

/// The alert keeps its id from start to end; each event has an order number of its own.
fn obr(event: &AlertEvent, alert: &Alert) -> String {
    let id = text(alert.alert_id.get(..32).unwrap_or(&alert.alert_id));
    let device = text(if alert.device.is_empty() { "gateway" } else { &alert.device });
    let start = event.phase() == AlarmPhase::Start;
    let parent = if start { String::new() } else { format!("^{id}&{device}") };
    let filler = format!("{id}-{}^{device}", event.cursor);
    let at = dtm(event.at_us);
    let segment =
        format!("OBR|1|{id}^{device}|{filler}|196616^MDC_EVT_ALARM^MDC|||{at}{}{parent}", "|".repeat(22));
    segment.trim_end_matches('|').to_owned()
}

fn phase(phase: AlarmPhase) -> &'static str {
    match phase {
        AlarmPhase::Start => "start",
        AlarmPhase::Continue | AlarmPhase::Unspecified => "continue",
        AlarmPhase::Update => "update",
        AlarmPhase::End => "end",
        AlarmPhase::Escalate => "escalate",
        AlarmPhase::Deescalate => "de-escalate",
    }
}

fn state(alert: &Alert) -> &'static str {
    match alert.state() {
        AlertState::Latched => "latched",
        _ if is_present(alert) => "active",
        _ => "inactive",
    }
}

fn inactivation(alert: &Alert) -> &'static str {
    match alert.state() {
        AlertState::Paused => "alarm-paused",
        AlertState::Acknowledged => "alert-acknowledged",
        _ => "enabled",
    }
}

fn priority(alert: &Alert) -> &'static str {
    match alert.priority() {
        Priority::High => "PH",
        Priority::Medium => "PM",
        Priority::Low => "PL",
        Priority::Unspecified => "PN",
    }
}

fn kind(alert: &Alert) -> &'static str {
    match alert.kind() {
        AlarmKind::Technical => "ST",
        AlarmKind::Advisory => "SA",
        AlarmKind::Physiological | AlarmKind::Unspecified => "SP",
    }
}

/// Escapes what would divide fields; what would end a segment is a space.
fn text(plain: &str) -> String {
    let mut escaped = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '|' => escaped.push_str("\\F\\"),
            '^' => escaped.push_str("\\S\\"),
            '&' => escaped.push_str("\\T\\"),
            '~' => escaped.push_str("\\R\\"),
            '\\' => escaped.push_str("\\E\\"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tests::low_spo2;
    use super::*;

    fn sender() -> Sender {
        let none = String::new;
        Sender {
            application: "Wardline".into(),
            facility: "demo".into(),
            to_application: none(),
            to_facility: none(),
        }
    }

    #[test]
    fn a_message_has_its_facets_in_order() {
        let message = pcd04(&low_spo2(), &sender());
        let lines: Vec<_> = message.trim_end().split('\r').collect();
        assert!(lines[0].starts_with("MSH|^~\\&|Wardline|demo||"), "{}", lines[0]);
        assert_eq!(lines[0].split('|').nth(20), Some(PROFILE), "MSH-21");
        assert_eq!(lines[2], "PV1||I|icu\\F\\1", "what divides fields is escaped");
        assert_eq!(lines[3].split('|').nth(7), Some("20231114221325.2500+0000"), "OBR-7");
        assert!(
            lines[4].contains("|196670^MDC_EVT_LO^MDC|1.0.0.0.1|") && lines[4].contains("|PH~SP|"),
            "{}",
            lines[4]
        );
        assert_eq!(
            lines[5],
            "OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.0.0.0.2|84.5|%^%^UCUM|||||F|||20231114221325.2500+0000"
        );
        assert_eq!(lines[6], "OBX|3|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.0.0.0.3|start||||||F");
    }

    #[test]
    fn a_value_keeps_its_own_unit() {
        let of = |unit: &str| {
            let mut event = low_spo2();
            let alert = event.alert.as_mut().unwrap();
            (alert.mdc_code, alert.value, alert.ucum_unit) = (150_021, Some(16.0), unit.into());
            let message = pcd04(&event, &sender());
            message.split('\r').nth(5).and_then(|line| line.split('|').nth(6)).unwrap().to_owned()
        };
        assert_eq!((of("kPa"), of("mm[Hg]")), ("kPa^kPa^UCUM".into(), "mm[Hg]^mm[Hg]^UCUM".into()));
        assert_eq!(of(""), "", "a unit that nobody told is not made up");
    }

    #[test]
    fn later_events_point_at_the_alert() {
        let mut event = low_spo2();
        event.phase = AlarmPhase::End.into();
        let alert = event.alert.as_mut().unwrap();
        (alert.state, alert.ended_us) = (AlertState::Ended.into(), alert.onset_us + 1);
        let message = pcd04(&event, &sender());
        let obr = message.split('\r').find(|line| line.starts_with("OBR")).unwrap();
        assert_eq!(obr.split('|').nth(29), Some(format!("^{}&mon_1", "ab".repeat(16)).as_str()), "OBR-29");
        assert!(message.contains("1.0.0.0.3|end|") && message.contains("1.0.0.0.4|inactive|"), "{message}");
    }
}
