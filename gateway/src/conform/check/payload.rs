//! What the device says: decoding, declared codes, units, ranges, cadence.

use super::Verdict;
use crate::conform::seen::{Seen, Step};
use wardline_profile::tally::Measured;
use wardline_proto::refusal::Refusal;

/// Refusals of the front that are about a payload.
const PAYLOAD: [Refusal; 2] = [Refusal::PayloadFormat, Refusal::PayloadTooLarge];

fn accepted(seen: &Seen) -> u64 {
    seen.frames.len() as u64 + seen.json
}

pub(super) fn decodes(seen: &Seen) -> Verdict {
    let refused: u64 = PAYLOAD.iter().map(|refusal| seen.refused(refusal.code())).sum();
    if accepted(seen) + refused == 0 {
        return Verdict::not_observed("no publish");
    }
    let bad: Vec<String> = seen.bad_bodies.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let evidence = format!(
        "{} messages accepted, {refused} refused, for the quarantine: [{}]",
        accepted(seen),
        bad.join(", ")
    );
    Verdict::when(refused == 0 && bad.is_empty(), evidence)
}

pub(super) fn frames(seen: &Seen) -> Verdict {
    if accepted(seen) == 0 {
        return Verdict::not_observed("no publish");
    }
    Verdict::when(seen.json == 0, format!("{} frames, {} JSON messages", seen.frames.len(), seen.json))
}

/// Judges every measurement that came by one count that must be zero.
fn all(seen: &Seen, wrong: impl Fn(&Measured) -> u64, what: &str) -> Verdict {
    let measured: Vec<Measured> = seen.tally.measured().into_iter().filter(|m| m.rows > 0).collect();
    if measured.is_empty() {
        return Verdict::not_observed("nothing was measured");
    }
    let rows: u64 = measured.iter().map(|m| m.rows).sum();
    let bad: Vec<String> = measured
        .iter()
        .filter(|m| wrong(m) > 0)
        .map(|m| format!("{} {} of {}{}", m.ref_id, wrong(m), m.rows, range(m)))
        .collect();
    let evidence = match bad.is_empty() {
        true => format!("{} measurements, {rows} rows", measured.len()),
        false => format!("{what}: {}", bad.join("; ")),
    };
    Verdict::when(bad.is_empty(), evidence)
}

fn range(measured: &Measured) -> String {
    let range = measured.range.filter(|_| measured.implausible > 0);
    range.map_or_else(String::new, |(low, high)| format!(" (from {low} to {high})"))
}

pub(super) fn declared(seen: &Seen) -> Verdict {
    all(seen, |m| if m.declared { 0 } else { m.rows }, "not declared")
}

pub(super) fn units(seen: &Seen) -> Verdict {
    all(seen, |m| m.wrong_unit, "in another unit or of another kind")
}

pub(super) fn sample_rate(seen: &Seen) -> Verdict {
    let rates = seen.profile().measurements.iter().filter(|m| {
        let has_rate = m.signal.as_ref().is_some_and(|s| s.sample_rate_hz.is_some());
        has_rate && !seen.tally.times_us(m.mdc_code).is_empty()
    });
    if rates.count() == 0 {
        return Verdict::not_observed("no waveform");
    }
    all(seen, |m| m.wrong_rate, "at another rate")
}

pub(super) fn plausible(seen: &Seen) -> Verdict {
    all(seen, |m| m.implausible, "outside")
}

pub(super) fn cadence(seen: &Seen) -> Verdict {
    let measured = seen.tally.measured();
    let told: Vec<&Measured> = measured.iter().filter(|m| m.cadence_kept.is_some()).collect();
    let unsaid = measured.iter().filter(|m| m.declared && m.cadence_kept.is_none()).count();
    if told.is_empty() {
        return Verdict::not_observed("fewer than three intervals of every measurement");
    }
    let bad = told.iter().filter(|m| m.cadence_kept == Some(false));
    let bad: Vec<String> = bad.filter_map(|m| Some(line(seen, m, m.cadence?))).collect();
    let evidence = match bad.is_empty() {
        true => {
            let slowest = told.iter().filter_map(|m| Some((m, m.cadence?)));
            let slowest = slowest.max_by(|a, b| a.1.p95_ms.total_cmp(&b.1.p95_ms));
            let slowest =
                slowest.map_or_else(String::new, |(m, c)| format!("; longest p95: {}", line(seen, m, c)));
            format!("{} kept, {unsaid} with too few rows to say{slowest}", told.len())
        }
        false => bad.join("; "),
    };
    Verdict::when(bad.is_empty(), evidence)
}

fn line(seen: &Seen, measured: &Measured, intervals: wardline_profile::tally::Intervals) -> String {
    let declared = seen.profile().measurement(measured.mdc_code).and_then(|m| m.cadence);
    let declared =
        declared.map_or_else(String::new, |c| format!(", declared {}+-{} ms", c.interval_ms, c.tolerance_ms));
    let (p50, p95) = (intervals.p50_ms, intervals.p95_ms);
    format!("{} p50 {p50:.0} p95 {p95:.0} ms{declared}", measured.ref_id)
}

/// A measurement is due when the run was twice as long as its interval.
pub(super) fn complete(seen: &Seen) -> Verdict {
    let from = seen.sessions.first().map(|s| s.opened_us);
    let until = seen.span(Step::Recover).map(|span| span.until_us);
    let (Some(from), Some(until)) = (from, until) else {
        return Verdict::not_observed("the run ended early");
    };
    let due = |m: &&wardline_profile::Measurement| {
        m.cadence.is_some_and(|c| c.longest_us().saturating_mul(2) <= until - from)
    };
    let due: Vec<_> = seen.profile().measurements.iter().filter(due).collect();
    let never: Vec<&str> = due
        .iter()
        .filter(|m| seen.tally.times_us(m.mdc_code).is_empty())
        .map(|m| m.ref_id.as_str())
        .collect();
    if due.is_empty() {
        return Verdict::not_observed("the run was too short for every declared interval");
    }
    let seconds = (until - from) / 1_000_000;
    let evidence = match never.is_empty() {
        true => format!("{} of {} due within {seconds} s came", due.len(), due.len()),
        false => format!("never came in {seconds} s: {}", never.join(", ")),
    };
    Verdict::when(never.is_empty(), evidence)
}
