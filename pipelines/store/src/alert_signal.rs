//! The signal of an alert, kept apart from its condition (BICEPS): who has seen to it, until when it is paused, when
//! it escalates. A pure machine: what happened and when go in, the next signal and what is told come out.
//!
//! ```text
//!   start          acknowledge                       higher priority, re-alarm
//!  ------> present ----------> acknowledged ---------------------------------> present
//!            |  ^ pause ended, higher priority
//!      pause v  |                          condition ends
//!           paused                any state ------------> ended, or latched until acknowledged
//! ```
//! Nothing here hides a condition: while it is paused its own rise in priority ends the pause, and a new condition of
//! a higher priority starts unpaused.

use wardline_proto::v1::{AlarmPhase, AlertSignal, AlertState, Priority};

/// How a condition's signal behaves. Times are microseconds; 0 switches one off.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Policy {
    /// The signal stays after the condition has ended, until somebody acknowledges it.
    #[prost(bool, tag = "1")]
    pub latching: bool,
    /// Not acknowledged for this long escalates.
    #[prost(int64, tag = "2")]
    pub escalate_after_us: i64,
    /// It escalates this often at most.
    #[prost(uint32, tag = "3")]
    pub escalations_max: u32,
    /// From this priority on.
    #[prost(enumeration = "Priority", tag = "4")]
    pub escalate_from: i32,
    /// An acknowledged condition that is still present after this long alarms again.
    #[prost(int64, tag = "5")]
    pub realarm_after_us: i64,
}

/// What the engine says of a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Names tenant, device and rule, hex: equal for each time that it comes back.
    pub condition_id: String,
    /// What happened.
    pub phase: AlarmPhase,
    /// Its priority now.
    pub priority: Priority,
    /// How its signal behaves.
    pub policy: Policy,
}

/// The pause of a condition that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Up to this priority.
    pub priority: i32,
    /// Unix microseconds.
    pub until_us: i64,
    /// Who paused it.
    pub by: String,
}

/// The signal. Persisted as it stands; the tags are its format.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Signal {
    /// Its state.
    #[prost(enumeration = "AlertState", tag = "1")]
    pub state: i32,
    /// Priority of the condition.
    #[prost(enumeration = "Priority", tag = "2")]
    pub priority: i32,
    /// Who acknowledged it last.
    #[prost(string, tag = "3")]
    pub acknowledged_by: String,
    /// When.
    #[prost(int64, tag = "4")]
    pub acknowledged_at_us: i64,
    /// Who paused it.
    #[prost(string, tag = "5")]
    pub paused_by: String,
    /// Until when.
    #[prost(int64, tag = "6")]
    pub paused_until_us: i64,
    /// How often it escalated since it was raised or seen to.
    #[prost(uint32, tag = "7")]
    pub escalations: u32,
    /// When it escalates or alarms again; 0 never.
    #[prost(int64, tag = "8")]
    pub timer_us: i64,
    /// How it behaves.
    #[prost(message, required, tag = "9")]
    pub policy: Policy,
    /// The highest priority that it had.
    #[prost(enumeration = "Priority", tag = "10")]
    pub highest: i32,
}

/// What an event says beside the condition.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Said {
    /// What happened.
    #[prost(enumeration = "AlarmPhase", tag = "1")]
    pub phase: i32,
    /// Why, when it is not the condition's own reason.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// When, when it is not the condition's own time.
    #[prost(int64, tag = "3")]
    pub at_us: i64,
    /// The signal after it.
    #[prost(message, required, tag = "4")]
    pub signal: Signal,
}

/// What somebody does about an alert, or time does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Somebody sees to it.
    Acknowledge {
        /// SPIFFE URI.
        by: String,
    },
    /// Its signal is paused.
    Pause {
        /// SPIFFE URI.
        by: String,
        /// Unix microseconds.
        until_us: i64,
    },
    /// Its pause ends before its time.
    Resume,
    /// Time has come.
    Expire,
}

impl Signal {
    /// Says what a condition's change makes of its signal. `before` is `None` for a new alert.
    pub fn follow(before: Option<Self>, change: &Condition, paused: Option<Paused>, now_us: i64) -> Said {
        let priority = i32::from(change.priority);
        let mut signal = match before {
            Some(before) => before,
            None => Self::raised(change, paused, now_us),
        };
        let rises = priority > signal.priority;
        // The device has started it again: whoever saw to it saw to what was before.
        let again = match change.phase {
            AlarmPhase::Continue => signal.is_acknowledged(),
            AlarmPhase::Start => signal.state() == AlertState::Latched,
            _ => false,
        };
        signal.priority = priority;
        signal.highest = signal.highest.max(priority);
        signal.policy = change.policy;
        if again || (rises && signal.is_muted()) {
            signal.alarm(now_us);
        } else if rises && signal.state() == AlertState::Present {
            signal.rearm(now_us);
        }
        if signal.state() == AlertState::Present && signal.timer_us == 0 && signal.escalations == 0 {
            signal.arm(now_us);
        }
        let (mut phase, mut reason) = (change.phase, "");
        if phase == AlarmPhase::End {
            if change.policy.latching && !signal.is_acknowledged() {
                signal.latch(now_us);
                (phase, reason) = (AlarmPhase::Update, "latched");
            } else {
                signal.off();
            }
        }
        Said { phase: phase.into(), reason: reason.to_owned(), at_us: 0, signal }
    }

    /// Says what an act makes of the signal; `None` when it changes nothing.
    pub fn act(mut self, act: &Act, now_us: i64) -> Option<Said> {
        let (phase, reason) = match act {
            Act::Acknowledge { by } => self.acknowledge(by, now_us)?,
            Act::Pause { by, until_us } => self.pause(by, *until_us)?,
            Act::Resume if self.state() == AlertState::Paused => {
                self.alarm(now_us);
                (AlarmPhase::Update, "pause_ended")
            }
            Act::Resume => return None,
            Act::Expire => self.expire(now_us)?,
        };
        Some(Said { phase: phase.into(), reason: reason.to_owned(), at_us: now_us, signal: self })
    }

    /// Returns when time does something about it; 0 never.
    pub fn due_us(&self) -> i64 {
        match self.state() {
            AlertState::Paused => self.paused_until_us,
            AlertState::Present | AlertState::Latched | AlertState::Acknowledged => self.timer_us,
            AlertState::Ended | AlertState::Unspecified => 0,
        }
    }

    /// Says whether nothing can be done about it any more.
    pub fn is_over(&self) -> bool {
        self.state() == AlertState::Ended
    }

    /// Returns what subscribers are told.
    pub fn told(&self) -> AlertSignal {
        AlertSignal {
            acknowledged_by: self.acknowledged_by.clone(),
            acknowledged_at_us: self.acknowledged_at_us,
            paused_by: self.paused_by.clone(),
            paused_until_us: self.paused_until_us,
            escalations: self.escalations,
            highest_priority: self.highest.max(self.priority),
        }
    }

    fn raised(change: &Condition, paused: Option<Paused>, now_us: i64) -> Self {
        let priority = i32::from(change.priority);
        let mut signal = Self { priority, policy: change.policy, ..Self::default() };
        match paused.filter(|pause| pause.until_us > now_us && pause.priority >= priority) {
            Some(Paused { until_us, by, .. }) => {
                signal.set_state(AlertState::Paused);
                (signal.paused_by, signal.paused_until_us) = (by, until_us);
            }
            None => signal.alarm(now_us),
        }
        signal
    }

    fn is_muted(&self) -> bool {
        matches!(self.state(), AlertState::Acknowledged | AlertState::Paused)
    }

    fn is_acknowledged(&self) -> bool {
        self.state() == AlertState::Acknowledged
    }

    /// Raises the signal: whoever saw to it before has to again.
    fn alarm(&mut self, now_us: i64) {
        self.set_state(AlertState::Present);
        (self.acknowledged_by, self.acknowledged_at_us) = (String::new(), 0);
        (self.paused_by, self.paused_until_us) = (String::new(), 0);
        self.escalations = 0;
        self.arm(now_us);
    }

    /// Sets the time of the next escalation.
    fn arm(&mut self, now_us: i64) {
        let Policy { escalate_after_us, escalations_max, escalate_from, .. } = self.policy;
        let escalates =
            escalate_after_us > 0 && self.escalations < escalations_max && self.priority >= escalate_from;
        self.timer_us = if escalates { now_us.saturating_add(escalate_after_us) } else { 0 };
    }

    /// Escalates anew from a higher priority on: at the sooner of the two times.
    fn rearm(&mut self, now_us: i64) {
        let due_us = self.timer_us;
        self.escalations = 0;
        self.arm(now_us);
        if due_us != 0 && self.timer_us != 0 {
            self.timer_us = self.timer_us.min(due_us);
        }
    }

    fn latch(&mut self, now_us: i64) {
        if self.state() == AlertState::Paused {
            self.alarm(now_us);
        }
        self.set_state(AlertState::Latched);
    }

    fn off(&mut self) {
        self.set_state(AlertState::Ended);
        (self.paused_by, self.paused_until_us) = (String::new(), 0);
        self.timer_us = 0;
    }

    fn acknowledge(&mut self, by: &str, now_us: i64) -> Option<(AlarmPhase, &'static str)> {
        let phase = match self.state() {
            AlertState::Present | AlertState::Paused => {
                self.set_state(AlertState::Acknowledged);
                AlarmPhase::Update
            }
            AlertState::Latched => {
                self.off();
                AlarmPhase::End
            }
            AlertState::Acknowledged | AlertState::Ended | AlertState::Unspecified => return None,
        };
        (self.acknowledged_by, self.acknowledged_at_us) = (by.to_owned(), now_us);
        (self.paused_by, self.paused_until_us) = (String::new(), 0);
        let again_us = self.policy.realarm_after_us;
        let again = again_us > 0 && phase == AlarmPhase::Update;
        self.timer_us = if again { now_us.saturating_add(again_us) } else { 0 };
        Some((phase, "acknowledged"))
    }

    fn pause(&mut self, by: &str, until_us: i64) -> Option<(AlarmPhase, &'static str)> {
        let can = matches!(self.state(), AlertState::Present | AlertState::Acknowledged | AlertState::Paused);
        if !can || self.paused_until_us == until_us {
            return None;
        }
        self.set_state(AlertState::Paused);
        (self.paused_by, self.paused_until_us) = (by.to_owned(), until_us);
        self.timer_us = 0;
        Some((AlarmPhase::Update, "paused"))
    }

    fn expire(&mut self, now_us: i64) -> Option<(AlarmPhase, &'static str)> {
        let due_us = self.due_us();
        if due_us == 0 || due_us > now_us {
            return None;
        }
        match self.state() {
            AlertState::Paused => {
                self.alarm(now_us);
                Some((AlarmPhase::Update, "pause_expired"))
            }
            AlertState::Acknowledged => {
                self.alarm(now_us);
                Some((AlarmPhase::Continue, "re_alarm"))
            }
            _ => {
                self.escalations += 1;
                // From now, not from when it was due: a restart does not tell all that it missed at once.
                self.arm(now_us);
                Some((AlarmPhase::Escalate, "unacknowledged"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
