//! When to look at which device again. One entry per device, lazy: a device whose time moved later is looked at
//! early, found not due, and put back; so a reading costs no entry.

use std::collections::{BTreeSet, HashMap};
use wardline_proto::DeviceKey;

#[derive(Debug, Default)]
pub(super) struct Wheel {
    order: BTreeSet<(i64, DeviceKey)>,
    at: HashMap<DeviceKey, i64>,
}

impl Wheel {
    /// Sees to it that `key` is popped at `wake_us` or before; `None` takes it out.
    pub(super) fn set(&mut self, key: &DeviceKey, wake_us: Option<i64>) {
        let current = self.at.get(key).copied();
        if matches!((current, wake_us), (Some(current), Some(wake_us)) if current <= wake_us) {
            return;
        }
        if let Some(current) = current {
            self.order.remove(&(current, key.clone()));
            self.at.remove(key);
        }
        if let Some(wake_us) = wake_us {
            self.order.insert((wake_us, key.clone()));
            self.at.insert(key.clone(), wake_us);
        }
    }

    /// Takes the first entry that is due at `now_us`.
    pub(super) fn pop(&mut self, now_us: i64) -> Option<(i64, DeviceKey)> {
        if self.order.first()?.0 > now_us {
            return None;
        }
        let (at_us, key) = self.order.pop_first()?;
        self.at.remove(&key);
        Some((at_us, key))
    }
}
