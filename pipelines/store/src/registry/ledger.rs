//! Who wore which device when, as it is known now.
//!
//! The registry's ledger is only ever added to: of the entries that cover a time, the one recorded last holds. Here it
//! is laid flat, per device, so that a reading finds its subject by one search. It is read when a statement starts:
//! a binding that was mended shows in the next statement, and no file is written again for it.

use super::Binding;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// From when on who wears a device, until the next; `None`: nobody.
type Wearers = BTreeMap<i64, Option<String>>;

/// The ledger of some tenants.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By tenant, then by device.
    devices: HashMap<String, HashMap<String, Wearers>>,
}

impl Ledger {
    /// Lays entries flat; they come in the order of recording.
    pub fn new(entries: &[Binding]) -> Self {
        let mut ledger = Self::default();
        for entry in entries {
            let key = &entry.binding.device;
            let devices = ledger.devices.entry(key.tenant.as_str().to_owned()).or_default();
            let wearers = devices.entry(key.device.as_str().to_owned()).or_default();
            let subject = Some(entry.binding.subject.clone()).filter(|subject| !subject.is_empty());
            lay(wearers, entry.binding.from_us, entry.binding.until_us, subject);
        }
        ledger
    }

    /// Returns who wore a device at a time.
    pub fn wearer(&self, tenant: &str, device: &str, at_us: i64) -> Option<&str> {
        let wearers = self.devices.get(tenant)?.get(device)?;
        wearers.range(..=at_us).next_back()?.1.as_deref()
    }

    /// Returns who wore a device at a time, and from when until when, exclusive, that holds around it.
    pub fn span(&self, tenant: &str, device: &str, at_us: i64) -> (Option<&str>, i64, i64) {
        let wearers = self.devices.get(tenant).and_then(|devices| devices.get(device));
        let Some(wearers) = wearers else { return (None, i64::MIN, i64::MAX) };
        let held = wearers.range(..=at_us).next_back();
        let after = wearers.range((Bound::Excluded(at_us), Bound::Unbounded)).next();
        let (from_us, wearer) = held.map_or((i64::MIN, None), |(from_us, who)| (*from_us, who.as_deref()));
        (wearer, from_us, after.map_or(i64::MAX, |(until_us, _)| *until_us))
    }

    /// Returns every subject that ever wore something.
    pub fn subjects(&self) -> BTreeSet<&str> {
        let of_all = self.devices.values().flat_map(HashMap::values).flat_map(BTreeMap::values);
        of_all.filter_map(Option::as_deref).collect()
    }

    /// Returns the devices that a subject wore at any time.
    pub fn devices_of(&self, subject: &str) -> BTreeSet<&str> {
        let wore = |wearers: &Wearers| wearers.values().any(|wearer| wearer.as_deref() == Some(subject));
        let of_all = self.devices.values().flatten();
        of_all.filter(|(_, wearers)| wore(wearers)).map(|(device, _)| device.as_str()).collect()
    }

    /// Returns when a subject wore which devices of a tenant: device, from, and until, exclusive; none while it goes on.
    pub fn spans_of(&self, tenant: &str, subject: &str) -> Vec<(String, i64, Option<i64>)> {
        let mut spans = Vec::new();
        for (device, wearers) in self.devices.get(tenant).into_iter().flatten() {
            let mut changes = wearers.iter().peekable();
            while let Some((from_us, wearer)) = changes.next() {
                if wearer.as_deref() == Some(subject) {
                    spans.push((device.clone(), *from_us, changes.peek().map(|(until_us, _)| **until_us)));
                }
            }
        }
        spans.sort();
        spans
    }
}

/// Lays a later entry over earlier ones.
fn lay(wearers: &mut Wearers, from_us: i64, until_us: Option<i64>, subject: Option<String>) {
    let before = |wearers: &Wearers, at_us| wearers.range(..=at_us).next_back().and_then(|(_, w)| w.clone());
    match until_us {
        None => drop(wearers.split_off(&from_us)),
        Some(until_us) => {
            let after = before(wearers, until_us);
            let later = wearers.split_off(&until_us);
            drop(wearers.split_off(&from_us));
            wearers.insert(until_us, after);
            wearers.extend(later);
        }
    }
    wearers.insert(from_us, subject);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::NewBinding;
    use wardline_proto::{DeviceId, DeviceKey, TenantId};

    fn entry(subject: &str, from_us: i64, until_us: Option<i64>) -> Binding {
        let device =
            DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new("mon-1").unwrap() };
        let binding = NewBinding { device, subject: subject.into(), from_us, until_us };
        Binding { binding_id: 0, binding, recorded_at_us: 0, recorded_by: String::new() }
    }

    /// The rule itself, entry by entry.
    fn rule(entries: &[Binding], at_us: i64) -> Option<&str> {
        let covers = |b: &&Binding| {
            b.binding.from_us <= at_us && b.binding.until_us.is_none_or(|until_us| until_us > at_us)
        };
        let last = entries.iter().rev().find(covers)?;
        Some(last.binding.subject.as_str()).filter(|subject| !subject.is_empty())
    }

    #[test]
    fn the_flat_ledger_answers_as_the_rule_does_for_every_set_of_entries() {
        let spans =
            [(1, None), (1, Some(3)), (2, Some(4)), (3, None), (2, Some(3)), (1, Some(5)), (4, Some(6))];
        let names = ["a", "b", "", "c"];
        let mut seed = 7_u64;
        for _round in 0..2000 {
            let mut draw = |n: usize| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as usize % n
            };
            let entries: Vec<_> = (0..draw(6))
                .map(|_| {
                    let (from_us, until_us) = spans[draw(spans.len())];
                    entry(names[draw(names.len())], from_us, until_us)
                })
                .collect();
            let ledger = Ledger::new(&entries);
            for at_us in 0..8 {
                assert_eq!(
                    ledger.wearer("demo", "mon-1", at_us),
                    rule(&entries, at_us),
                    "{entries:?} {at_us}"
                );
                let (who, from_us, until_us) = ledger.span("demo", "mon-1", at_us);
                assert!(from_us <= at_us && at_us < until_us);
                for within_us in from_us.max(0)..until_us.min(8) {
                    assert_eq!(ledger.wearer("demo", "mon-1", within_us), who, "{entries:?} {at_us}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_known_of_another_tenant_and_a_subject_has_its_devices() {
        let ledger = Ledger::new(&[entry("a", 1, Some(3)), entry("b", 2, None)]);
        assert_eq!(ledger.wearer("other", "mon-1", 2), None);
        assert_eq!(ledger.devices_of("a").into_iter().collect::<Vec<_>>(), ["mon-1"]);
        assert!(ledger.devices_of("c").is_empty());
        let device = || "mon-1".to_owned();
        assert_eq!(ledger.spans_of("demo", "a"), [(device(), 1, Some(2))]);
        assert_eq!(ledger.spans_of("demo", "b"), [(device(), 2, None)]);
        assert!(ledger.spans_of("other", "a").is_empty());
    }
}
