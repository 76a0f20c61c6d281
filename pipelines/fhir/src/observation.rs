//! A reading or a block of samples as an Observation.

use crate::systems::{CATEGORY, LOINC, MDC, SUBJECT, UCUM};
use crate::{status, time};
use serde_json::{Map, Value, json};
use wardline_proto::codes::{self, MetricKind};

/// FHIR's own profile of oxygen saturation asks for this code beside the exact one.
const SPO2_LOINC: (&str, &str) = ("59408-5", "2708-6");

/// What was measured, of whom and by what.
#[derive(Debug, Clone)]
pub struct Measured<'a> {
    /// The resource's id.
    pub id: &'a str,
    /// FHIR id of the device.
    pub device: &'a str,
    /// Pseudonym of who wore it.
    pub subject: Option<&'a str>,
    /// 32-bit MDC code.
    pub mdc_code: u32,
    /// MDC reference id.
    pub mdc_ref_id: &'a str,
    /// UCUM unit.
    pub ucum_unit: &'a str,
    /// Measurement status bits.
    pub status: u32,
    /// When it was measured, unix microseconds.
    pub effective_us: i64,
    /// When the gateway took it, unix microseconds.
    pub issued_us: i64,
    /// Names are pseudonyms and times are coarse.
    pub is_masked: bool,
    /// The value.
    pub value: Values<'a>,
}

/// One value, or equally spaced ones.
#[derive(Debug, Clone)]
pub enum Values<'a> {
    /// A reading.
    Number(f64),
    /// A block of a waveform: physical value = (sample - offset) x scale.
    Samples {
        /// Time between two of them, nanoseconds.
        interval_ns: u64,
        /// As they were sent.
        samples: &'a [i32],
        /// Physical units of a step.
        scale: f64,
        /// The sample that is zero.
        offset: f64,
        /// First and count of samples that were not measured.
        gaps: &'a [(u32, u32)],
    },
}

/// Makes the Observation.
pub fn observation(measured: &Measured<'_>) -> Value {
    let mut resource = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            resource.insert(name.to_owned(), value);
        }
    };
    put("resourceType", "Observation".into());
    put("id", measured.id.into());
    put("meta", meta(measured));
    put("status", status::of(measured.status).into());
    put("category", json!([category(measured)]));
    put("code", code(measured));
    put("subject", measured.subject.map_or(Value::Null, subject));
    put("issued", time::instant(measured.issued_us).into());
    put("device", json!({ "reference": format!("Device/{}", measured.device) }));
    let interpretation = status::interpretation(measured.status);
    put("interpretation", if interpretation.is_empty() { Value::Null } else { interpretation.into() });
    match &measured.value {
        Values::Number(value) => {
            put("effectiveDateTime", time::instant(measured.effective_us).into());
            match status::absent(measured.status, Some(*value)) {
                Some(reason) => put("dataAbsentReason", reason),
                None => put("valueQuantity", quantity(*value, measured.ucum_unit)),
            }
        }
        Values::Samples { interval_ns, samples, .. } => {
            put("effectivePeriod", period(measured, *interval_ns, samples.len()));
            match status::absent(measured.status, None) {
                Some(reason) => put("dataAbsentReason", reason),
                None => put("valueSampledData", sampled(measured)),
            }
        }
    }
    Value::Object(resource)
}

/// Refers to a subject, by the pseudonym alone: there is no Patient here to read.
pub fn subject(pseudonym: &str) -> Value {
    json!({ "type": "Patient", "identifier": { "system": SUBJECT, "value": pseudonym } })
}

/// Makes a quantity in a UCUM unit.
pub(crate) fn quantity(value: f64, ucum_unit: &str) -> Value {
    json!({ "value": value, "unit": ucum_unit, "system": UCUM, "code": ucum_unit })
}

/// Makes the codings of a metric: LOINC where there is one, and MDC.
pub(crate) fn codings(mdc_code: u32, mdc_ref_id: &str) -> Value {
    let loinc = codes::by_code(mdc_code).and_then(|metric| metric.loinc);
    let second = loinc.filter(|code| *code == SPO2_LOINC.0).map(|_| SPO2_LOINC.1);
    let loinc = loinc.into_iter().chain(second).map(|code| json!({ "system": LOINC, "code": code }));
    let mdc = json!({ "system": MDC, "code": mdc_code.to_string(), "display": mdc_ref_id });
    loinc.chain([mdc]).collect::<Vec<_>>().into()
}

fn code(measured: &Measured<'_>) -> Value {
    json!({ "coding": codings(measured.mdc_code, measured.mdc_ref_id) })
}

fn meta(measured: &Measured<'_>) -> Value {
    let labels = status::labels(measured.status, measured.is_masked);
    let updated = time::instant(measured.issued_us);
    if labels.is_empty() {
        json!({ "lastUpdated": updated })
    } else {
        json!({ "lastUpdated": updated, "security": labels })
    }
}

fn category(measured: &Measured<'_>) -> Value {
    let has_loinc = codes::by_code(measured.mdc_code)
        .is_some_and(|metric| metric.loinc.is_some() && metric.kind == MetricKind::Numeric);
    let (code, display) = if has_loinc { ("vital-signs", "Vital Signs") } else { ("procedure", "Procedure") };
    status::concept(CATEGORY, code, display)
}

/// From the first sample to the end of the last.
fn period(measured: &Measured<'_>, interval_ns: u64, samples: usize) -> Value {
    let length_us = interval_ns.saturating_mul(samples as u64) / 1000;
    let end_us = match measured.is_masked {
        true => measured.effective_us,
        false => measured.effective_us.saturating_add_unsigned(length_us),
    };
    json!({ "start": time::instant(measured.effective_us), "end": time::instant(end_us) })
}

fn sampled(measured: &Measured<'_>) -> Value {
    let Values::Samples { interval_ns, samples, scale, offset, gaps } = &measured.value else {
        return Value::Null;
    };
    // FHIR: value = origin + factor x sample.
    let origin = if *offset == 0.0 { 0.0 } else { -offset * scale };
    let mut data = String::with_capacity(samples.len() * 4);
    for (n, sample) in samples.iter().enumerate() {
        let is_gap = gaps.iter().any(|(first, count)| {
            let (n, first) = (n as u64, u64::from(*first));
            n >= first && n < first + u64::from(*count)
        });
        if n > 0 {
            data.push(' ');
        }
        match is_gap {
            true => data.push('E'),
            false => data.push_str(&sample.to_string()),
        }
    }
    json!({
        "origin": quantity(origin, measured.ucum_unit),
        "period": *interval_ns as f64 / 1e6,
        "factor": scale,
        "dimensions": 1,
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::codes::status::{INVALID, TEST};

    fn spo2(status: u32, value: f64) -> Value {
        observation(&Measured {
            id: "a",
            device: "mon-1",
            subject: Some("s-1"),
            mdc_code: 150_456,
            mdc_ref_id: "MDC_PULS_OXIM_SAT_O2",
            ucum_unit: "%",
            status,
            effective_us: 1_700_000_000_000_001,
            issued_us: 1_700_000_001_000_000,
            is_masked: false,
            value: Values::Number(value),
        })
    }

    #[test]
    fn a_reading_has_its_number_its_unit_and_its_codes() {
        let spo2 = spo2(0, 97.5);
        assert_eq!(
            (&spo2["valueQuantity"]["value"], &spo2["valueQuantity"]["code"]),
            (&json!(97.5), &json!("%"))
        );
        assert_eq!(
            (spo2["status"].as_str(), spo2["effectiveDateTime"].as_str()),
            (Some("final"), Some("2023-11-14T22:13:20.000001Z"))
        );
        let codes: Vec<_> = spo2["code"]["coding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|coding| coding["code"].as_str().unwrap())
            .collect();
        assert_eq!(codes, ["59408-5", "2708-6", "150456"]);
        assert_eq!(spo2["subject"]["identifier"]["value"], "s-1");
    }

    #[test]
    fn what_is_no_measurement_has_a_reason_and_no_value() {
        for (status, value, reason) in
            [(INVALID, 97.0, "error"), (4, 0.0, "temp-unknown"), (0, f64::NAN, "not-a-number")]
        {
            let absent = spo2(status, value);
            assert_eq!(absent["dataAbsentReason"]["coding"][0]["code"], reason);
            assert!(absent.get("valueQuantity").is_none());
        }
        let test = spo2(TEST | 2 | 1 << 16, 97.0);
        assert_eq!(test["meta"]["security"][0]["code"], "HTEST");
        assert_eq!(
            (test["status"].as_str(), test["valueQuantity"]["value"].as_f64()),
            (Some("preliminary"), Some(97.0))
        );
        let told: Vec<_> =
            test["interpretation"].as_array().unwrap().iter().map(|i| &i["coding"][0]["code"]).collect();
        assert_eq!(told, ["questionable", "implausible"]);
    }

    #[test]
    fn samples_keep_their_numbers_and_show_their_gaps() {
        let samples = [10, 11, 12, 13];
        let value = Values::Samples {
            interval_ns: 4_000_000,
            samples: &samples,
            scale: 0.5,
            offset: 10.0,
            gaps: &[(1, 2)],
        };
        let wave = observation(&Measured {
            id: "a",
            device: "mon-1",
            subject: None,
            mdc_code: 131_330,
            mdc_ref_id: "MDC_ECG_ELEC_POTL_II",
            ucum_unit: "mV",
            status: 0,
            effective_us: 0,
            issued_us: 0,
            is_masked: false,
            value,
        });
        let data = &wave["valueSampledData"];
        assert_eq!((data["data"].as_str(), data["period"].as_f64()), (Some("10 E E 13"), Some(4.0)));
        assert_eq!((data["origin"]["value"].as_f64(), data["factor"].as_f64()), (Some(-5.0), Some(0.5)));
        assert_eq!(wave["effectivePeriod"]["end"], "1970-01-01T00:00:00.016000Z");
        assert!(wave.get("subject").is_none());
    }
}
