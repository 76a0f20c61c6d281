//! Alarms that a device raised itself, passed through by condition id.
//!
//! `start` raises, `update`, `escalate` and `deescalate` change, `end` ends; a `continue` without a start (lost, or
//! older than the agent's spool) raises, and is otherwise only a sign of life. What is older than the condition's
//! last step came out of order and is ignored.
//!
//! A `start` of what is on already means that an end is missing. After a break (the device said nothing for a while, or
//! its spool is a new one) it is another alarm, maybe of another patient: the one before ends as `superseded`. Without
//! a break it is the same, which alarms again. A higher priority is always told.
//!
//! A backfilled start is held for a while: its end is most likely in the same backlog, and both are then told as one
//! finding that is over. Without an end it is still on, and raised.

use super::late;
use super::transition::{Subject, Transition, alert};
use crate::limits::{CONDITIONS_MAX, HOLD_US, REPEAT_US, RESTART_GAP_US};
use wardline_proto::DeviceKey;
use wardline_proto::limits::NAME_BYTES_MAX;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Alert, DeviceAlarm, Priority};

/// Why an alarm ends that is still on, as far as anybody knows: there was no room for one of a higher priority.
pub(crate) const DISPLACED: &str = "displaced";

/// A condition of one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConditionState {
    /// The device's own id of the condition.
    #[prost(string, tag = "1")]
    pub condition_id: String,
    /// Time of the last step that was taken, or when it came, if that was before.
    #[prost(int64, tag = "2")]
    pub last_us: i64,
    /// When a held start becomes an alert; 0 when it is not held.
    #[prost(int64, tag = "3")]
    pub held_until_us: i64,
    /// The alert while it is held or present.
    #[prost(message, optional, tag = "4")]
    pub alert: Option<Alert>,
    /// Epoch of the last step's stream; 0 when it is not known.
    #[prost(uint64, tag = "5")]
    pub epoch: u64,
    /// Journal time of the last step; 0 when it is not known.
    #[prost(int64, tag = "6")]
    pub heard_us: i64,
}

impl ConditionState {
    /// Returns when this wants to be looked at.
    pub(crate) fn wake_us(&self) -> Option<i64> {
        (self.held_until_us != 0).then_some(self.held_until_us)
    }

    /// Says whether subscribers know of its alert.
    pub(crate) fn is_told(&self) -> bool {
        self.alert.is_some() && self.held_until_us == 0
    }

    /// Returns the alert that subscribers know of.
    pub(crate) fn take_present(&mut self) -> Option<Alert> {
        let held = self.held_until_us != 0;
        self.alert.take().filter(|_| !held)
    }

    fn priority(&self) -> i32 {
        self.alert.as_ref().map_or(0, |alert| alert.priority)
    }
}

/// A device alarm with its time on the edge's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) alarm: &'a DeviceAlarm,
    pub(crate) at_us: i64,
    /// Journal time.
    pub(crate) time_us: i64,
    /// When it came, by the front's own clock.
    pub(crate) came_us: i64,
    /// Came too late to be live.
    pub(crate) backfilled: bool,
    /// Of its stream; 0 when it has none.
    pub(crate) epoch: u64,
    /// For how long the device had said nothing, microseconds.
    pub(crate) silent_us: i64,
}

impl Step<'_> {
    /// Says whether the device may have been off between the condition's last step and this one.
    fn is_behind_break(&self, state: &ConditionState) -> bool {
        let new_spool = state.epoch != 0 && self.epoch > state.epoch;
        new_spool || (self.silent_us >= RESTART_GAP_US && state.heard_us < self.time_us)
    }
}

/// Says that a step could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// Older than the condition's last step, or an end of nothing.
    Late,
    /// No room for another condition, or outside the limits.
    Refused,
}

/// Feeds one device alarm.
pub(crate) fn step(
    key: &DeviceKey,
    conditions: &mut Vec<ConditionState>,
    step: Step<'_>,
    out: &mut Vec<Transition>,
) -> Result<(), Ignored> {
    if !is_usable(step.alarm) {
        return Err(Ignored::Refused);
    }
    let id = &step.alarm.condition_id;
    let at = match conditions.iter().position(|c| c.condition_id == *id) {
        Some(at) if step.at_us < conditions[at].last_us => return Err(Ignored::Late),
        Some(at) => at,
        None => match room(key, conditions, step, out) {
            Some(at) => at,
            // Nobody was told of what it ends.
            None if step.alarm.phase() == AlarmPhase::End => return Err(Ignored::Late),
            None => return Err(Ignored::Refused),
        },
    };
    let state = &mut conditions[at];
    // A clock ahead must not hide what comes when it is mended.
    state.last_us = step.at_us.min(step.came_us);
    let done = match step.alarm.phase() {
        AlarmPhase::End => end(key, state, step, out),
        AlarmPhase::Update | AlarmPhase::Escalate | AlarmPhase::Deescalate if state.alert.is_some() => {
            change(state, step, out);
            Ok(())
        }
        _ => {
            start(key, state, step, out);
            Ok(())
        }
    };
    state.heard_us = step.time_us;
    state.epoch = state.epoch.max(step.epoch);
    done
}

/// Raises a held start whose time is up.
pub(crate) fn expire(state: &mut ConditionState, now_us: i64, out: &mut Vec<Transition>) {
    if state.held_until_us == 0 || state.held_until_us > now_us {
        return;
    }
    let at_us = std::mem::take(&mut state.held_until_us);
    out.extend(state.alert.clone().map(|alert| Transition::start(alert, "device", at_us)));
}

/// As the archive has it, which quarantines the rest.
fn is_usable(alarm: &DeviceAlarm) -> bool {
    let fits = |text: &str| text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    let known = alarm.phase() != AlarmPhase::Unspecified;
    known && !alarm.condition_id.is_empty() && fits(&alarm.condition_id) && fits(&alarm.ucum_unit)
}

fn start(key: &DeviceKey, state: &mut ConditionState, step: Step<'_>, out: &mut Vec<Transition>) {
    let is_start = step.alarm.phase() == AlarmPhase::Start;
    if state.is_told() && is_start && !step.backfilled && step.is_behind_break(state) {
        out.extend(state.alert.take().map(|alert| Transition::end(alert, "superseded", step.at_us)));
    }
    if state.alert.is_some() {
        return again(state, step, out);
    }
    let raised = raised(key, state, step.alarm, step.at_us);
    state.alert = Some(raised.clone());
    if step.backfilled {
        state.held_until_us = step.time_us.saturating_add(HOLD_US);
    } else {
        out.push(Transition::start(raised, "device", step.at_us));
    }
}

/// Takes a start or a sign of life of what is on, or held.
fn again(state: &mut ConditionState, step: Step<'_>, out: &mut Vec<Transition>) {
    let (held, heard_us) = (state.held_until_us != 0, state.heard_us);
    let Some(alert) = &mut state.alert else { return };
    let rises = i32::from(step.alarm.priority()) > alert.priority;
    if rises {
        alert.set_priority(step.alarm.priority());
        measured(alert, step.alarm);
    }
    let repeats = step.alarm.phase() == AlarmPhase::Start
        && !step.backfilled
        && step.time_us.saturating_sub(heard_us) >= REPEAT_US;
    let (phase, reason) = match (held, rises, repeats) {
        // A live sign of a held condition: it is on now.
        (true, _, _) if !step.backfilled => (AlarmPhase::Start, "device"),
        (true, _, _) => return,
        (false, true, _) => (AlarmPhase::Escalate, "device"),
        (false, false, true) => (AlarmPhase::Continue, "restarted"),
        (false, false, false) => return,
    };
    state.held_until_us = 0;
    out.push(Transition { phase, reason, at_us: step.at_us, alert: alert.clone() });
}

fn raised(key: &DeviceKey, state: &ConditionState, alarm: &DeviceAlarm, onset_us: i64) -> Alert {
    let kind = known(alarm.kind(), AlarmKind::Unspecified, AlarmKind::Physiological);
    let priority = known(alarm.priority(), Priority::Unspecified, Priority::Medium);
    let rule_id = format!("device/{}", state.condition_id);
    let subject = Subject { rule_id: &rule_id, kind, priority, mdc_code: alarm.source_mdc_code };
    let mut raised = alert(key, subject, onset_us);
    measured(&mut raised, alarm);
    raised
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

fn end(
    key: &DeviceKey,
    state: &mut ConditionState,
    step: Step<'_>,
    out: &mut Vec<Transition>,
) -> Result<(), Ignored> {
    let held = std::mem::take(&mut state.held_until_us) != 0;
    let mut ended = state.alert.take().ok_or(Ignored::Late)?;
    measured(&mut ended, step.alarm);
    out.push(match held {
        // Nobody was told that it began: that it was is a finding.
        true => late::of_alert(key, &ended, step.at_us),
        false => Transition::end(ended, "device", step.at_us),
    });
    Ok(())
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

/// Makes room: ended conditions go first, the least recent one before the others; then, for an alarm, one of the lowest
/// priority below its own.
fn room(
    key: &DeviceKey,
    conditions: &mut Vec<ConditionState>,
    step: Step<'_>,
    out: &mut Vec<Transition>,
) -> Option<usize> {
    if conditions.len() >= CONDITIONS_MAX {
        let ended = (0..conditions.len()).filter(|i| conditions[*i].alert.is_none());
        let oldest = ended.min_by_key(|i| conditions[*i].last_us);
        let displaced = || {
            let raises = step.alarm.phase() != AlarmPhase::End;
            let priority = i32::from(step.alarm.priority());
            let lower = (0..conditions.len()).filter(|i| raises && conditions[*i].priority() < priority);
            lower.min_by_key(|i| (conditions[*i].priority(), conditions[*i].last_us))
        };
        let gone = conditions.remove(oldest.or_else(displaced)?);
        let told = gone.is_told();
        out.extend(gone.alert.map(|alert| match told {
            true => Transition::end(alert, DISPLACED, step.at_us),
            false => late::of_alert(key, &alert, step.at_us),
        }));
    }
    let (condition_id, last_us) = (step.alarm.condition_id.clone(), i64::MIN);
    conditions.push(ConditionState { condition_id, last_us, ..ConditionState::default() });
    Some(conditions.len() - 1)
}
