//! Overrides of the store as the engine goes by them: which value of a rule is in force for a device at a time.
//!
//! What holds at a journal time must be the same for every engine that ever reads that record. So an override counts
//! from [`LEAD_US`] after it was set, and an engine goes no further than [`TRUST_US`] after it last asked: whatever it
//! has not heard of is not in force yet ([0026](../../../docs/adr/0026-alarm-time-is-the-journals.md)). Who wears a
//! device counts from as long after it was recorded.

use crate::limits::ORDERS_KEEP_US;
use std::collections::HashMap;
use std::ops::Range;
use wardline_proto::v1::OverrideSetting;
use wardline_proto::{DeviceKey, TenantId};
use wardline_store::registry::{Binding, OverrideRow};
use wardline_store::{Store, StoreError};

/// An override or a binding is in force so long after it was recorded, at the earliest.
pub const LEAD_US: i64 = 5_000_000;
/// How long what was read is all that can be in force. What is left of the lead is for a change on its way to the disk.
pub(crate) const TRUST_US: i64 = 3_000_000;

/// Between two looks at the store, however often it tells of changes.
pub(crate) const REST_US: i64 = 250_000;

const _: () = assert!(TRUST_US < LEAD_US && REST_US < TRUST_US / 3);

/// What was decided for some patients, wards and tenants, as it was known at a time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Orders {
    known_us: i64,
    version: i64,
    /// By tenant and rule, in the order of setting.
    orders: HashMap<(TenantId, String), Vec<OverrideRow>>,
    sites: HashMap<DeviceKey, String>,
    /// By device, in the order of recording.
    worn: HashMap<DeviceKey, Vec<Binding>>,
}

/// Returns when an override is in force, journal time.
pub fn effective(row: &OverrideRow) -> Range<i64> {
    let from_us = row.said.from_us.max(row.set_at_us.saturating_add(LEAD_US));
    let ended_us = row.ended.as_ref().map_or(i64::MAX, |(_, at_us)| at_us.saturating_add(LEAD_US));
    from_us..row.said.until_us.unwrap_or(i64::MAX).min(ended_us).max(from_us)
}

impl Orders {
    /// Puts together what is known at `known_us`.
    pub fn new(
        known_us: i64,
        rows: Vec<OverrideRow>,
        sites: HashMap<DeviceKey, String>,
        bindings: Vec<Binding>,
    ) -> Self {
        let mut all = Self { known_us, sites, ..Self::default() };
        for row in rows {
            all.orders.entry((row.said.tenant.clone(), row.said.rule_id.clone())).or_default().push(row);
        }
        for binding in bindings {
            all.worn.entry(binding.binding.device.clone()).or_default().push(binding);
        }
        all
    }

    /// Reads all that was ever decided, for a replay. In which ward a device is has no history: it is where it is now.
    pub async fn all(store: &Store, known_us: i64) -> Result<Self, StoreError> {
        let sites = store.device_sites().await?.into_iter().collect();
        Ok(Self::new(known_us, store.overrides(None, 0).await?, sites, store.ledger(None).await?))
    }

    /// Returns how many overrides there are.
    pub fn count(&self) -> usize {
        self.orders.values().map(Vec::len).sum()
    }

    /// Asks the store again at `known_us`; reads everything only when something changed.
    pub(crate) async fn refresh(&mut self, store: &Store, known_us: i64) -> Result<bool, StoreError> {
        let version = store.registry_version().await?;
        if version == self.version {
            self.known_us = known_us;
            return Ok(false);
        }
        let rows = store.overrides(None, known_us - ORDERS_KEEP_US).await?;
        // Without an override nobody asks who wears what.
        let (sites, bindings) = match rows.is_empty() {
            true => (HashMap::new(), Vec::new()),
            false => (store.device_sites().await?.into_iter().collect(), store.ledger(None).await?),
        };
        *self = Self { version, ..Self::new(known_us, rows, sites, bindings) };
        Ok(true)
    }

    /// Returns the journal time before which nothing is in force that this does not know.
    pub(crate) fn good_until_us(&self) -> i64 {
        self.known_us.saturating_add(TRUST_US)
    }

    /// Says whether the store should be asked again: after a while, or soon when it has told of a change.
    pub(crate) fn is_old(&self, now_us: i64, has_changed: impl FnOnce() -> bool) -> bool {
        let age_us = now_us.saturating_sub(self.known_us);
        age_us >= TRUST_US / 3 || (age_us >= REST_US && has_changed())
    }

    /// Returns the value in the place of a rule's. A patient's goes before a ward's, a ward's before a tenant's; of two
    /// equals the newer one counts.
    pub(crate) fn value(
        &self,
        key: &DeviceKey,
        rule_id: &str,
        setting: OverrideSetting,
        now_us: i64,
    ) -> Option<f64> {
        if self.orders.is_empty() {
            return None;
        }
        let rows = self.orders.get(&(key.tenant.clone(), rule_id.to_owned()))?;
        let in_force = rows
            .iter()
            .filter(|row| row.said.setting == i32::from(setting) && effective(row).contains(&now_us));
        let ranked = in_force.filter_map(|row| Some((self.rank(key, row, now_us)?, row)));
        ranked.max_by_key(|(rank, row)| (*rank, row.override_id)).map(|(_, row)| row.said.value)
    }

    /// Returns how near an override is to a device; `None` when it is not for it.
    fn rank(&self, key: &DeviceKey, row: &OverrideRow, now_us: i64) -> Option<u8> {
        let said = &row.said;
        if !said.subject.is_empty() {
            return (self.wearer(key, now_us)? == said.subject).then_some(2);
        }
        if !said.site.is_empty() {
            return (self.sites.get(key)? == &said.site).then_some(1);
        }
        Some(0)
    }

    /// Returns who wears a device: of the entries that cover a time, the one that was recorded last.
    fn wearer(&self, key: &DeviceKey, now_us: i64) -> Option<&str> {
        let at_us = now_us.saturating_sub(LEAD_US);
        let covers = |binding: &&Binding| {
            let until_us = binding.binding.until_us.unwrap_or(i64::MAX);
            binding.recorded_at_us <= at_us && (binding.binding.from_us..until_us).contains(&at_us)
        };
        let of_device = self.worn.get(key)?.iter().filter(covers);
        let last = of_device.max_by_key(|binding| (binding.recorded_at_us, binding.binding_id))?;
        Some(last.binding.subject.as_str()).filter(|subject| !subject.is_empty())
    }
}
