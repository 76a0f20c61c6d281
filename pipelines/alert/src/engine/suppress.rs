//! Suppression: while a cause is present on a device (a sensor is off, a higher alert says it already), conditions that
//! only follow from it are held, not told.
//!
//! What is held is still watched. It is dropped when it ends by itself, and told, with its own onset, when the cause is
//! over for the settling time and it is still there. What was told before the cause came stays: nothing that somebody
//! has heard falls silent.

use super::transition::Transition;
use crate::rules::SuppressRule;
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmPhase, Alert};

/// A cause on one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CauseState {
    /// Its rule.
    #[prost(string, tag = "1")]
    pub rule_id: String,
    /// When it ended, ingest time; 0 while it is present.
    #[prost(int64, tag = "2")]
    pub ended_us: i64,
}

/// What is suppressed on one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SuppressState {
    /// Causes that are present or settling.
    #[prost(message, repeated, tag = "1")]
    pub causes: Vec<CauseState>,
    /// Alerts that are not told.
    #[prost(message, repeated, tag = "2")]
    pub held: Vec<Alert>,
    /// When to look at it again; 0 never.
    #[prost(int64, tag = "3")]
    pub wake_us: i64,
}

/// Lets through what may be told; returns how many starts were held.
pub(crate) fn filter(
    rules: &[SuppressRule],
    key: &DeviceKey,
    state: &mut SuppressState,
    seen: Vec<Transition>,
    now_us: i64,
    out: &mut Vec<Transition>,
) -> u64 {
    let mut held = 0;
    let in_force = || rules.iter().filter(|rule| rule.scope.covers(key));
    for transition in seen {
        let id = transition.alert.rule_id.clone();
        let at = state.held.iter().position(|h| h.alert_id == transition.alert.alert_id);
        match (transition.phase, at) {
            (AlarmPhase::Start, None) if is_held(in_force(), &state.causes, &id, now_us) => {
                state.held.push(transition.alert.clone());
                held += 1;
            }
            (AlarmPhase::End, Some(at)) => {
                state.held.remove(at);
            }
            (_, Some(at)) => state.held[at] = transition.alert.clone(),
            (_, None) => out.push(transition.clone()),
        }
        if in_force().any(|rule| rule.cause == id) {
            note(&mut state.causes, &transition, now_us);
        }
    }
    settle(rules, key, state, now_us, out);
    held
}

/// Tells what is held without a cause, and forgets causes that have settled.
pub(crate) fn settle(
    rules: &[SuppressRule],
    key: &DeviceKey,
    state: &mut SuppressState,
    now_us: i64,
    out: &mut Vec<Transition>,
) {
    let in_force = || rules.iter().filter(|rule| rule.scope.covers(key));
    let until_us = |cause: &CauseState| {
        let settles = in_force().filter(|r| r.cause == cause.rule_id).map(|r| r.settle_us).max();
        settles.map(|settle_us| cause.ended_us.saturating_add(settle_us))
    };
    state.causes.retain(|cause| match until_us(cause) {
        Some(until_us) => cause.ended_us == 0 || until_us > now_us,
        None => false,
    });
    let causes = &state.causes;
    let mut told = Vec::new();
    state.held.retain(|alert| {
        let stays = is_held(in_force(), causes, &alert.rule_id, now_us);
        told.extend((!stays).then(|| Transition::start(alert.clone(), "unsuppressed", now_us)));
        stays
    });
    out.append(&mut told);
    let settling = state.causes.iter().filter(|cause| cause.ended_us != 0);
    state.wake_us = settling.filter_map(until_us).min().unwrap_or(0);
}

fn is_held<'a>(
    mut rules: impl Iterator<Item = &'a SuppressRule>,
    causes: &[CauseState],
    id: &str,
    now_us: i64,
) -> bool {
    let acts = |rule: &SuppressRule, cause: &CauseState| {
        let settling = cause.ended_us.saturating_add(rule.settle_us) > now_us;
        cause.rule_id == rule.cause && (cause.ended_us == 0 || settling)
    };
    rules.any(|rule| rule.rules.iter().any(|r| r == id) && causes.iter().any(|cause| acts(rule, cause)))
}

fn note(causes: &mut Vec<CauseState>, transition: &Transition, now_us: i64) {
    let id = &transition.alert.rule_id;
    let at = causes.iter().position(|cause| cause.rule_id == *id);
    match (transition.phase, at) {
        (AlarmPhase::Start, Some(at)) => causes[at].ended_us = 0,
        (AlarmPhase::Start, None) => causes.push(CauseState { rule_id: id.clone(), ended_us: 0 }),
        (AlarmPhase::End, Some(at)) => causes[at].ended_us = now_us,
        _ => {}
    }
}
