//! One link of a node's chain. Pure.

use super::NodeId;
use ring::digest::{Context, SHA256};
use wardline_proto::audit::{FIRST_PREV_HASH, HASH_BYTES, canonical};
use wardline_proto::v1::AuditEvent;

/// SHA-256 of an event and of the one before it.
pub type Hash = [u8; HASH_BYTES];

/// Where a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the last event, 0 when there is none.
    pub n: u64,
    /// Its hash.
    pub hash: Hash,
    /// Greatest row of the outbox that is in the chain, 0 when none is.
    pub relayed: u64,
}

impl Head {
    /// A chain without an event.
    pub const START: Self = Self { n: 0, hash: FIRST_PREV_HASH, relayed: 0 };

    /// Makes `event` the next link and returns the head that the chain has with it.
    pub fn link(&self, node: &NodeId, event: &mut AuditEvent) -> Self {
        node.as_str().clone_into(&mut event.node);
        event.n = self.n + 1;
        event.prev_hash = self.hash.to_vec();
        let hash = hash_of(event);
        event.hash = hash.to_vec();
        Self { n: event.n, hash, relayed: self.relayed.max(event.outbox_id) }
    }

    /// Takes over an event that is in the journal already. Trusts it: verifying is another's task.
    pub fn resume(&mut self, event: &AuditEvent) {
        self.relayed = self.relayed.max(event.outbox_id);
        if let (true, Ok(hash)) = (event.n > self.n, Hash::try_from(event.hash.as_slice())) {
            (self.n, self.hash) = (event.n, hash);
        }
    }
}

/// Returns the hash that an event must have: SHA-256 of `prev_hash` and the canonical bytes.
pub fn hash_of(event: &AuditEvent) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&event.prev_hash);
    context.update(&canonical(event));
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never regenerated: chains that exist are verified with these hashes. Another program made them.
    const GOLDEN: [&str; 2] = [
        "e0606de830bdeabfacf85460bd109e598be17b6235ec8cddec6dfcd6cc591ad0",
        "533bd8615f673899c107a823553cdc73babafb96cd9a813cd337e1f93e9720c0",
    ];

    #[test]
    fn the_hashes_of_a_chain_are_golden() {
        let node = NodeId::new("00112233445566778899aabbccddeeff").unwrap();
        let mut head = Head::START;
        let hashes = ["serve_started", "session_opened"].map(|action| {
            let mut event = AuditEvent {
                at_us: 1_962_000_000_000_000,
                action: action.into(),
                outcome: "ok".into(),
                ..AuditEvent::default()
            };
            head = head.link(&node, &mut event);
            assert_eq!((event.n, event.hash.as_slice()), (head.n, &head.hash[..]));
            head.hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        });
        assert_eq!(hashes.each_ref().map(String::as_str), GOLDEN);
    }
}
