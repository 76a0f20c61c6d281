//! Suppression: while a cause is present on a device (a sensor is off, a higher alert says it already), conditions that
//! only follow from it are held, not told.
//!
//! What is held is still watched. It is dropped when it ends by itself, and told, with its own onset, when the cause is
//! over for the settling time and it is still there. It is told as well when the device has said nothing at all for a
//! while: it cannot say any more that the cause is over. What was told before the cause came stays: nothing that
//! somebody has heard falls silent.

use super::transition::Transition;
use crate::limits::CAUSE_HEARD_US;
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

/// When it is, and when the device was last heard of, journal time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) now_us: i64,
    pub(crate) heard_us: i64,
}

impl Times {
    /// Says whether a cause holds back what a rule names.
    fn acts(self, rule: &SuppressRule, cause: &CauseState) -> bool {
        cause.rule_id == rule.cause && self.until_us(rule, cause) > self.now_us
    }

    /// Returns until when it does, if nothing more happens.
    fn until_us(self, rule: &SuppressRule, cause: &CauseState) -> i64 {
        match cause.ended_us {
            0 => self.heard_us.saturating_add(CAUSE_HEARD_US),
            ended_us => ended_us.saturating_add(rule.settle_us),
        }
    }
}

/// Lets through what may be told; returns how many starts were held.
pub(crate) fn filter(
    rules: &[SuppressRule],
    key: &DeviceKey,
    state: &mut SuppressState,
    seen: Vec<Transition>,
    times: Times,
    out: &mut Vec<Transition>,
) -> u64 {
    let mut held = 0;
    let in_force = || rules.iter().filter(|rule| rule.scope.covers(key));
    for transition in seen {
        let id = transition.alert.rule_id.clone();
        let at = state.held.iter().position(|h| h.alert_id == transition.alert.alert_id);
        match (transition.phase, at) {
            (AlarmPhase::Start, None) if is_held(in_force(), &state.causes, &id, times) => {
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
            note(&mut state.causes, &transition, times.now_us);
        }
    }
    settle(rules, key, state, times, out);
    held
}

/// Tells what is held without a cause, and forgets causes that have settled.
fn settle(
    rules: &[SuppressRule],
    key: &DeviceKey,
    state: &mut SuppressState,
    times: Times,
    out: &mut Vec<Transition>,
) {
    let in_force = || rules.iter().filter(|rule| rule.scope.covers(key));
    let of_cause = |cause: &CauseState| {
        let id = cause.rule_id.clone();
        in_force().filter(move |rule| rule.cause == id)
    };
    state.causes.retain(|cause| match cause.ended_us {
        0 => of_cause(cause).next().is_some(),
        _ => of_cause(cause).any(|rule| times.acts(rule, cause)),
    });
    let causes = &state.causes;
    let mut told = Vec::new();
    state.held.retain(|alert| {
        let stays = is_held(in_force(), causes, &alert.rule_id, times);
        told.extend((!stays).then(|| Transition::start(alert.clone(), "unsuppressed", times.now_us)));
        stays
    });
    out.append(&mut told);
    // A cause that is present is looked at again only for what it holds back.
    let looked_at = |cause: &&CauseState| cause.ended_us != 0 || !state.held.is_empty();
    let causes = state.causes.iter().filter(looked_at);
    let ends = causes.flat_map(|cause| of_cause(cause).map(move |rule| times.until_us(rule, cause)));
    state.wake_us = ends.filter(|until_us| *until_us > times.now_us).min().unwrap_or(0);
}

fn is_held<'a>(
    mut rules: impl Iterator<Item = &'a SuppressRule>,
    causes: &[CauseState],
    id: &str,
    times: Times,
) -> bool {
    rules.any(|rule| rule.rules.iter().any(|r| r == id) && causes.iter().any(|cause| times.acts(rule, cause)))
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
