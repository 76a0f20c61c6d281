//! How a front lets go of its devices: told first, sent elsewhere at a pace, and never before their last
//! acknowledgement.

use super::Front;
use serde::Deserialize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use wardline_proto::refusal::Refusal;

/// How often sessions are sent on, unless fewer go than that.
const STEP: Duration = Duration::from_millis(50);
/// Greatest length of the list that a device is told, bytes.
const REFERENCE_BYTES_MAX: usize = 512;
/// Longest that a drain may be set to take, each of its two parts.
const PART_MAX: Duration = Duration::from_secs(600);

/// How a front ends when it is told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainOptions {
    /// The fronts that devices are sent to, `host:port`, best first. Without any, all sessions end at once.
    pub to: Vec<String>,
    /// Milliseconds between the end of readiness and the first session's; what looks at readiness needs that long.
    pub notice_ms: u64,
    /// Sessions that are sent on per second; more when `within_ms` would not be kept.
    pub sessions_per_second: u32,
    /// Milliseconds after which every session was sent on.
    pub within_ms: u64,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self { to: Vec::new(), notice_ms: 0, sessions_per_second: 500, within_ms: 60_000 }
    }
}

impl DrainOptions {
    /// Names what is wrong with the settings.
    pub fn problems(&self) -> Vec<String> {
        let part_ms = PART_MAX.as_millis() as u64;
        let is_front = |front: &String| {
            let port = front.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
            port.is_some_and(|port| port.parse::<u16>().is_ok()) && !front.contains(char::is_whitespace)
        };
        let checks = [
            (self.to.iter().all(is_front), "to: each is host:port".to_owned()),
            (
                self.reference().len() <= REFERENCE_BYTES_MAX,
                format!("to: at most {REFERENCE_BYTES_MAX} bytes together"),
            ),
            (self.notice_ms <= part_ms, format!("notice_ms: at most {part_ms}")),
            ((1..=part_ms).contains(&self.within_ms), format!("within_ms: 1 to {part_ms}")),
            (self.sessions_per_second > 0, "sessions_per_second: at least 1".to_owned()),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, problem)| problem).collect()
    }

    /// Returns MQTT 5's server reference: the fronts, separated by spaces.
    pub(super) fn reference(&self) -> String {
        self.to.join(" ")
    }

    /// Returns how long readiness is gone before the first session is.
    pub fn notice(&self) -> Duration {
        Duration::from_millis(self.notice_ms)
    }

    /// Returns how long sending on may take; nothing when there is nowhere to send to.
    pub fn within(&self) -> Duration {
        if self.to.is_empty() { Duration::ZERO } else { Duration::from_millis(self.within_ms) }
    }

    /// Returns how long a step is, and how many sessions go in one so that `sessions` are gone in time.
    fn pace(&self, sessions: usize) -> (Duration, usize) {
        let step = STEP.max(Duration::from_secs(1) / self.sessions_per_second.max(1));
        let steps = (self.within().as_micros() / step.as_micros()).max(1) as usize;
        let paced = u128::from(self.sessions_per_second) * step.as_micros() / 1_000_000;
        (step, (paced as usize).max(sessions.div_ceil(steps)).max(1))
    }
}

/// Sends sessions on, a few per step.
pub(super) struct Mover {
    step: Interval,
    per_step: usize,
    until: Instant,
}

impl Mover {
    /// Begins: from now on a CONNECT is sent on too. Nothing when there is nowhere to send to.
    pub(super) fn begin(front: &Front) -> Option<Self> {
        let options = &front.options.drain;
        if options.to.is_empty() {
            return None;
        }
        front.moving.store(true, Ordering::Relaxed);
        let sessions = front.devices.session_count();
        tracing::info!(sessions, to = %options.reference(), "devices are sent to other fronts");
        let (step, per_step) = options.pace(sessions);
        let mut step = interval(step);
        step.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Some(Self { step, per_step, until: Instant::now() + options.within() })
    }

    /// Waits for the next step and takes it. False when nobody is left, or no time.
    pub(super) async fn step(&mut self, front: &Front) -> bool {
        tokio::select! {
            _ = self.step.tick() => {}
            () = sleep_until(self.until) => return false,
        }
        front.devices.cut_some(self.per_step, Refusal::Moved);
        front.devices.session_count() > 0
    }
}

impl Front {
    /// Says why no session is opened now.
    pub(super) fn refuses_sessions(&self) -> Result<(), Refusal> {
        if self.moving.load(Ordering::Relaxed) { Err(Refusal::Moved) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_rises_where_the_time_would_not_do() {
        let to = vec!["front-2:8883".to_owned()];
        let options = DrainOptions { to, within_ms: 10_000, ..DrainOptions::default() };
        assert_eq!(options.pace(100), (STEP, 25), "500 a second");
        assert_eq!(options.pace(20_000), (STEP, 100), "2000 a second");
        let slow = DrainOptions { sessions_per_second: 2, ..options };
        assert_eq!(slow.pace(3), (Duration::from_millis(500), 1), "2 a second");
        assert_eq!(slow.pace(100).1, 5, "as soon as must be");
    }

    #[test]
    fn what_cannot_be_told_to_a_device_is_no_setting() {
        let to = |fronts: &[&str]| DrainOptions {
            to: fronts.iter().map(|&front| front.to_owned()).collect(),
            ..DrainOptions::default()
        };
        assert_eq!(to(&["a:8883", "[::1]:8883"]).problems(), [""; 0]);
        for bad in ["a", ":8883", "a:x", "a b:8883", "a:70000"] {
            assert_eq!(to(&[bad]).problems(), ["to: each is host:port"], "{bad}");
        }
        assert_eq!(to(&["front-with-a-long-name.example:8883"; 20]).problems().len(), 1);
        let slow = DrainOptions { sessions_per_second: 0, within_ms: 0, ..DrainOptions::default() };
        assert_eq!(slow.problems().len(), 2);
    }
}
