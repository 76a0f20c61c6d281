//! The policy of acknowledging: tenants whose publishes have to be somewhere else too before they are acknowledged.

use std::collections::HashSet;
use wardline_journal::DurableWatch;
use wardline_proto::{DeviceKey, TenantId};

/// What some tenants' publishes have to pass, by the partition of the device.
#[derive(Debug, Clone)]
pub struct Gates {
    /// The tenants.
    pub tenants: HashSet<TenantId>,
    /// A watch for each partition of the bus.
    pub watches: Vec<DurableWatch>,
}

impl Gates {
    /// Returns the watch of a device; none when being durable here is enough.
    pub(super) fn of(&self, key: &DeviceKey) -> Option<DurableWatch> {
        if !self.tenants.contains(&key.tenant) {
            return None;
        }
        let index = usize::from(key.partition().get()).checked_rem(self.watches.len())?;
        self.watches.get(index).cloned()
    }
}
