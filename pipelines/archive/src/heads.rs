//! How far each node's audit chain goes in what waits for a commit: the catalog keeps it, so that a node finds its
//! chain's head when the journal was trimmed past it. Takes what events say and verifies nothing.

use std::collections::BTreeMap;
use wardline_proto::v1::AuditEvent;
use wardline_store::catalog::AuditHead;

/// The last event of each node. Bound: one entry a node whose events are in the journal.
#[derive(Debug, Default)]
pub(crate) struct Heads(BTreeMap<String, AuditHead>);

impl Heads {
    /// Takes an event; one from before there were chains, or that no node of ours wrote, says nothing.
    pub(crate) fn advance(&mut self, event: &AuditEvent) {
        if event.n == 0 || i64::try_from(event.n.max(event.outbox_id)).is_err() {
            return;
        }
        let head = self.0.entry(event.node.clone()).or_insert_with(|| AuditHead {
            node: event.node.clone(),
            n: 0,
            hash: Vec::new(),
            outbox_id: 0,
        });
        head.outbox_id = head.outbox_id.max(event.outbox_id);
        if event.n > head.n {
            head.n = event.n;
            head.hash.clone_from(&event.hash);
        }
    }

    /// Returns them in order of node.
    pub(crate) fn into_rows(self) -> Vec<AuditHead> {
        self.0.into_values().collect()
    }
}
