//! Alarms that a device raised itself, passed through by condition id.
//!
//! `start` raises, `update`, `escalate` and `deescalate` change, `end` ends; a `continue` without a start (lost, or
//! older than the agent's spool) raises, and is otherwise only a sign of life. What is older than the condition's
//! last step came out of order and is ignored.
//!
//! A backfilled start is held for a while: its end is most likely in the same backlog. Without an end it is still
//! on, and raised.

use super::transition::{Subject, Transition, alert};
use crate::limits::{CONDITIONS_MAX, HOLD_US};
use wardline_proto::DeviceKey;
use wardline_proto::limits::NAME_BYTES_MAX;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Alert, DeviceAlarm, Priority};

/// A condition of one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConditionState {
    /// The device's own id of the condition.
    #[prost(string, tag = "1")]
    pub condition_id: String,
    /// Time of the last step that was taken.
    #[prost(int64, tag = "2")]
    pub last_us: i64,
    /// When a held start becomes an alert; 0 when it is not held.
    #[prost(int64, tag = "3")]
    pub held_until_us: i64,
    /// The alert while it is held or present.
    #[prost(message, optional, tag = "4")]
    pub alert: Option<Alert>,
}

impl ConditionState {
    /// Returns when this wants to be looked at.
    pub(crate) fn wake_us(&self) -> Option<i64> {
        (self.held_until_us != 0).then_some(self.held_until_us)
    }

    /// Returns the alert that subscribers know of.
    pub(crate) fn take_present(&mut self) -> Option<Alert> {
        let held = self.held_until_us != 0;
        self.alert.take().filter(|_| !held)
    }
}

/// A device alarm with its time on the edge's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) alarm: &'a DeviceAlarm,
    pub(crate) at_us: i64,
    pub(crate) ingested_at_us: i64,
    /// Came too late to be live.
    pub(crate) backfilled: bool,
}

/// Says that a step could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// Older than the condition's last step, or an end of nothing.
    Late,
    /// No room for another condition, or an id outside the limits.
    Refused,
}

/// Feeds one device alarm.
pub(crate) fn step(
    key: &DeviceKey,
    conditions: &mut Vec<ConditionState>,
    step: Step<'_>,
    out: &mut Vec<Transition>,
) -> Result<(), Ignored> {
    let id = &step.alarm.condition_id;
    if id.is_empty() || id.len() > NAME_BYTES_MAX {
        return Err(Ignored::Refused);
    }
    let at = match conditions.iter().position(|c| c.condition_id == *id) {
        Some(at) if step.at_us < conditions[at].last_us => return Err(Ignored::Late),
        Some(at) => at,
        None => room(conditions, id).ok_or(Ignored::Refused)?,
    };
    let state = &mut conditions[at];
    state.last_us = step.at_us;
    match step.alarm.phase() {
        AlarmPhase::End => end(state, step, out),
        AlarmPhase::Update | AlarmPhase::Escalate | AlarmPhase::Deescalate if state.alert.is_some() => {
            change(state, step, out);
            Ok(())
        }
        AlarmPhase::Unspecified => Err(Ignored::Refused),
        _ => {
            start(key, state, step, out);
            Ok(())
        }
    }
}

/// Raises a held start whose time is up.
pub(crate) fn expire(state: &mut ConditionState, now_us: i64, out: &mut Vec<Transition>) {
    if state.held_until_us == 0 || state.held_until_us > now_us {
        return;
    }
    let at_us = std::mem::take(&mut state.held_until_us);
    out.extend(state.alert.clone().map(|alert| Transition::start(alert, "device", at_us)));
}

fn start(key: &DeviceKey, state: &mut ConditionState, step: Step<'_>, out: &mut Vec<Transition>) {
    if let Some(alert) = &state.alert {
        // A live sign of a held condition: it is on now.
        if state.held_until_us != 0 && !step.backfilled {
            state.held_until_us = 0;
            out.push(Transition::start(alert.clone(), "device", step.at_us));
        }
        return;
    }
    let kind = known(step.alarm.kind(), AlarmKind::Unspecified, AlarmKind::Physiological);
    let priority = known(step.alarm.priority(), Priority::Unspecified, Priority::Medium);
    let rule_id = format!("device/{}", state.condition_id);
    let subject = Subject { rule_id: &rule_id, kind, priority, mdc_code: step.alarm.source_mdc_code };
    let mut raised = alert(key, subject, step.at_us);
    measured(&mut raised, step.alarm);
    state.alert = Some(raised.clone());
    if step.backfilled {
        state.held_until_us = step.ingested_at_us.saturating_add(HOLD_US);
    } else {
        out.push(Transition::start(raised, "device", step.at_us));
    }
}

fn change(state: &mut ConditionState, step: Step<'_>, out: &mut Vec<Transition>) {
    let Some(alert) = &mut state.alert else { return };
    measured(alert, step.alarm);
    let priority = alert.priority();
    alert.set_priority(known(step.alarm.priority(), Priority::Unspecified, priority));
    if state.held_until_us == 0 {
        let (phase, alert) = (step.alarm.phase(), alert.clone());
        out.push(Transition { phase, reason: "device", at_us: step.at_us, alert });
    }
}

fn end(state: &mut ConditionState, step: Step<'_>, out: &mut Vec<Transition>) -> Result<(), Ignored> {
    let known = state.alert.is_some();
    if let Some(mut ended) = state.take_present() {
        measured(&mut ended, step.alarm);
        out.push(Transition::end(ended, "device", step.at_us));
    }
    state.held_until_us = 0;
    if known { Ok(()) } else { Err(Ignored::Late) }
}

fn measured(alert: &mut Alert, alarm: &DeviceAlarm) {
    alert.value = alarm.value.or(alert.value);
    alert.limit = alarm.limit.or(alert.limit);
    if !alarm.ucum_unit.is_empty() {
        alert.ucum_unit.clone_from(&alarm.ucum_unit);
    }
}

fn known<T: PartialEq>(said: T, unspecified: T, instead: T) -> T {
    if said == unspecified { instead } else { said }
}

/// Makes room: ended conditions go first, the least recent one before the others.
fn room(conditions: &mut Vec<ConditionState>, id: &str) -> Option<usize> {
    if conditions.len() >= CONDITIONS_MAX {
        let ended = (0..conditions.len()).filter(|i| conditions[*i].alert.is_none());
        let oldest = ended.min_by_key(|i| conditions[*i].last_us)?;
        conditions.remove(oldest);
    }
    let last_us = i64::MIN;
    conditions.push(ConditionState { condition_id: id.to_owned(), last_us, ..ConditionState::default() });
    Some(conditions.len() - 1)
}
