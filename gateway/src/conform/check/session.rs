//! How the device holds its connection.

use super::Verdict;
use crate::conform::seen::{Seen, Step};
use wardline_proto::limits::RECEIVE_MAXIMUM;
use wardline_proto::refusal::Refusal;

/// Delays before a new connection that differ by less than this are one delay.
const JITTER_MIN_US: i64 = 5_000;
/// Attempts on a gateway that is away that are allowed at once, and per second after that.
const ATTEMPTS_AT_ONCE: f64 = 3.0;
const ATTEMPTS_PER_SECOND: f64 = 1.0;

/// Returns for each cut of the cut step how long the device took to its next session; none while it has none.
fn returns_us(seen: &Seen) -> Vec<Option<i64>> {
    let cuts = seen.cuts.iter().filter(|(_, step)| *step == Step::Cut);
    cuts.map(|(at, _)| seen.session_after(*at).map(|session| session.opened_us - at)).collect()
}

pub(super) fn reconnect(seen: &Seen) -> Verdict {
    let returns = returns_us(seen);
    if returns.is_empty() {
        return Verdict::not_observed("no connection was cut");
    }
    let bound_s = seen.profile().connection.reconnect_max_s;
    let bound_us = i64::from(bound_s) * 1_000_000;
    let told: Vec<String> = returns
        .iter()
        .map(|us| us.map_or_else(|| "never".to_owned(), |us| format!("{:.2} s", us as f64 / 1e6)))
        .collect();
    let holds = returns.iter().all(|us| us.is_some_and(|us| us <= bound_us));
    Verdict::when(holds, format!("back after {}; declared {bound_s} s", told.join(", ")))
}

/// A fleet that lost its gateway must not return in step.
pub(super) fn jitter(seen: &Seen) -> Verdict {
    let cuts = seen.cuts.iter().filter(|(_, step)| *step == Step::Cut);
    let next = |at: i64| seen.lines.iter().map(|line| line.opened_us).find(|opened| *opened >= at);
    let mut delays: Vec<i64> = cuts.filter_map(|(at, _)| Some(next(*at)? - at)).collect();
    if delays.len() < 3 {
        return Verdict::not_observed("fewer than three cuts");
    }
    let told: Vec<String> = delays.iter().map(|us| format!("{:.3} s", *us as f64 / 1e6)).collect();
    delays.sort_unstable();
    let spread_us = delays[delays.len() - 1] - delays[0];
    Verdict::when(spread_us >= JITTER_MIN_US, format!("connected after {}", told.join(", ")))
}

pub(super) fn slow(seen: &Seen) -> Verdict {
    let Some(span) = seen.span(Step::Slow) else { return Verdict::not_observed("nothing was delayed") };
    let lost = seen.sessions.iter().filter(|s| s.closed.as_ref().is_some_and(|(at, _)| span.holds(*at)));
    let (lost, frames) = (lost.count(), seen.frames_in(span).count());
    if frames == 0 && lost == 0 {
        return Verdict::not_observed("no frame while every byte was late");
    }
    Verdict::when(lost == 0, format!("{frames} frames in {:.1} s, {lost} sessions lost", span.seconds()))
}

/// While answers are swallowed nothing is acknowledged: what arrives is what the device dares to have in flight.
pub(super) fn in_flight(seen: &Seen) -> Verdict {
    let code = Refusal::MqttReceiveMaximum.code();
    let refused = seen.refused(code);
    let Some(span) = seen.span(Step::LostAck) else {
        return Verdict::not_observed("no answer was swallowed");
    };
    let until =
        seen.cuts.iter().find(|(_, step)| *step == Step::LostAck).map_or(span.until_us, |(at, _)| *at);
    let sent = seen.frames_in(crate::conform::seen::Span { until_us: until, ..span }).count();
    let evidence =
        format!("{sent} unacknowledged at once, {RECEIVE_MAXIMUM} allowed; {refused} refused with {code}");
    if sent == 0 && refused == 0 {
        return Verdict::not_observed(evidence);
    }
    Verdict::when(refused == 0 && sent <= usize::from(RECEIVE_MAXIMUM), evidence)
}

pub(super) fn backoff(seen: &Seen) -> Verdict {
    let Some(span) = seen.span(Step::Outage) else { return Verdict::not_observed("no outage") };
    let attempts = seen.lines.iter().filter(|line| line.refused && span.holds(line.opened_us)).count();
    let evidence = format!("{attempts} attempts in an outage of {:.1} s", span.seconds());
    if attempts == 0 {
        return Verdict::not_observed(evidence);
    }
    Verdict::when(attempts as f64 <= ATTEMPTS_AT_ONCE + ATTEMPTS_PER_SECOND * span.seconds(), evidence)
}

pub(super) fn keep_alive(seen: &Seen) -> Verdict {
    let code = Refusal::MqttKeepAlive.code();
    let refused = seen.refused(code);
    let Some(silence_us) = seen.lines.iter().filter(|l| !l.refused).map(|line| line.silence_us).max() else {
        return Verdict::not_observed("no connection");
    };
    let declared_s = seen.profile().connection.keep_alive_s;
    let evidence = format!(
        "longest silence {:.1} s, declared {declared_s} s; {refused} sessions ended with {code}",
        silence_us as f64 / 1e6
    );
    Verdict::when(refused == 0 && silence_us <= i64::from(declared_s) * 1_500_000, evidence)
}

pub(super) fn disconnect(seen: &Seen) -> Verdict {
    match seen.sessions.last().and_then(|session| session.closed.as_ref()) {
        None => Verdict::not_observed("the last session is still open"),
        Some((_, outcome)) => Verdict::when(outcome == "ok", format!("the last session ended: {outcome}")),
    }
}
