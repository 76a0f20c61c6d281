//! What the monitor notices about its sensors and, if asked to, about the patient.

use super::vitals::Vitals;
use wardline_proto::codes::{self, EVT_LO};
use wardline_proto::v1::{AlarmKind, AlarmPhase, DeviceAlarm, DeviceEvent, Priority};

/// MDC code of the high-limit alarm event, `MDC_EVT_HI`.
pub const EVT_HI: u32 = 196_648;
/// MDC code of a disconnected sensor, `MDC_EVT_SENSOR_DISCONN`.
pub const EVT_SENSOR_DISCONNECTED: u32 = 196_916;

const SPO2_LIMIT: f64 = 90.0;
const HEART_RATE_LIMITS: (f64, f64) = (50.0, 130.0);

/// One condition that the monitor watches, and since when it is present.
#[derive(Debug, Default)]
struct Condition {
    onset_us: Option<i64>,
}

/// The monitor's own alarms.
#[derive(Debug)]
pub(super) struct Watch {
    physiological: bool,
    probe: Condition,
    low_spo2: Condition,
    low_heart_rate: Condition,
    high_heart_rate: Condition,
}

/// What an alarm of a condition says, onset and phase left open.
struct Alarm {
    name: &'static str,
    mdc_code: u32,
    source_ref_id: &'static str,
    kind: AlarmKind,
    priority: Priority,
    reading: Option<(f64, f64)>,
}

impl Watch {
    /// Watches the sensors, and the patient too when `physiological`.
    pub(super) fn new(physiological: bool) -> Self {
        Self {
            physiological,
            probe: Condition::default(),
            low_spo2: Condition::default(),
            low_heart_rate: Condition::default(),
            high_heart_rate: Condition::default(),
        }
    }

    /// Looks at the state at `at_us` and returns what changed.
    pub(super) fn look(
        &mut self,
        vitals: &Vitals,
        heart_rate: f64,
        probe_is_off: bool,
        at_us: i64,
    ) -> (Vec<DeviceAlarm>, Vec<DeviceEvent>) {
        let mut alarms = Vec::new();
        let mut events = Vec::new();
        let probe = Alarm {
            name: "probe_off",
            mdc_code: EVT_SENSOR_DISCONNECTED,
            source_ref_id: "MDC_PULS_OXIM_SAT_O2",
            kind: AlarmKind::Technical,
            priority: Priority::Low,
            reading: None,
        };
        if let Some(alarm) = self.probe.step(probe_is_off, &probe, at_us) {
            let name = if probe_is_off { "probe_off" } else { "probe_on" }.to_owned();
            let detail = "oximeter".to_owned();
            events.push(DeviceEvent { at_us, name, detail, ..DeviceEvent::default() });
            alarms.push(alarm);
        }
        if self.physiological {
            alarms.extend(self.patient(vitals.spo2.round(), heart_rate.round(), probe_is_off, at_us));
        }
        (alarms, events)
    }

    fn patient(&mut self, spo2: f64, heart_rate: f64, probe_is_off: bool, at_us: i64) -> Vec<DeviceAlarm> {
        let alarm = |name, mdc_code, source_ref_id, value, limit| Alarm {
            name,
            mdc_code,
            source_ref_id,
            kind: AlarmKind::Physiological,
            priority: Priority::High,
            reading: Some((value, limit)),
        };
        let (low, high) = HEART_RATE_LIMITS;
        let desaturated = spo2 < SPO2_LIMIT && !probe_is_off;
        let spo2_low = alarm("spo2_low", EVT_LO, "MDC_PULS_OXIM_SAT_O2", spo2, SPO2_LIMIT);
        let hr_low = alarm("hr_low", EVT_LO, "MDC_ECG_HEART_RATE", heart_rate, low);
        let hr_high = alarm("hr_high", EVT_HI, "MDC_ECG_HEART_RATE", heart_rate, high);
        [
            self.low_spo2.step(desaturated, &spo2_low, at_us),
            self.low_heart_rate.step(heart_rate < low, &hr_low, at_us),
            self.high_heart_rate.step(heart_rate > high, &hr_high, at_us),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Condition {
    /// Returns the alarm's start or end when presence changed.
    fn step(&mut self, present: bool, alarm: &Alarm, at_us: i64) -> Option<DeviceAlarm> {
        let (phase, onset_us) = match (self.onset_us, present) {
            (None, true) => (AlarmPhase::Start, at_us),
            (Some(onset_us), false) => (AlarmPhase::End, onset_us),
            _ => return None,
        };
        self.onset_us = present.then_some(at_us);
        let source = codes::by_ref_id(alarm.source_ref_id);
        Some(DeviceAlarm {
            condition_id: format!("{}-{onset_us}", alarm.name),
            mdc_code: alarm.mdc_code,
            source_mdc_code: source.map_or(0, |m| m.mdc_code),
            kind: alarm.kind.into(),
            priority: alarm.priority.into(),
            phase: phase.into(),
            at_us,
            value: alarm.reading.map(|(value, _)| value),
            limit: alarm.reading.map(|(_, limit)| limit),
            ucum_unit: source.map_or(String::new(), |m| m.ucum_unit.to_owned()),
        })
    }
}
