//! Alerts and events as JSON: one model, for the command line and for webhooks.

use serde_json::{Value, json};
use wardline_proto::v1::{AlarmKind, AlarmPhase, Alert, AlertEvent, AlertState, Priority};

/// Writes an event.
pub(crate) fn event_json(event: &AlertEvent) -> Value {
    json!({
        "cursor": event.cursor,
        "phase": phase(event.phase()),
        "reason": event.reason,
        "at_us": event.at_us,
        "stored_at_us": event.stored_at_us,
        "alert": event.alert.as_ref().map(alert_json),
    })
}

/// Writes an alert.
pub(crate) fn alert_json(alert: &Alert) -> Value {
    json!({
        "alert_id": alert.alert_id,
        "tenant": alert.tenant,
        "device": alert.device,
        "rule_id": alert.rule_id,
        "kind": kind(alert.kind()),
        "priority": priority(alert.priority()),
        "state": state(alert.state()),
        "site": alert.site,
        "detail": alert.detail,
        "signal": alert.signal.as_ref().map(|signal| json!({
            "acknowledged_by": signal.acknowledged_by,
            "acknowledged_at_us": (signal.acknowledged_at_us != 0).then_some(signal.acknowledged_at_us),
            "paused_by": signal.paused_by,
            "paused_until_us": (signal.paused_until_us != 0).then_some(signal.paused_until_us),
            "escalations": signal.escalations,
        })),
        "mdc_code": alert.mdc_code,
        "mdc_ref_id": alert.mdc_ref_id,
        "ucum_unit": alert.ucum_unit,
        "value": alert.value,
        "limit": alert.limit,
        "news2": alert.news2.as_ref().map(|news2| json!({
            "known_points": news2.known_points,
            "total": news2.total,
            "band": news2.band,
            "missing": news2.missing,
        })),
        "evidence": alert.evidence.as_ref().map(|seen| json!({
            "verdict": seen.verdict,
            "signal": seen.signal,
            "from_us": seen.from_us,
            "to_us": seen.to_us,
            "pulses": seen.pulses,
            "rate_per_minute": seen.rate_per_minute,
        })),
        "strip": alert.strip.as_ref().map(|strip| json!({
            "device": strip.device,
            "from_us": strip.from_us,
            "to_us": strip.to_us,
            "as_of_us": (strip.as_of_us != 0).then_some(strip.as_of_us),
            "streams": strip.streams.iter().map(|stream| json!({
                "mdc_code": stream.mdc_code,
                "mdc_ref_id": stream.mdc_ref_id,
                "gaps": stream.gaps.iter().map(|gap| json!({
                    "from_us": gap.from_us,
                    "to_us": gap.to_us,
                    "why": gap.why,
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })),
        "onset_us": alert.onset_us,
        "ended_us": (alert.ended_us != 0).then_some(alert.ended_us),
    })
}

/// Names a phase.
pub(crate) fn phase(phase: AlarmPhase) -> &'static str {
    match phase {
        AlarmPhase::Start => "start",
        AlarmPhase::Continue => "continue",
        AlarmPhase::Update => "update",
        AlarmPhase::End => "end",
        AlarmPhase::Escalate => "escalate",
        AlarmPhase::Deescalate => "deescalate",
        AlarmPhase::Unspecified => "unspecified",
    }
}

/// Names a priority.
pub(crate) fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Medium => "medium",
        Priority::Low => "low",
        Priority::Unspecified => "none",
    }
}

/// Names a state.
pub(crate) fn state(state: AlertState) -> &'static str {
    match state {
        AlertState::Present => "present",
        AlertState::Ended => "ended",
        AlertState::Latched => "latched",
        AlertState::Acknowledged => "acknowledged",
        AlertState::Paused => "paused",
        AlertState::Unspecified => "unknown",
    }
}

fn kind(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::Physiological => "physiological",
        AlarmKind::Technical => "technical",
        AlarmKind::Advisory => "advisory",
        AlarmKind::Unspecified => "unspecified",
    }
}
