//! A journal without room for audit events; also a part of the tests of enrolment.

use wardline::audit::limits::EVENT_BYTES_MAX;
use wardline::node::{Node, NodeOptions};
use wardline_journal::{Class, Record};
use wardline_proto::PartitionId;

/// Makes the journal small.
pub(crate) fn small(options: &mut NodeOptions) {
    options.journal.reserve_bytes = 0;
    options.journal.segment_bytes = 64 << 10;
}

/// Takes all the room but what alarms have for themselves.
pub(crate) async fn fill(node: &Node) {
    let payload = vec![0; 900];
    while node.journal().takes(Class::Audit, EVENT_BYTES_MAX) {
        let record = Record {
            partition: PartitionId::default(),
            class: Class::Alarm,
            payload: payload.clone().into(),
        };
        // What is queued counts as if it were a batch each: only what is durable shows the room.
        node.journal().append(record).unwrap().durable(&node.journal().durable()).await.unwrap();
    }
}

/// Waits until there is room again.
pub(crate) async fn room(node: &Node) {
    while !node.journal().takes(Class::Audit, EVENT_BYTES_MAX) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
