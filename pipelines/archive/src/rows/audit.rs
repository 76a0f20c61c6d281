//! `audit`: what must be accounted for, with its place in its node's hash chain.

use super::Added;
use super::columns::{Terms, Times, number, optional, terms, time};
use crate::intake::Arrival;
use arrow_array::ArrayRef;
use arrow_array::builder::{BinaryBuilder, StringBuilder, UInt16Builder, UInt64Builder};
use arrow_schema::{DataType, Field};
use std::sync::Arc;
use wardline_proto::v1::AuditEvent;

const ROW_BYTES: usize = 260;

/// The chain's columns came with version 2 of the table: a file that lacks them has null there.
pub(super) fn fields() -> Vec<Field> {
    vec![
        terms("tenant"),
        time("at"),
        time("ingest_time"),
        terms("action"),
        number("actor", DataType::Utf8),
        terms("outcome"),
        number("target", DataType::Utf8),
        number("partition", DataType::UInt16),
        number("journal_offset", DataType::UInt64),
        optional(terms("node")),
        optional(number("n", DataType::UInt64)),
        optional(number("prev_hash", DataType::Binary)),
        optional(number("hash", DataType::Binary)),
        optional(number("outbox_id", DataType::UInt64)),
    ]
}

#[derive(Debug, Default)]
pub(crate) struct AuditBuilder {
    tenant: Terms,
    at: Times,
    ingest_time: Times,
    action: Terms,
    actor: StringBuilder,
    outcome: Terms,
    target: StringBuilder,
    partition: UInt16Builder,
    offset: UInt64Builder,
    node: Terms,
    n: UInt64Builder,
    prev_hash: BinaryBuilder,
    hash: BinaryBuilder,
    outbox_id: UInt64Builder,
}

impl AuditBuilder {
    pub(super) fn push(&mut self, arrival: &Arrival, tenant: &str, event: &AuditEvent) -> Added {
        self.tenant.push(Some(tenant));
        self.at.push(Some(event.at_us));
        self.ingest_time.push(Some(arrival.ingest_us));
        self.action.push(Some(&event.action));
        self.actor.append_value(&event.actor);
        self.outcome.push(Some(&event.outcome));
        self.target.append_value(&event.target);
        self.partition.append_value(arrival.partition);
        self.offset.append_value(arrival.offset);
        self.node.push(Some(event.node.as_str()).filter(|node| !node.is_empty()));
        self.n.append_option(Some(event.n).filter(|n| *n > 0));
        self.prev_hash.append_option(Some(&event.prev_hash).filter(|hash| !hash.is_empty()));
        self.hash.append_option(Some(&event.hash).filter(|hash| !hash.is_empty()));
        self.outbox_id.append_option(Some(event.outbox_id).filter(|id| *id > 0));
        let bytes = ROW_BYTES + event.actor.len() + event.target.len();
        Added::rows(1, bytes, arrival.ingest_us, arrival.ingest_us)
    }

    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        vec![
            self.tenant.finish(),
            self.at.finish(),
            self.ingest_time.finish(),
            self.action.finish(),
            Arc::new(self.actor.finish()),
            self.outcome.finish(),
            Arc::new(self.target.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            self.node.finish(),
            Arc::new(self.n.finish()),
            Arc::new(self.prev_hash.finish()),
            Arc::new(self.hash.finish()),
            Arc::new(self.outbox_id.finish()),
        ]
    }
}
