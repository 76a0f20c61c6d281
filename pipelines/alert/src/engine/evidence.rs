//! What the plethysmogram says about an alarm of the heart rate: a qualifier beside the alarm, which never silences it.
//!
//! Looked at are the ten seconds before the alarm, as far as they have come: alarms travel before waveforms. Pulses count
//! when they are regular: four intervals of five within 30 % of the median. Then, with their rate by the median interval:
//!
//! | the alarm says | contradicting | supporting |
//! |---|---|---|
//! | too slow, or none | regular pulses, faster than the limit | fewer than three pulses, or regular ones below the limit |
//! | too fast | regular pulses, slower than the limit | regular pulses, above the limit |
//!
//! Everything else is unavailable: no plethysmogram, a gap in it, uneven pulses. A sensor that fell off looks like a heart
//! that stopped: supporting is no proof.

use super::pulse::PulseState;
use super::transition::Transition;
use crate::rules::Limit;
use wardline_proto::codes::EVT_LO;
use wardline_proto::v1::{AlarmPhase, Alert, SignalEvidence};

const HEART_RATE: u32 = 147_842;
const WINDOW_US: i64 = 10_000_000;
/// The plethysmogram may lie so far behind the alarm.
const BEHIND_US: i64 = 3_000_000;
const PULSES_MIN: usize = 5;
/// Limits where the alarm names none: of the Challenge's asystole and tachycardia, PhysioNet/CinC 2015.
const SLOW_PER_MINUTE: f64 = 40.0;
const FAST_PER_MINUTE: f64 = 100.0;
/// Code of a high-limit alarm event, `MDC_EVT_HI`.
const EVT_HI: u32 = 196_648;

/// Returns the limit that an alarm of a device about the heart rate says was crossed.
pub(super) fn claimed(source_mdc_code: u32, event_mdc_code: u32, limit: Option<f64>) -> Option<Limit> {
    match event_mdc_code {
        _ if source_mdc_code != HEART_RATE => None,
        EVT_LO => Some(Limit::Below(limit.unwrap_or(SLOW_PER_MINUTE))),
        EVT_HI => Some(Limit::Above(limit.unwrap_or(FAST_PER_MINUTE))),
        _ => None,
    }
}

/// Qualifies an alert of a limit of the heart rate.
pub(super) fn of_limit(pulse: Option<&PulseState>, alert: &mut Alert, limit: Limit) {
    if alert.mdc_code == HEART_RATE {
        alert.evidence = Some(look(pulse, alert.onset_us, limit));
    }
}

/// Looks at the pulses before `at_us`.
fn look(pulse: Option<&PulseState>, at_us: i64, limit: Limit) -> SignalEvidence {
    let from_us = at_us.saturating_sub(WINDOW_US);
    let mut seen = SignalEvidence { verdict: "unavailable".into(), ..SignalEvidence::default() };
    (seen.from_us, seen.to_us) = (from_us, at_us);
    let Some(pulse) = pulse else { return seen };
    seen.signal = "MDC_PULS_OXIM_PLETH".into();
    seen.to_us = at_us.min(pulse.until_us).max(from_us);
    let covered = pulse.since_us <= from_us && pulse.until_us >= at_us.saturating_sub(BEHIND_US);
    let within: Vec<i64> = pulse.pulses.iter().copied().filter(|us| (from_us..=at_us).contains(us)).collect();
    seen.pulses = u32::try_from(within.len()).unwrap_or(u32::MAX);
    if !covered {
        return seen;
    }
    let rate = regular(&within, seen.to_us);
    seen.rate_per_minute = rate.unwrap_or(0.0);
    let verdict = match (limit, rate) {
        (Limit::Below(limit), Some(rate)) if rate > limit => "contradicting",
        (Limit::Above(limit), Some(rate)) if rate < limit => "contradicting",
        (_, Some(_)) => "supporting",
        (Limit::Below(_), None) if within.len() < 3 => "supporting",
        _ => "unavailable",
    };
    verdict.clone_into(&mut seen.verdict);
    seen
}

/// Returns the rate of pulses that are regular and go on to the end.
fn regular(pulses: &[i64], to_us: i64) -> Option<f64> {
    let mut intervals: Vec<i64> = pulses.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_unstable();
    let median = *intervals.get(intervals.len() / 2)?;
    let near = intervals.iter().filter(|us| (**us - median).abs() * 10 <= median * 3).count();
    let goes_on = pulses.last().is_some_and(|last| to_us - last <= 2 * median);
    let regular = pulses.len() >= PULSES_MIN && near * 5 >= intervals.len() * 4 && goes_on;
    (regular && median > 0).then(|| 60e6 / median as f64)
}

/// Qualifies what began since `mark`, and the copies that are remembered of it: its end says the same.
pub(super) fn qualify<'a>(
    pulse: Option<&PulseState>,
    began: &mut [Transition],
    limit_of: impl Fn(&Alert) -> Option<Limit>,
    remembered: impl Iterator<Item = &'a mut Alert>,
) {
    let mut told = Vec::new();
    for start in began.iter_mut().filter(|t| t.phase == AlarmPhase::Start) {
        if let Some(limit) = limit_of(&start.alert) {
            of_limit(pulse, &mut start.alert, limit);
            told.push((start.alert.alert_id.clone(), start.alert.evidence.clone()));
        }
    }
    if !told.is_empty() {
        for alert in remembered {
            if let Some((_, evidence)) = told.iter().find(|(id, _)| *id == alert.alert_id) {
                alert.evidence.clone_from(evidence);
            }
        }
    }
}
