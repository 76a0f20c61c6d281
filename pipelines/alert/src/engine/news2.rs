//! NEWS2 rules: an alert that follows the score of a device's patient.
//!
//! ```text
//!            band of the rule reached for onset_delay      another priority
//!  (nothing) ----------------------------------> present ---------------------> escalate, deescalate
//!      ^                                            |
//!      +--------------------------------------------+  below the band for clear_delay, and nothing missing
//! ```
//! Time is the readings' own. A parameter older than `stale_after` is missing; the score is then incomplete and its
//! known points are a floor: they may raise an alert, since the total can only be higher, and never end one. A delay begins
//! anew where what it is about was stale in between.

use super::transition::{Subject, Transition, alert};
use crate::news2::{Band, Parameter, Score, Vitals};
use crate::observation::Reading;
use crate::rules::{Breathing, Consciousness, News2Rule};
use wardline_proto::DeviceKey;
use wardline_proto::v1::{self, AlarmKind, AlarmPhase, Alert};

/// The lowest band of which an alert may be made: points below it are everybody's.
pub(crate) const FROM_BAND_MIN: Band = Band::LowMedium;

/// Inspired oxygen above this is more than air, % (air has 20.9).
const AIR_FIO2_MAX: f64 = 21.5;

/// The score's state for one device. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct News2State {
    /// The rule.
    #[prost(string, tag = "1")]
    pub rule_id: String,
    /// The newest reading of each metric that the score uses.
    #[prost(message, repeated, tag = "2")]
    pub latest: Vec<LatestReading>,
    /// First reading of the run that reached the rule's band.
    #[prost(int64, optional, tag = "3")]
    pub reached_us: Option<i64>,
    /// First reading of the run that was below it.
    #[prost(int64, optional, tag = "4")]
    pub cleared_us: Option<i64>,
    /// The alert while it is present.
    #[prost(message, optional, tag = "5")]
    pub alert: Option<Alert>,
}

/// A metric's newest live, usable reading.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LatestReading {
    /// Metric.
    #[prost(uint32, tag = "1")]
    pub mdc_code: u32,
    /// Edge time.
    #[prost(int64, tag = "2")]
    pub at_us: i64,
    /// In the metric's unit.
    #[prost(double, tag = "3")]
    pub value: f64,
}

/// Metrics of each measured parameter, the preferred one first.
const SOURCES: [(Parameter, &[u32]); 6] = [
    (Parameter::Respiration, &[151_562, 151_578, 151_594]),
    (Parameter::Spo2, &[150_456]),
    (Parameter::Oxygen, &[152_196]),
    (Parameter::Systolic, &[150_033, 150_021]),
    (Parameter::Pulse, &[147_842, 149_530]),
    (Parameter::Temperature, &[150_364]),
];

/// Says whether the score uses a metric.
pub(crate) fn uses(mdc_code: u32) -> bool {
    SOURCES.iter().any(|(_, codes)| codes.contains(&mdc_code))
}

/// Feeds one live, usable reading of a metric that the score uses.
pub(crate) fn step(
    rule: &News2Rule,
    key: &DeviceKey,
    states: &mut Vec<News2State>,
    (mdc_code, reading): (u32, Reading),
    out: &mut Vec<Transition>,
) {
    let at = states.iter().position(|s| s.rule_id == rule.id).unwrap_or_else(|| {
        states.push(News2State { rule_id: rule.id.clone(), ..News2State::default() });
        states.len() - 1
    });
    let state = &mut states[at];
    let now_us = reading.at_us.max(state.latest.iter().map(|l| l.at_us).max().unwrap_or(i64::MIN));
    // What was known just before this reading: what has become stale since proves nothing about the time between.
    let before = state.vitals(rule, now_us).score(rule.scale);
    match state.latest.iter_mut().find(|l| l.mdc_code == mdc_code) {
        Some(latest) if latest.at_us >= reading.at_us => return,
        Some(latest) => (latest.at_us, latest.value) = (reading.at_us, reading.value),
        None => state.latest.push(LatestReading { mdc_code, at_us: reading.at_us, value: reading.value }),
    }
    let score = state.vitals(rule, now_us).score(rule.scale);
    if before.known_band() < rule.from_band {
        state.reached_us = None;
    }
    if before.total().is_none() {
        state.cleared_us = None;
    }
    state.decide(rule, key, &score, now_us, out);
}

impl News2State {
    /// Returns what is known and not stale at `now_us`.
    pub(crate) fn vitals(&self, rule: &News2Rule, now_us: i64) -> Vitals {
        let fresh = |parameter: Parameter| {
            let (_, codes) = SOURCES.iter().find(|(p, _)| *p == parameter)?;
            let of = |code: &u32| self.latest.iter().find(|l| l.mdc_code == *code);
            let stale_after_us = rule.stale_after_us(parameter);
            codes
                .iter()
                .filter_map(of)
                .find(|l| now_us.saturating_sub(l.at_us) <= stale_after_us)
                .map(|l| l.value)
        };
        Vitals {
            respiration: fresh(Parameter::Respiration),
            spo2: fresh(Parameter::Spo2),
            on_oxygen: match rule.breathing {
                Breathing::Measured => fresh(Parameter::Oxygen).map(|fio2| fio2 > AIR_FIO2_MAX),
                Breathing::Air => Some(false),
                Breathing::Oxygen => Some(true),
            },
            systolic: fresh(Parameter::Systolic),
            pulse: fresh(Parameter::Pulse),
            is_alert: match rule.consciousness {
                Consciousness::NotMeasured => None,
                Consciousness::PresumedAlert => Some(true),
            },
            temperature: fresh(Parameter::Temperature),
        }
    }

    fn decide(
        &mut self,
        rule: &News2Rule,
        key: &DeviceKey,
        score: &Score,
        now_us: i64,
        out: &mut Vec<Transition>,
    ) {
        if score.known_band() >= rule.from_band {
            self.cleared_us = None;
            let since_us = *self.reached_us.get_or_insert(now_us);
            match &mut self.alert {
                Some(present) => follow(present, rule, score, now_us, out),
                None if now_us - since_us >= rule.onset_delay_us => {
                    let raised = raise(rule, key, score, since_us);
                    out.push(Transition::start(raised.clone(), reason(score), now_us));
                    self.alert = Some(raised);
                }
                None => {}
            }
            return;
        }
        self.reached_us = None;
        // What is not known may be what is wrong: only a whole score ends an alert.
        if self.alert.is_none() || score.total().is_none() {
            self.cleared_us = None;
            return;
        }
        let since_us = *self.cleared_us.get_or_insert(now_us);
        if now_us - since_us >= rule.clear_delay_us
            && let Some(mut ended) = self.alert.take()
        {
            self.cleared_us = None;
            tell(&mut ended, score);
            out.push(Transition::end(ended, "cleared", now_us));
        }
    }
}

fn raise(rule: &News2Rule, key: &DeviceKey, score: &Score, onset_us: i64) -> Alert {
    let priority = rule.priority(score.known_band());
    let subject = Subject { rule_id: &rule.id, kind: AlarmKind::Physiological, priority, mdc_code: 0 };
    let mut raised = alert(key, subject, onset_us);
    tell(&mut raised, score);
    raised
}

/// Escalates with the band. It does not go down on an incomplete score.
fn follow(present: &mut Alert, rule: &News2Rule, score: &Score, now_us: i64, out: &mut Vec<Transition>) {
    let (before, after) = (present.priority, i32::from(rule.priority(score.known_band())));
    let phase = match after.cmp(&before) {
        std::cmp::Ordering::Greater => AlarmPhase::Escalate,
        std::cmp::Ordering::Less if score.total().is_some() => AlarmPhase::Deescalate,
        _ => return,
    };
    present.priority = after;
    tell(present, score);
    out.push(Transition { phase, reason: reason(score), at_us: now_us, alert: present.clone() });
}

fn reason(score: &Score) -> &'static str {
    if score.total().is_some() { "score" } else { "incomplete" }
}

fn tell(alert: &mut Alert, score: &Score) {
    alert.news2 = Some(v1::News2Score {
        known_points: u32::from(score.known()),
        total: score.total().map(u32::from),
        band: score.known_band().name().to_owned(),
        missing: score.missing().map(|p| p.name().to_owned()).collect(),
    });
}
