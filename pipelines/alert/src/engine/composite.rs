//! Composite rules: an alert when all, or any, of some conditions of a device are present.
//!
//! Members are conditions by the ids of their rules (`device/...` for alarms of the device). For "all of", a member that
//! ended less than `within` ago still counts: two signs need not overlap to the second. The clock is ingest time, as of
//! everything that must be noticed without data.

use super::transition::{Subject, Transition, alert};
use crate::rules::CompositeRule;
use wardline_proto::DeviceKey;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Alert};

/// A member of a composite.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Member {
    /// The rule.
    #[prost(string, tag = "1")]
    pub rule_id: String,
    /// Whether its condition is present.
    #[prost(bool, tag = "2")]
    pub present: bool,
    /// When it ended last, ingest time; 0 never.
    #[prost(int64, tag = "3")]
    pub ended_us: i64,
}

/// A composite on one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CompositeState {
    /// The rule.
    #[prost(string, tag = "1")]
    pub rule_id: String,
    /// What its members do.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
    /// Since when it holds.
    #[prost(int64, optional, tag = "3")]
    pub since_us: Option<i64>,
    /// When to look at it again; 0 never.
    #[prost(int64, tag = "4")]
    pub wake_us: i64,
    /// The alert while it is present.
    #[prost(message, optional, tag = "5")]
    pub alert: Option<Alert>,
}

/// Follows what the members did; what the composites do comes behind it.
pub(crate) fn follow(
    rules: &[CompositeRule],
    key: &DeviceKey,
    states: &mut Vec<CompositeState>,
    seen: &mut Vec<Transition>,
    now_us: i64,
) {
    let mut told = Vec::new();
    for rule in rules.iter().filter(|rule| rule.scope.covers(key)) {
        let mut touched = false;
        for transition in seen.iter().filter(|t| rule.members.contains(&t.alert.rule_id)) {
            touched |= note(rule, states, transition, now_us);
        }
        if touched && let Some(state) = states.iter_mut().find(|s| s.rule_id == rule.id) {
            step(rule, key, state, now_us, &mut told);
        }
    }
    seen.append(&mut told);
}

/// Looks at a composite whose time has come.
pub(crate) fn expire(
    rule: &CompositeRule,
    key: &DeviceKey,
    state: &mut CompositeState,
    now_us: i64,
    out: &mut Vec<Transition>,
) {
    if state.wake_us != 0 && state.wake_us <= now_us {
        step(rule, key, state, now_us, out);
    }
}

fn note(
    rule: &CompositeRule,
    states: &mut Vec<CompositeState>,
    transition: &Transition,
    now_us: i64,
) -> bool {
    let present = match transition.phase {
        AlarmPhase::Start => true,
        AlarmPhase::End => false,
        _ => return false,
    };
    let at = position(rule, states);
    let members = states[at].members.iter_mut();
    for member in members.filter(|m| m.rule_id == transition.alert.rule_id) {
        member.ended_us = if present { 0 } else { now_us };
        member.present = present;
    }
    true
}

/// Returns where the state of a rule is, which is there then.
fn position(rule: &CompositeRule, states: &mut Vec<CompositeState>) -> usize {
    states.iter().position(|s| s.rule_id == rule.id).unwrap_or_else(|| {
        let member = |id: &String| Member { rule_id: id.clone(), ..Member::default() };
        let members = rule.members.iter().map(member).collect();
        states.push(CompositeState { rule_id: rule.id.clone(), members, ..CompositeState::default() });
        states.len() - 1
    })
}

/// Gives the states the members that their rules have now; those that are new are looked up. What changed is looked at as
/// soon as time moves on.
pub(crate) fn rebuild(
    rules: &[CompositeRule],
    key: &DeviceKey,
    states: &mut Vec<CompositeState>,
    is_present: impl Fn(&str) -> bool,
    at_us: i64,
) {
    for rule in rules.iter().filter(|rule| rule.scope.covers(key)) {
        let has_state = states.iter().any(|state| state.rule_id == rule.id);
        if !has_state && !rule.members.iter().any(|id| is_present(id)) {
            continue;
        }
        let at = position(rule, states);
        let state = &mut states[at];
        if has_state && state.members.iter().map(|m| &m.rule_id).eq(&rule.members) {
            continue;
        }
        let known = if has_state { std::mem::take(&mut state.members) } else { Vec::new() };
        let member = |id: &String| {
            let before = known.iter().find(|m| m.rule_id == *id).cloned();
            before.unwrap_or_else(|| Member { rule_id: id.clone(), present: is_present(id), ended_us: 0 })
        };
        state.members = rule.members.iter().map(member).collect();
        state.wake_us = at_us.max(1);
    }
}

fn step(
    rule: &CompositeRule,
    key: &DeviceKey,
    state: &mut CompositeState,
    now_us: i64,
    out: &mut Vec<Transition>,
) {
    let until_us = |m: &Member| m.ended_us.saturating_add(rule.within_us);
    let counts = |m: &Member| m.present || (rule.all && m.ended_us != 0 && until_us(m) > now_us);
    // At least one is there now: what is over everywhere is not a condition.
    let any = state.members.iter().any(|m| m.present);
    let holds = any && (!rule.all || state.members.iter().all(counts));
    let lapses_us = state.members.iter().filter(|m| !m.present && counts(m)).map(until_us).min();
    state.wake_us = 0;
    if !holds {
        state.since_us = None;
        out.extend(state.alert.take().map(|ended| Transition::end(ended, "cleared", now_us)));
        return;
    }
    let since_us = *state.since_us.get_or_insert(now_us);
    let due_us = since_us.saturating_add(rule.onset_delay_us);
    if state.alert.is_none() && due_us <= now_us {
        let (kind, priority) = (AlarmKind::Physiological, rule.priority);
        let raised = alert(key, Subject { rule_id: &rule.id, kind, priority, mdc_code: 0 }, since_us);
        state.alert = Some(raised.clone());
        out.push(Transition::start(raised, "composite", now_us));
    }
    let due_us = state.alert.is_none().then_some(due_us);
    state.wake_us = lapses_us.into_iter().chain(due_us).min().unwrap_or(0);
}
