//! One `[[measurement]]`.

use super::alarm;
use super::section::Section;
use crate::limits::{ALARMS_MAX, INTERVAL_MS_MAX, SAMPLE_RATE_HZ_MAX};
use crate::profile::{Cadence, Kind, Measurement, Signal};
use wardline_proto::codes::{self, Metric, MetricKind};
use wardline_proto::limits::SAMPLES_MAX;
use wardline_proto::refusal::Refusal;

pub(super) fn read(mut section: Section<'_, '_>) -> Option<Measurement> {
    let ref_id = section.text("ref_id");
    if let Some(ref_id) = &ref_id {
        section.rename(ref_id);
    }
    let mdc_code = section.whole("mdc_code", (1, u64::from(u32::MAX))).and_then(|c| u32::try_from(c).ok());
    let kind = section.word("kind", "numeric, waveform or alarm", Kind::from_word);
    let loinc = section.maybe_text("loinc");
    let metric = match (&ref_id, mdc_code, kind) {
        (Some(ref_id), Some(code), Some(kind)) => check_terms(&mut section, ref_id, code, kind),
        _ => None,
    };
    check_loinc(&mut section, loinc.as_deref(), metric, kind);
    let is_alarm = kind == Some(Kind::Alarm);
    let (cadence, signal) = match kind {
        Some(Kind::Alarm) | None => (None, None),
        Some(kind) => (cadence(&mut section), signal(&mut section, kind, metric)),
    };
    if let (Some(cadence), Some(signal)) = (&cadence, &signal) {
        check_block(&mut section, cadence, signal);
    }
    let entries = section.tables("alarm", ALARMS_MAX);
    if kind.is_some_and(|kind| kind != Kind::Numeric) && !entries.is_empty() {
        section.error(Refusal::ProfileAlarm, "alarm", "only a numeric measurement has limits");
    }
    let alarms = alarm::read_all(&mut section, entries, signal.as_ref(), cadence.as_ref());
    // Without a kind, whatever else is there belongs to a kind that is not known.
    let kind = kind?;
    section.finish();
    let measurement =
        Measurement { ref_id: ref_id?, mdc_code: mdc_code?, loinc, kind, cadence, signal, alarms };
    (is_alarm || measurement.signal.is_some()).then_some(measurement)
}

/// Checks that reference id and code name one term of this kind. The error says which is right for which.
fn check_terms(
    section: &mut Section<'_, '_>,
    ref_id: &str,
    mdc_code: u32,
    kind: Kind,
) -> Option<&'static Metric> {
    if kind == Kind::Alarm {
        if let Err(message) = codes::lint_alarm(ref_id, mdc_code) {
            section.error(Refusal::ProfileMetric, "mdc_code", message);
        }
        return None;
    }
    match codes::lint(ref_id, mdc_code) {
        Err(message) => section.error(Refusal::ProfileMetric, "mdc_code", message),
        Ok(metric) => {
            let is = if metric.kind == MetricKind::Numeric { Kind::Numeric } else { Kind::Waveform };
            if is != kind {
                let message = format!("{ref_id} is {}, not {}", is.word(), kind.word());
                section.error(Refusal::ProfileMetric, "kind", message);
            }
            return Some(metric);
        }
    }
    None
}

fn check_loinc(
    section: &mut Section<'_, '_>,
    loinc: Option<&str>,
    metric: Option<&Metric>,
    kind: Option<Kind>,
) {
    let known = metric.and_then(|m| m.loinc);
    match (loinc, known) {
        (Some(code), _) if !is_loinc(code) => {
            let message = format!("{code:?} is no LOINC: digits, a hyphen and their check digit");
            section.error(Refusal::ProfileMetric, "loinc", message);
        }
        (Some(_), _) if kind.is_some_and(|kind| kind != Kind::Numeric) => {
            section.error(
                Refusal::ProfileMetric,
                "loinc",
                "waveforms and alarms have none; none is invented",
            );
        }
        (Some(code), Some(known)) if code != known => {
            section.advise("loinc", format!("{code} is not what the catalogue has for this metric, {known}"));
        }
        (None, Some(known)) => section.advise("loinc", format!("the catalogue has {known} for this metric")),
        _ => {}
    }
}

/// Checks the form of a LOINC code and its check digit (mod 10, as in LOINC Users' Guide, appendix C).
fn is_loinc(code: &str) -> bool {
    let Some((number, check)) = code.split_once('-') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(number) || !digits(check) || number.len() > 7 || check.len() != 1 {
        return false;
    }
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, b)| match u32::from(b - b'0') * if at % 2 == 0 { 2 } else { 1 } {
            doubled if doubled > 9 => doubled - 9,
            plain => plain,
        })
        .sum();
    u32::from(check.as_bytes()[0] - b'0') == (10 - sum % 10) % 10
}

fn cadence(section: &mut Section<'_, '_>) -> Option<Cadence> {
    if section.flag("episodic") {
        for key in ["interval_ms", "tolerance_ms"] {
            if section.discard(key) {
                section.error(Refusal::ProfileBound, key, "what is episodic has no interval");
            }
        }
        return None;
    }
    let interval_ms = section.whole("interval_ms", (1, INTERVAL_MS_MAX));
    let tolerance_ms = section.whole("tolerance_ms", (0, INTERVAL_MS_MAX));
    let cadence = Cadence { interval_ms: interval_ms?, tolerance_ms: tolerance_ms? };
    if cadence.tolerance_ms >= cadence.interval_ms {
        section.error(Refusal::ProfileBound, "tolerance_ms", "must be less than interval_ms");
    }
    Some(cadence)
}

fn signal(section: &mut Section<'_, '_>, kind: Kind, metric: Option<&Metric>) -> Option<Signal> {
    let unit = section.text("unit");
    let low = section.number("low");
    let high = section.number("high");
    let resolution = section.maybe_number("resolution");
    let sample_rate_hz = match kind {
        Kind::Waveform => section.number("sample_rate_hz"),
        _ => None,
    };
    if let (Some(unit), Some(metric)) = (&unit, metric)
        && unit != metric.ucum_unit
    {
        let message = format!("{unit:?}, but {} is measured in {:?}", metric.ref_id, metric.ucum_unit);
        section.error(Refusal::ProfileUnit, "unit", message);
    }
    if let (Some(low), Some(high)) = (low, high) {
        if low >= high {
            section.error(Refusal::ProfileBound, "high", format!("must be above low, {low}"));
        }
        for (key, value) in [("low", low), ("high", high)] {
            if let Some(metric) = metric.filter(|m| !m.is_plausible(value)) {
                let (least, most) = (metric.plausible_min, metric.plausible_max);
                let message = format!("{value} lies outside what is plausible at all, {least} to {most}");
                section.error(Refusal::ProfileBound, key, message);
            }
        }
        if resolution.is_some_and(|step| step <= 0.0 || (low < high && step > high - low)) {
            section.error(Refusal::ProfileBound, "resolution", "above 0 and at most high - low");
        }
    }
    if sample_rate_hz.is_some_and(|rate| rate <= 0.0 || rate > SAMPLE_RATE_HZ_MAX) {
        section.error(
            Refusal::ProfileBound,
            "sample_rate_hz",
            format!("above 0, at most {SAMPLE_RATE_HZ_MAX}"),
        );
    }
    Some(Signal { unit: unit?, low: low?, high: high?, resolution, sample_rate_hz })
}

/// Checks that a block of one interval has samples, and no more than fit a frame.
fn check_block(section: &mut Section<'_, '_>, cadence: &Cadence, signal: &Signal) {
    let Some(rate) = signal.sample_rate_hz else { return };
    let samples = rate * cadence.interval_ms as f64 / 1000.0;
    if samples < 1.0 || samples > SAMPLES_MAX as f64 {
        let message = format!("a block would have {samples:.0} samples; 1 to {SAMPLES_MAX} fit");
        section.error(Refusal::ProfileBound, "interval_ms", message);
    }
}
