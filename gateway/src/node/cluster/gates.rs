//! Acknowledges publishes of some tenants only when the bus has committed them too.

use super::Cluster;
use crate::front::Gates;
use crate::node::{Parts, TaskKind};
use wardline_journal::{Gate, Offset};
use wardline_proto::{PartitionId, TenantId};

impl Cluster {
    /// Makes the gates, and moves them as the bus commits. None when no tenant has asked for it.
    pub(in crate::node) fn gates(&self, parts: &mut Parts) -> Option<Gates> {
        let tenants: Vec<_> =
            self.options.replicated_tenants.iter().filter_map(|name| TenantId::new(name).ok()).collect();
        if tenants.is_empty() {
            return None;
        }
        let gates: Vec<_> = (0..self.options.partitions).map(|_| Gate::new(&parts.journal)).collect();
        let watches = gates.iter().map(Gate::watch).collect();
        let (mut replicated, mut durable) = (self.replicated.clone(), parts.journal.durable());
        parts.tasks.spawn(TaskKind::Outlet, |mut stop| async move {
            loop {
                for (gate, partition) in gates.iter().zip(0..) {
                    let below = PartitionId::new(partition).map(|partition| replicated.below(partition));
                    gate.let_through(below.unwrap_or(Offset::ZERO));
                }
                tokio::select! {
                    _gone = stop.wait_for(|stop| *stop) => return Ok(()),
                    // A failed journal has to show, and what is committed may have become durable since.
                    _grown = durable.next() => {}
                    more = replicated.changed() => if !more { return Ok(()) },
                }
            }
        });
        Some(Gates { tenants: tenants.into_iter().collect(), watches })
    }
}
