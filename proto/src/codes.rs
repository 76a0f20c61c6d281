//! Measurement codes: MDC (IEEE 11073-10101), LOINC and UCUM for what Wardline measures.
//!
//! Only the terms in use. Source: IEEE 11073-10101 RefIds and codes; LOINC; UCUM. The plausible range is ours: a
//! value outside it is stored and flagged, never thrown away. A waveform has no LOINC: none is invented.

/// How a metric is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Single readings.
    Numeric,
    /// Equally spaced samples.
    Waveform,
}

/// One metric of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// MDC reference id, such as `MDC_PULS_OXIM_SAT_O2`.
    pub ref_id: &'static str,
    /// 32-bit MDC code: partition x 65536 + term.
    pub mdc_code: u32,
    /// LOINC code, where there is one.
    pub loinc: Option<&'static str>,
    /// UCUM unit, canonical string.
    pub ucum_unit: &'static str,
    /// MDC unit code, kept for round trips.
    pub mdc_unit: u32,
    /// Least plausible value in `ucum_unit`.
    pub plausible_min: f64,
    /// Greatest plausible value in `ucum_unit`.
    pub plausible_max: f64,
    /// How it is measured.
    pub kind: MetricKind,
}

impl Metric {
    /// Returns the MDC partition: 2 is SCADA, 1 is the object-oriented one.
    pub fn partition(&self) -> u16 {
        (self.mdc_code >> 16) as u16
    }

    /// Returns the term code within its partition.
    pub fn term(&self) -> u16 {
        (self.mdc_code & 0xFFFF) as u16
    }

    /// Says whether `value` lies in the plausible range.
    pub fn is_plausible(&self, value: f64) -> bool {
        value >= self.plausible_min && value <= self.plausible_max
    }
}

/// Finds a metric by its code.
pub fn by_code(mdc_code: u32) -> Option<&'static Metric> {
    METRICS.iter().find(|m| m.mdc_code == mdc_code)
}

/// Finds a metric by its reference id.
pub fn by_ref_id(ref_id: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|m| m.ref_id == ref_id)
}

/// Checks that a reference id and a code name the same metric. The error says which of them is right for which.
pub fn lint(ref_id: &str, mdc_code: u32) -> Result<&'static Metric, String> {
    match (by_ref_id(ref_id), by_code(mdc_code)) {
        (Some(named), _) if named.mdc_code == mdc_code => Ok(named),
        (Some(named), _) => Err(format!("{ref_id} is {}, not {mdc_code}", named.mdc_code)),
        (None, Some(coded)) => Err(format!("{mdc_code} is {}, not {ref_id}", coded.ref_id)),
        (None, None) => Err(format!("neither {ref_id} nor {mdc_code} is in the catalogue")),
    }
}

/// Measurement status bits (IEEE 11073-20601 MsmtStatus).
pub mod status {
    /// The value is invalid.
    pub const INVALID: u32 = 1;
    /// The value is questionable.
    pub const QUESTIONABLE: u32 = 1 << 1;
    /// No value was available.
    pub const NOT_AVAILABLE: u32 = 1 << 2;
    /// The device was being calibrated.
    pub const CALIBRATION: u32 = 1 << 3;
    /// Test data.
    pub const TEST: u32 = 1 << 4;
    /// Demonstration data.
    pub const DEMO: u32 = 1 << 5;
    /// A value with any of these raises no live physiological alarm.
    pub const NO_ALARM: u32 = INVALID | NOT_AVAILABLE | CALIBRATION | TEST | DEMO;
    /// Set by the archive: outside the plausible range. Above the 16 bits of the standard.
    pub const IMPLAUSIBLE: u32 = 1 << 16;
    /// Set by the archive: the device clock was more than its bound away from the front's.
    pub const CLOCK_SUSPECT: u32 = 1 << 17;
}

/// MDC code of the low-limit alarm event, `MDC_EVT_LO`.
pub const EVT_LO: u32 = 196_670;

/// Alarm events in use, by reference id and 32-bit code (partition 3).
pub const ALARM_EVENTS: [(&str, u32); 3] =
    [("MDC_EVT_LO", EVT_LO), ("MDC_EVT_HI", 196_648), ("MDC_EVT_SENSOR_DISCONN", 196_916)];

/// Checks that a reference id and a code name the same alarm event.
pub fn lint_alarm(ref_id: &str, mdc_code: u32) -> Result<(), String> {
    if ALARM_EVENTS.contains(&(ref_id, mdc_code)) {
        return Ok(());
    }
    let row = |(name, code): &&(&str, u32)| *name == ref_id || *code == mdc_code;
    Err(match ALARM_EVENTS.iter().find(row) {
        Some((name, code)) => format!("{name} is {code}; {ref_id} with {mdc_code} is no alarm event"),
        None => format!("neither {ref_id} nor {mdc_code} is an alarm event of the catalogue"),
    })
}

const fn metric(
    ref_id: &'static str,
    mdc_code: u32,
    loinc: Option<&'static str>,
    unit: (&'static str, u32),
    plausible: (f64, f64),
    kind: MetricKind,
) -> Metric {
    let ((ucum_unit, mdc_unit), (plausible_min, plausible_max)) = (unit, plausible);
    Metric { ref_id, mdc_code, loinc, ucum_unit, mdc_unit, plausible_min, plausible_max, kind }
}

use MetricKind::{Numeric, Waveform};

/// The catalogue.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric("MDC_ECG_HEART_RATE", 147_842, Some("8867-4"), ("/min", 264_864), (0.0, 350.0), Numeric),
    metric("MDC_PULS_OXIM_PULS_RATE", 149_530, Some("8867-4"), ("/min", 264_864), (0.0, 350.0), Numeric),
    metric("MDC_PULS_OXIM_SAT_O2", 150_456, Some("59408-5"), ("%", 262_688), (0.0, 100.0), Numeric),
    metric("MDC_PULS_OXIM_PERF_REL", 150_448, Some("61006-3"), ("%", 262_688), (0.0, 100.0), Numeric),
    metric("MDC_RESP_RATE", 151_562, Some("9279-1"), ("/min", 264_928), (0.0, 200.0), Numeric),
    metric("MDC_TTHOR_RESP_RATE", 151_578, Some("9279-1"), ("/min", 264_928), (0.0, 200.0), Numeric),
    metric("MDC_CO2_RESP_RATE", 151_594, Some("9279-1"), ("/min", 264_928), (0.0, 200.0), Numeric),
    metric("MDC_PRESS_BLD_NONINV_SYS", 150_021, Some("8480-6"), ("mm[Hg]", 266_016), (0.0, 350.0), Numeric),
    metric("MDC_PRESS_BLD_NONINV_DIA", 150_022, Some("8462-4"), ("mm[Hg]", 266_016), (0.0, 350.0), Numeric),
    metric("MDC_PRESS_BLD_NONINV_MEAN", 150_023, Some("8478-0"), ("mm[Hg]", 266_016), (0.0, 350.0), Numeric),
    metric("MDC_TEMP_BODY", 150_364, Some("8310-5"), ("Cel", 268_192), (10.0, 50.0), Numeric),
    metric("MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD", 160_184, Some("41653-7"), ("mg/dL", 264_274), (0.0, 2000.0), Numeric),
    metric("MDC_CONC_GLU_ISF", 160_212, Some("99504-3"), ("mg/dL", 264_274), (0.0, 2000.0), Numeric),
    metric("MDC_MASS_BODY_ACTUAL", 188_736, Some("29463-7"), ("kg", 263_875), (0.0, 650.0), Numeric),
    metric("MDC_ECG_ELEC_POTL_I", 131_329, None, ("mV", 266_418), (-50.0, 50.0), Waveform),
    metric("MDC_ECG_ELEC_POTL_II", 131_330, None, ("mV", 266_418), (-50.0, 50.0), Waveform),
    metric("MDC_ECG_ELEC_POTL_III", 131_389, None, ("mV", 266_418), (-50.0, 50.0), Waveform),
    metric("MDC_ECG_ELEC_POTL", 131_328, None, ("mV", 266_418), (-50.0, 50.0), Waveform),
    metric("MDC_PULS_OXIM_PLETH", 150_452, None, ("1", 262_656), (-1_000_000.0, 1_000_000.0), Waveform),
    metric("MDC_CONC_AWAY_O2_INSP", 152_196, Some("3150-6"), ("%", 262_688), (0.0, 100.0), Numeric),
    metric("MDC_CONC_AWAY_CO2_ET", 151_708, Some("19889-5"), ("mm[Hg]", 266_016), (0.0, 150.0), Numeric),
    metric("MDC_CONC_AWAY_CO2_INSP", 151_716, None, ("mm[Hg]", 266_016), (0.0, 150.0), Numeric),
    metric("MDC_VENT_VOL_TIDAL", 151_980, Some("76222-9"), ("mL", 263_762), (0.0, 5000.0), Numeric),
    metric("MDC_VENT_RESP_RATE", 151_586, Some("19840-8"), ("/min", 264_928), (0.0, 200.0), Numeric),
    metric("MDC_FLOW_FLUID_PUMP", 157_784, None, ("mL/h", 265_266), (0.0, 2000.0), Numeric),
    metric("MDC_PRESS_BLD_VEN_CENT", 150_084, Some("60985-9"), ("mm[Hg]", 266_016), (-50.0, 100.0), Numeric),
    metric("MDC_PRESS_BLD_ART_SYS", 150_033, Some("8480-6"), ("mm[Hg]", 266_016), (0.0, 350.0), Numeric),
    metric("MDC_PRESS_BLD_ART_DIA", 150_034, Some("8462-4"), ("mm[Hg]", 266_016), (0.0, 350.0), Numeric),
    metric("MDC_PRESS_BLD_ART_MEAN", 150_035, Some("8478-0"), ("mm[Hg]", 266_016), (0.0, 350.0), Numeric),
    metric("MDC_IMPED_TTHOR", 151_780, None, ("1", 262_656), (-1_000_000.0, 1_000_000.0), Waveform),
    metric("MDC_ATTR_VAL_BATT_CHARGE", 67996, None, ("%", 262_688), (0.0, 100.0), Numeric),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_one_metric_and_every_code_one_row() {
        for metric in METRICS {
            assert_eq!(lint(metric.ref_id, metric.mdc_code), Ok(metric));
            assert!(metric.ref_id.starts_with("MDC_") && metric.plausible_min < metric.plausible_max);
            assert!(matches!(metric.partition(), 1 | 2), "{}", metric.ref_id);
            assert!(metric.kind == Numeric || metric.loinc.is_none(), "no LOINC is invented for waveforms");
        }
        let codes: std::collections::BTreeSet<_> = METRICS.iter().map(|m| m.mdc_code).collect();
        assert_eq!(codes.len(), METRICS.len());
    }

    #[test]
    fn codes_that_public_sources_mislabel_are_caught() {
        assert!(lint("MDC_PRESS_BLD_NONINV_SYS", 150_020).is_err());
        assert!(lint("MDC_ECG_ELEC_POTL_II", 131_328).is_err());
        assert!(lint("MDC_FLOW_FLUID_PUMP", 157_985).is_err());
    }
}
