//! What the engine remembers of one device. Persisted as it stands; the message's tags are its format.

use super::EngineCounts;
use super::composite::{self, CompositeState};
use super::dedup::SeenStream;
use super::device_alarm::{self, ConditionState, DISPLACED, Ignored};
use super::evidence;
use super::late::{self, LateState};
use super::missing::{self, MissingState};
use super::news2::{self, News2State};
use super::pulse::{self, PLETH, PulseState};
use super::rate::{self, RateState};
use super::spell::{self, Noticed, SpellState};
use super::strip::{self, StripState};
use super::suppress::{self, SuppressState, Times};
use super::threshold::{self, ThresholdState};
use super::transition::Transition;
use crate::observation::{Observation, Reading, Taken, readings};
use crate::rules::{Limit, Rules};
use wardline_proto::DeviceKey;
use wardline_proto::codes::{self, status};
use wardline_proto::v1::{Alert, NumericSeries};

/// The state of one device.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeviceState {
    /// Which frames were seen.
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<SeenStream>,
    /// How far each ruled metric came.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<MetricClock>,
    /// Limits that are crossed.
    #[prost(message, repeated, tag = "3")]
    pub thresholds: Vec<ThresholdState>,
    /// Metrics that are expected.
    #[prost(message, repeated, tag = "4")]
    pub missing: Vec<MissingState>,
    /// Conditions that the device raised.
    #[prost(message, repeated, tag = "5")]
    pub conditions: Vec<ConditionState>,
    /// Ingest time of its last publish.
    #[prost(int64, tag = "6")]
    pub last_us: i64,
    /// Early warning scores.
    #[prost(message, repeated, tag = "7")]
    pub news2: Vec<News2State>,
    /// Its certificate in two places.
    #[prost(message, optional, tag = "8")]
    pub contested: Option<SpellState>,
    /// Windows of rates of change.
    #[prost(message, repeated, tag = "9")]
    pub rates: Vec<RateState>,
    /// Composites.
    #[prost(message, repeated, tag = "10")]
    pub composites: Vec<CompositeState>,
    /// What is held back.
    #[prost(message, optional, tag = "11")]
    pub suppress: Option<SuppressState>,
    /// Runs in what came late.
    #[prost(message, repeated, tag = "12")]
    pub late: Vec<LateState>,
    /// Pulses in the plethysmogram.
    #[prost(message, optional, tag = "13")]
    pub pulse: Option<PulseState>,
    /// Which waveforms came, and alerts that wait for theirs.
    #[prost(message, optional, tag = "14")]
    pub strip: Option<StripState>,
    /// An alarm that could not be told.
    #[prost(message, optional, tag = "15")]
    pub alarm_lost: Option<SpellState>,
}

/// The time of a metric's last live, usable reading.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricClock {
    /// Metric.
    #[prost(uint32, tag = "1")]
    pub mdc_code: u32,
    /// Edge time.
    #[prost(int64, tag = "2")]
    pub last_us: i64,
}

/// Where transitions and counts go.
pub(crate) struct Sink<'a> {
    pub(crate) out: &'a mut Vec<Transition>,
    pub(crate) counts: &'a mut EngineCounts,
}

impl DeviceState {
    /// Feeds one publish that was not seen before.
    pub(crate) fn observe(&mut self, rules: &Rules, taken: &Taken<'_>, sink: &mut Sink<'_>) {
        let (mark, seen) = (sink.out.len(), taken.publish);
        for series in &seen.body.numerics {
            self.series(rules, taken, series, sink);
        }
        for block in &seen.body.waveforms {
            let live = taken.is_live(rules.live, seen.edge_time(block.start_us));
            if live && block.mdc_code == PLETH {
                pulse::feed(&mut self.pulse, block, seen.edge_time(block.start_us));
            }
            if live {
                strip::feed(&mut self.strip, block, seen.edge_time(block.start_us));
            }
            self.arrived(rules, &seen.key, block.mdc_code, (taken.time_us, live), sink.out);
        }
        if rules.pass_device_alarms {
            self.alarms(rules, taken, sink);
        }
        self.qualify(rules, seen, &mut sink.out[mark..]);
    }

    /// Says what the plethysmogram knows of alarms of the heart rate that began with this publish.
    fn qualify(&mut self, rules: &Rules, seen: &Observation, began: &mut [Transition]) {
        let of_device = |alert: &Alert| {
            let id = alert.rule_id.strip_prefix("device/")?;
            let alarm = seen.body.alarms.iter().find(|alarm| alarm.condition_id == id)?;
            evidence::claimed(alarm.source_mdc_code, alarm.mdc_code, alarm.limit)
        };
        let of_rule = |alert: &Alert| {
            let rule = rules.thresholds.iter().find(|rule| rule.id == alert.rule_id)?;
            Some(match (rule.limit, alert.limit) {
                (Limit::Below(_), Some(limit)) => Limit::Below(limit),
                (Limit::Above(_), Some(limit)) => Limit::Above(limit),
                (limit, None) => limit,
            })
        };
        let limits = self.thresholds.iter_mut().filter_map(|state| state.alert.as_mut());
        let remembered = limits.chain(self.conditions.iter_mut().filter_map(|state| state.alert.as_mut()));
        let limit_of = |alert: &Alert| of_device(alert).or_else(|| of_rule(alert));
        evidence::qualify(self.pulse.as_ref(), began, limit_of, remembered);
    }

    /// Raises what is due at `now_us`.
    pub(crate) fn expire(&mut self, rules: &Rules, key: &DeviceKey, now_us: i64, out: &mut Vec<Transition>) {
        for state in &mut self.missing {
            if let Some(rule) = rules.missing.iter().find(|r| r.id == state.rule_id) {
                missing::expire(rule, key, state, now_us, out);
            }
        }
        for state in &mut self.composites {
            if let Some(rule) = rules.composites.iter().find(|r| r.id == state.rule_id) {
                composite::expire(rule, key, state, now_us, out);
            }
        }
        self.conditions.iter_mut().for_each(|state| device_alarm::expire(state, now_us, out));
        spell::expire(&mut self.contested, now_us, out);
        spell::expire(&mut self.alarm_lost, now_us, out);
    }

    /// Tells which waveforms there are around the onsets whose time has come.
    pub(crate) fn strips(&mut self, now_us: i64, out: &mut Vec<Transition>) {
        let limits = self.thresholds.iter_mut().filter_map(|state| state.alert.as_mut());
        let others = self.conditions.iter_mut().filter_map(|state| state.alert.as_mut());
        let scores = self.news2.iter_mut().filter_map(|state| state.alert.as_mut());
        let combined = self.composites.iter_mut().filter_map(|state| state.alert.as_mut());
        strip::expire(&mut self.strip, now_us, out, limits.chain(others).chain(scores).chain(combined));
    }

    /// Returns when this device wants to be looked at next.
    pub(crate) fn wake_us(&self) -> Option<i64> {
        let missing = self.missing.iter().filter_map(MissingState::wake_us);
        let spells = self.contested.iter().chain(&self.alarm_lost).map(|state| state.until_us);
        let composites = self.composites.iter().map(|state| state.wake_us);
        let later = composites.chain(self.suppress.as_ref().map(|s| s.wake_us)).filter(|us| *us != 0);
        let conditions = self.conditions.iter().filter_map(ConditionState::wake_us);
        let strips = self.strip.as_ref().and_then(StripState::wake_us);
        missing.chain(conditions).chain(spells).chain(later).chain(strips).min()
    }

    /// Puts composites behind what was decided since `mark`, and holds back what a cause explains; returns how many
    /// starts were held.
    pub(crate) fn chain(
        &mut self,
        rules: &Rules,
        key: &DeviceKey,
        now_us: i64,
        (out, mark): (&mut Vec<Transition>, usize),
    ) -> u64 {
        if rules.composites.is_empty() && rules.suppressions.is_empty() && self.suppress.is_none() {
            return 0;
        }
        let mut seen = out.split_off(mark);
        composite::follow(&rules.composites, key, &mut self.composites, &mut seen, now_us);
        let mut state = self.suppress.take().unwrap_or_default();
        let times = Times { now_us, heard_us: self.last_us };
        let held = suppress::filter(&rules.suppressions, key, &mut state, seen, times, out);
        self.suppress = Some(state).filter(|s| !s.causes.is_empty() || !s.held.is_empty());
        held
    }

    /// Tells of what was noticed about the device.
    pub(crate) fn notice(&mut self, what: Noticed, key: &DeviceKey, at_us: i64, out: &mut Vec<Transition>) {
        let state = match what {
            Noticed::Contested => &mut self.contested,
            Noticed::AlarmLost => &mut self.alarm_lost,
        };
        spell::seen(what, state, key, at_us, out);
    }

    fn series(&mut self, rules: &Rules, taken: &Taken<'_>, series: &NumericSeries, sink: &mut Sink<'_>) {
        let seen = taken.publish;
        let Some(metric) = codes::by_code(series.mdc_code) else { return };
        if metric.ucum_unit != series.ucum_unit {
            sink.counts.unit_mismatch += 1;
            return;
        }
        let (mut came, mut usable) = (false, false);
        for reading in readings(series, seen.device_offset_us) {
            let sound = reading.status & status::NO_ALARM == 0 && metric.is_plausible(reading.value);
            if !sound {
                sink.counts.unusable += 1;
                continue;
            }
            came = true;
            if !taken.is_live(rules.live, reading.at_us) {
                sink.counts.not_live += 1;
                if reading.at_us < taken.came_us() {
                    self.late(rules, taken, (series.mdc_code, reading), sink.out);
                }
                continue;
            }
            usable |= self.reading(rules, taken, (series.mdc_code, reading), sink);
            self.score(rules, taken, (series.mdc_code, reading), sink.out);
        }
        if came {
            self.arrived(rules, &seen.key, series.mdc_code, (taken.time_us, usable), sink.out);
        }
    }

    /// Feeds one live, usable reading to the metric's limits; `false` when it came out of order.
    fn reading(
        &mut self,
        rules: &Rules,
        from: &Taken<'_>,
        (mdc_code, reading): (u32, Reading),
        sink: &mut Sink<'_>,
    ) -> bool {
        let (key, now_us) = (&from.publish.key, from.time_us);
        if !rules.limits().any(|r| r.mdc_code == mdc_code && r.scope.covers(key)) {
            return true;
        }
        let clock = match self.metrics.iter_mut().position(|m| m.mdc_code == mdc_code) {
            Some(at) => &mut self.metrics[at],
            None => {
                self.metrics.push(MetricClock { mdc_code, last_us: i64::MIN });
                let last = self.metrics.len() - 1;
                &mut self.metrics[last]
            }
        };
        if reading.at_us <= clock.last_us {
            sink.counts.out_of_order += 1;
            return false;
        }
        let previous_us = std::mem::replace(&mut clock.last_us, reading.at_us);
        let seen = (reading, previous_us);
        for rule in rules.thresholds.iter().filter(|r| r.mdc_code == mdc_code && r.scope.covers(key)) {
            let rule = rules.in_force(rule, key, (reading.at_us, now_us));
            threshold::step(&rule, key, &mut self.thresholds, seen, sink.out);
        }
        let rates =
            rules.rates.iter().filter(|r| r.change.mdc_code == mdc_code && r.change.scope.covers(key));
        for rule in rates {
            rate::step(rule, key, (&mut self.rates, &mut self.thresholds), seen, sink.out);
        }
        true
    }

    /// Feeds one usable reading that came too late to be live.
    fn late(
        &mut self,
        rules: &Rules,
        from: &Taken<'_>,
        (mdc_code, reading): (u32, Reading),
        out: &mut Vec<Transition>,
    ) {
        let (key, now_us) = (&from.publish.key, from.time_us);
        for rule in rules.thresholds.iter().filter(|r| r.mdc_code == mdc_code && r.scope.covers(key)) {
            let rule = rules.in_force(rule, key, (reading.at_us, now_us));
            late::step(&rule, key, &mut self.late, reading, out);
        }
    }

    /// Feeds one live, usable reading to the scores that use its metric.
    fn score(&mut self, rules: &Rules, from: &Taken<'_>, reading: (u32, Reading), out: &mut Vec<Transition>) {
        if news2::uses(reading.0) {
            let key = &from.publish.key;
            for rule in rules.news2.iter().filter(|r| r.scope.covers(key)) {
                let rule = rules.scored(rule, key, from.time_us);
                news2::step(&rule, key, &mut self.news2, reading, out);
            }
        }
    }

    fn arrived(
        &mut self,
        rules: &Rules,
        key: &DeviceKey,
        mdc_code: u32,
        when: (i64, bool),
        out: &mut Vec<Transition>,
    ) {
        for rule in rules.missing.iter().filter(|r| r.mdc_code == mdc_code && r.scope.covers(key)) {
            missing::seen(rule, &mut self.missing, when, out);
        }
    }

    fn alarms(&mut self, rules: &Rules, taken: &Taken<'_>, sink: &mut Sink<'_>) {
        let (seen, came_us) = (taken.publish, taken.came_us());
        let (mark, mut lost) = (sink.out.len(), false);
        for alarm in &seen.body.alarms {
            let at_us = seen.edge_time(alarm.at_us);
            let step = device_alarm::Step {
                alarm,
                at_us,
                time_us: taken.time_us,
                came_us,
                // A wrong clock ahead of ours must not hide an alarm.
                backfilled: at_us < came_us.saturating_sub(rules.live.behind_us),
                epoch: seen.header.map_or(0, |header| header.epoch),
                silent_us: taken.silent_us,
            };
            match device_alarm::step(&seen.key, &mut self.conditions, step, sink.out) {
                Ok(()) => {}
                Err(Ignored::Late) => sink.counts.out_of_order += 1,
                Err(Ignored::Refused) => {
                    sink.counts.conditions_refused += 1;
                    lost = true;
                }
            }
        }
        lost |= sink.out.iter().skip(mark).any(|told| told.reason == DISPLACED);
        if lost {
            self.notice(Noticed::AlarmLost, &seen.key, taken.time_us, sink.out);
        }
    }
}
