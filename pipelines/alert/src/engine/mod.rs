//! The alarm engine: records in, alert transitions out. No clock, no IO, no randomness.
//!
//! Time is event time: a reading's own for limits, the journal's for silence. A timer acts at the time that it was set
//! for, whatever moves time past it: the device's next record, another device's, a tick. So as long as journal time
//! never falls, what is said of a device depends on the device's own records alone: restarts change nothing, nor does
//! how many engines share the devices. Everything that a decision depends on is in [`DeviceState`] and [`GlobalState`].
//!
//! ```text
//!  Observation -> seen before? -> per metric: live, usable, in order? -> threshold, missing -> Transition
//!                                 per device alarm                    -> condition
//!  Tick        -> wheel: devices whose time has come                  -> missing, held condition
//! ```

mod composite;
mod dedup;
mod device;
mod device_alarm;
mod evidence;
mod late;
mod missing;
mod news2;
mod pulse;
mod rate;
mod reconcile;
mod spell;
mod strip;
mod suppress;
mod system;
mod threshold;
mod transition;
mod wheel;

use crate::limits::{DEVICES_MAX, EVICTION_INTERVAL_US, IDLE_US, TENANTS_MAX};
use crate::news2::Score;
use crate::observation::{Observation, Taken};
use crate::orders::Orders;
use crate::rules::Rules;
use device::Sink;
use prost::Message;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use wardline_proto::{DeviceKey, TenantId};
use wheel::Wheel;

pub use composite::{CompositeState, Member};
pub use dedup::SeenStream;
pub use device::{DeviceState, MetricClock};
pub use device_alarm::ConditionState;
pub use late::LateState;
pub use missing::MissingState;
pub(crate) use news2::FROM_BAND_MIN;
pub use news2::{LatestReading, News2State};
pub use pulse::PulseState;
pub use rate::RateState;
pub(crate) use spell::Noticed;
pub use spell::{ALARM_LOST_RULE, CONTESTED_RULE, SpellState};
pub use strip::{OpenStrip, Span, StreamSpans, StripState};
pub use suppress::{CauseState, SuppressState};
pub use system::{SystemCondition, SystemState};
pub use threshold::{About, ThresholdState};
pub use transition::Transition;
pub(crate) use transition::{Subject, alert_id, condition_id, present};

/// What the engine did with what it was fed, since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineCounts {
    /// Publishes fed.
    pub observed: u64,
    /// Frames that were seen before.
    pub duplicates: u64,
    /// Readings and device alarms older than what was already decided on.
    pub out_of_order: u64,
    /// Readings outside the live window.
    pub not_live: u64,
    /// Readings whose status or value forbids a decision.
    pub unusable: u64,
    /// Series in another unit than the metric's.
    pub unit_mismatch: u64,
    /// Device alarms for which there was no room, or that break a limit.
    pub conditions_refused: u64,
    /// Publishes of devices for which there was no room.
    pub devices_refused: u64,
    /// Alerts that were held back because a cause explains them.
    pub suppressed: u64,
}

/// What the engine remembers besides its devices. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GlobalState {
    /// Everything up to here has been decided.
    #[prost(int64, tag = "1")]
    pub watermark_us: i64,
    /// System alerts that are present.
    #[prost(message, repeated, tag = "2")]
    pub system: Vec<SystemState>,
}

/// What changed since the last checkpoint: state to be stored in one transaction with the transitions.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Encoded [`DeviceState`] of each changed device; `None` for one that was forgotten.
    pub devices: Vec<(DeviceKey, Option<Vec<u8>>)>,
    /// Encoded [`GlobalState`].
    pub global: Vec<u8>,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    devices: HashMap<DeviceKey, DeviceState>,
    tenants: BTreeSet<TenantId>,
    wheel: Wheel,
    changed: BTreeSet<DeviceKey>,
    global: GlobalState,
    counts: EngineCounts,
    devices_max: usize,
    next_eviction_us: i64,
}

impl Engine {
    /// Makes an engine that has seen nothing.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            devices: HashMap::new(),
            tenants: BTreeSet::new(),
            wheel: Wheel::default(),
            changed: BTreeSet::new(),
            global: GlobalState::default(),
            counts: EngineCounts::default(),
            devices_max: DEVICES_MAX,
            next_eviction_us: i64::MIN,
        }
    }

    /// Lowers the bound on devices.
    #[must_use]
    pub fn with_devices_max(mut self, devices_max: usize) -> Self {
        self.devices_max = devices_max.min(DEVICES_MAX);
        self
    }

    /// Makes an engine from a checkpoint. Alerts of rules that are gone end in `out`.
    pub fn restore(
        rules: Rules,
        global: &[u8],
        devices: impl IntoIterator<Item = (DeviceKey, Vec<u8>)>,
        out: &mut Vec<Transition>,
    ) -> Result<Self, prost::DecodeError> {
        let mut engine = Self::new(rules);
        engine.global = GlobalState::decode(global)?;
        let watermark_us = engine.global.watermark_us;
        let mut decoded = Vec::new();
        for (key, bytes) in devices {
            decoded.push((key, DeviceState::decode(bytes.as_slice())?));
        }
        decoded.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, mut state) in decoded {
            let mark = out.len();
            if state.reconcile(&engine.rules, &key, watermark_us, out) {
                strip::follow(&mut state.strip, watermark_us, (out, mark));
                engine.changed.insert(key.clone());
            }
            engine.wheel.set(&key, state.wake_us());
            engine.note_tenant(&key.tenant);
            engine.devices.insert(key, state);
        }
        Ok(engine)
    }

    /// Takes what the store says about rules from here on.
    pub fn set_orders(&mut self, orders: Arc<Orders>) {
        self.rules.orders = orders;
    }

    /// Feeds one publish whose time is that of its ingest.
    pub fn observe(&mut self, seen: &Observation, out: &mut Vec<Transition>) {
        self.observe_at(seen, seen.ingested_at_us, out);
    }

    /// Feeds one publish that the journal has at `time_us`. Time moves on to that first.
    pub fn observe_at(&mut self, seen: &Observation, time_us: i64, out: &mut Vec<Transition>) {
        self.advance(time_us, out);
        self.counts.observed += 1;
        if !self.admit(&seen.key, out) {
            self.counts.devices_refused += 1;
            return;
        }
        let state = self.devices.entry(seen.key.clone()).or_default();
        if let Some(header) = seen.header
            && !dedup::is_fresh(&mut state.streams, header, time_us)
        {
            self.counts.duplicates += 1;
            return;
        }
        let silent_us = time_us.saturating_sub(state.last_us);
        state.last_us = state.last_us.max(time_us);
        let mark = out.len();
        let taken = Taken { publish: seen, time_us, silent_us };
        state.observe(&self.rules, &taken, &mut Sink { out, counts: &mut self.counts });
        let now_us = self.global.watermark_us;
        self.counts.suppressed += state.chain(&self.rules, &seen.key, now_us, (out, mark));
        strip::follow(&mut state.strip, now_us, (out, mark));
        self.wheel.set(&seen.key, state.wake_us());
        self.changed.insert(seen.key.clone());
    }

    /// Tells that a device's certificate seems to be in use in two places. Time moves on first.
    pub fn contested(&mut self, key: &DeviceKey, at_us: i64, out: &mut Vec<Transition>) {
        self.notice(Noticed::Contested, key, at_us, out);
    }

    /// Tells of what was noticed about a device. Time moves on first.
    pub(crate) fn notice(&mut self, what: Noticed, key: &DeviceKey, at_us: i64, out: &mut Vec<Transition>) {
        self.advance(at_us, out);
        if !self.admit(key, out) {
            self.counts.devices_refused += 1;
            return;
        }
        let state = self.devices.entry(key.clone()).or_default();
        state.last_us = state.last_us.max(at_us);
        state.notice(what, key, at_us, out);
        self.wheel.set(key, state.wake_us());
        self.changed.insert(key.clone());
    }

    /// Moves time on to `now_us` and raises what became due. A tick must only be given when every record before it
    /// was fed.
    pub fn advance(&mut self, now_us: i64, out: &mut Vec<Transition>) {
        if now_us <= self.global.watermark_us {
            return;
        }
        self.global.watermark_us = now_us;
        while let Some((at_us, key)) = self.wheel.pop(now_us) {
            let Some(state) = self.devices.get_mut(&key) else { continue };
            if state.wake_us().is_some_and(|wake_us| wake_us <= at_us) {
                let mark = out.len();
                state.expire(&self.rules, &key, at_us, out);
                self.counts.suppressed += state.chain(&self.rules, &key, at_us, (out, mark));
                strip::follow(&mut state.strip, at_us, (out, mark));
                state.strips(at_us, out);
                self.changed.insert(key.clone());
            }
            self.wheel.set(&key, state.wake_us());
        }
    }

    /// Raises or ends a condition of the pipeline for every tenant with a device. Idempotent.
    pub fn system(
        &mut self,
        condition: SystemCondition,
        on: bool,
        at_us: i64,
        out: &mut Vec<Transition>,
    ) -> bool {
        let mut changed = false;
        for tenant in &self.tenants {
            changed |= system::set(&mut self.global.system, (tenant, condition, on), at_us, out);
        }
        changed
    }

    /// Takes what changed since the last call, for a checkpoint.
    pub fn take_changes(&mut self) -> Changes {
        let encode = |key: DeviceKey| {
            let state = self.devices.get(&key).map(DeviceState::encode_to_vec);
            (key, state)
        };
        let devices = std::mem::take(&mut self.changed).into_iter().map(encode).collect();
        Changes { devices, global: self.global.encode_to_vec() }
    }

    /// Returns the early warning score of a device by a rule, from what is known and not stale at a time, edge time. None
    /// without such a rule, or before a reading that it uses.
    pub fn score(&self, key: &DeviceKey, rule_id: &str, at_us: i64) -> Option<Score> {
        let rule = self.rules.news2.iter().find(|rule| rule.id == rule_id && rule.scope.covers(key))?;
        let rule = self.rules.scored(rule, key, self.global.watermark_us);
        let state = self.devices.get(key)?.news2.iter().find(|state| state.rule_id == rule_id)?;
        Some(state.vitals(&rule, at_us).score(rule.scale))
    }

    /// Returns how far time has come.
    pub fn watermark_us(&self) -> i64 {
        self.global.watermark_us
    }

    /// Returns how many devices are watched.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// Returns what was done so far.
    pub fn counts(&self) -> EngineCounts {
        self.counts
    }

    fn admit(&mut self, key: &DeviceKey, out: &mut Vec<Transition>) -> bool {
        if self.devices.contains_key(key) {
            return true;
        }
        if self.devices.len() >= self.devices_max {
            self.evict(out);
        }
        self.note_tenant(&key.tenant);
        let room = self.devices.len() < self.devices_max;
        let at_us = self.global.watermark_us;
        let condition = (&key.tenant, SystemCondition::Capacity, !room);
        system::set(&mut self.global.system, condition, at_us, out);
        room
    }

    fn evict(&mut self, out: &mut Vec<Transition>) {
        let now_us = self.global.watermark_us;
        if now_us < self.next_eviction_us {
            return;
        }
        self.next_eviction_us = now_us.saturating_add(EVICTION_INTERVAL_US);
        let idle = |state: &DeviceState| state.last_us < now_us.saturating_sub(IDLE_US);
        let mut gone: Vec<_> = self.devices.iter().filter(|(_, s)| idle(s)).map(|(k, _)| k.clone()).collect();
        gone.sort();
        for key in gone {
            if let Some(state) = self.devices.remove(&key) {
                state.forget(now_us, out);
            }
            self.wheel.set(&key, None);
            self.changed.insert(key);
        }
    }

    fn note_tenant(&mut self, tenant: &TenantId) {
        if self.tenants.len() < TENANTS_MAX && !self.tenants.contains(tenant) {
            self.tenants.insert(tenant.clone());
        }
    }
}

#[cfg(test)]
mod tests;
