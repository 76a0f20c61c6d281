//! What a measurement's status becomes: FHIR has no one field for it. docs/fhir.md has the table.

use crate::systems::{ACT_REASON, DATA_ABSENT, FLAGS, MEASUREMENT_STATUS, OBSERVATION_VALUE};
use serde_json::{Value, json};
use wardline_proto::codes::status::{
    CALIBRATION, CLOCK_SUSPECT, DEMO, IMPLAUSIBLE, INVALID, NOT_AVAILABLE, QUESTIONABLE, TEST,
};

/// Bits of IEEE 11073-20601 that tell of a value and take nothing from it.
const VALIDATED: u32 = 1 << 8;
const EARLY: u32 = 1 << 9;
const ONGOING: u32 = 1 << 10;
const IN_ALARM: u32 = 1 << 14;
const ALARM_INHIBITED: u32 = 1 << 15;

/// Codes of the guide's code system, by bit.
const TOLD: [(u32, &str, &str); 7] = [
    (QUESTIONABLE, "questionable", "Questionable"),
    (CALIBRATION, "calibration-ongoing", "Calibration ongoing"),
    (VALIDATED, "validated-data", "Validated data"),
    (EARLY, "early-indication", "Early indication"),
    (ONGOING, "msmt-ongoing", "Measurement ongoing"),
    (IN_ALARM, "in-alarm", "Measurement in alarm"),
    (ALARM_INHIBITED, "alarm-inhibited", "Measurement alarms inhibited"),
];
const FLAGGED: [(u32, &str, &str); 2] = [
    (IMPLAUSIBLE, "implausible", "Outside the plausible range"),
    (CLOCK_SUSPECT, "clock-suspect", "Clock suspect"),
];

/// Makes a concept of one code.
pub(crate) fn concept(system: &str, code: &str, display: &str) -> Value {
    json!({ "coding": [{ "system": system, "code": code, "display": display }] })
}

/// Returns `Observation.status`: what is early or questionable may still change its meaning.
pub(crate) fn of(bits: u32) -> &'static str {
    if bits & (EARLY | QUESTIONABLE | ONGOING) == 0 { "final" } else { "preliminary" }
}

/// Returns why there is no value, for a value that must not be read as a measurement.
pub(crate) fn absent(bits: u32, value: Option<f64>) -> Option<Value> {
    let reason = |code, display| Some(concept(DATA_ABSENT, code, display));
    match value {
        _ if bits & NOT_AVAILABLE != 0 => reason("temp-unknown", "Temporarily Unknown"),
        _ if bits & (INVALID | CALIBRATION) != 0 => reason("error", "Error"),
        Some(value) if value.is_nan() => reason("not-a-number", "Not a Number (NaN)"),
        Some(f64::INFINITY) => reason("positive-infinity", "Positive Infinity (PINF)"),
        Some(f64::NEG_INFINITY) => reason("negative-infinity", "Negative Infinity (NINF)"),
        _ => None,
    }
}

/// Returns what the status says besides, `Observation.interpretation`.
pub(crate) fn interpretation(bits: u32) -> Vec<Value> {
    let told = |system, of: &[(u32, &str, &str)]| -> Vec<Value> {
        let set = of.iter().filter(|(bit, _, _)| bits & bit != 0);
        set.map(|(_, code, display)| concept(system, code, display)).collect()
    };
    [told(MEASUREMENT_STATUS, &TOLD), told(FLAGS, &FLAGGED)].concat()
}

/// Returns security labels: test data, and that names were replaced.
pub(crate) fn labels(bits: u32, is_masked: bool) -> Vec<Value> {
    let test = (bits & (TEST | DEMO) != 0)
        .then(|| json!({ "system": ACT_REASON, "code": "HTEST", "display": "test health data" }));
    let masked = is_masked
        .then(|| json!({ "system": OBSERVATION_VALUE, "code": "PSEUDED", "display": "pseudonymized" }));
    test.into_iter().chain(masked).collect()
}
