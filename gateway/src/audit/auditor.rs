//! Numbers events and journals them: the one writer of a node's chain.
//!
//! The first refusal of an actor is written at once; equal ones within [`AUDIT_WINDOW`] are counted and written as
//! one event with their number. So a flood cannot fill the log, and is never silent.

use super::chain::Head;
use super::limits::{AUDIT_ACTORS_MAX, AUDIT_WINDOW, EVENT_BYTES_MAX, NAME_BYTES_MAX, TARGET_BYTES_MAX};
use super::{AuditError, NodeId, head};
use crate::front::now_us;
use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use wardline_access::{NotAudited, RefusalAudit};
use wardline_journal::{Class, DurableState, DurableWatch, Journal, Offset, Record, Ticket};
use wardline_proto::PartitionId;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{AuditEvent, JournalRecord, journal_record::Kind};
use wardline_store::Store;

/// The event could not be journaled: what it audits must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WL-AUD-001: what must be audited cannot be journaled, so it is not done")]
pub struct CannotAudit;

#[derive(PartialEq, Eq, Hash)]
struct Repeated {
    actor: String,
    refusal: Refusal,
}

struct Window {
    since: Instant,
    count: u64,
    target: String,
}

/// Writes audit events.
pub struct Auditor {
    journal: Journal,
    durable: DurableWatch,
    node: NodeId,
    head: Mutex<Head>,
    windows: Mutex<HashMap<Repeated, Window>>,
}

impl Auditor {
    /// Makes an auditor that goes on with the chain of `node` where journal and archive end.
    pub async fn open(journal: Journal, store: &Store, node: NodeId) -> Result<Self, AuditError> {
        let head = head::find(&journal, store, &node).await?;
        let durable = journal.durable();
        Ok(Self { journal, durable, node, head: Mutex::new(head), windows: Mutex::default() })
    }

    /// Returns whose chain this is.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Returns where the chain stands; its last events may not be durable yet.
    pub fn head(&self) -> Head {
        *lock(&self.head)
    }

    /// Says whether an event could not be journaled now: the journal has failed, or has no room for one.
    pub fn is_broken(&self) -> bool {
        !self.journal.takes(Class::Audit, EVENT_BYTES_MAX)
    }

    /// Returns what a device is told when an event could not be journaled now.
    pub fn refusal(&self) -> Option<Refusal> {
        let failed = self.durable.current() == DurableState::Failed;
        self.is_broken().then_some(if failed { Refusal::JournalFailed } else { Refusal::JournalFull })
    }

    /// Refuses what cannot be audited; to be asked before it is done.
    pub fn guard(&self) -> Result<(), CannotAudit> {
        if self.is_broken() { Err(CannotAudit) } else { Ok(()) }
    }

    /// Writes one event. It is durable later than this returns, and earlier than anything that is journaled after it.
    pub fn record(
        &self,
        action: &str,
        actor: &str,
        outcome: &str,
        target: String,
    ) -> Result<(), CannotAudit> {
        self.append(event(action, actor, outcome, target)).map(drop)
    }

    /// Writes one event and waits until it is durable, for what may be acknowledged only then.
    pub async fn record_durable(
        &self,
        action: &str,
        actor: &str,
        outcome: &str,
        target: String,
    ) -> Result<(), CannotAudit> {
        let ticket = self.append(event(action, actor, outcome, target))?;
        ticket.durable(&self.durable).await.map(drop).map_err(|_lost| CannotAudit)
    }

    /// Waits until the event at `offset` of the journal is durable.
    pub(super) async fn durable(&self, offset: Offset) -> Result<(), CannotAudit> {
        self.durable.reached(offset).await.map_err(|_lost| CannotAudit)
    }

    /// Writes an event as the next link of the chain. Its place in the chain is its place in the journal.
    pub(super) fn append(&self, mut event: AuditEvent) -> Result<Ticket, CannotAudit> {
        cut(&mut event.action, NAME_BYTES_MAX);
        cut(&mut event.actor, NAME_BYTES_MAX);
        cut(&mut event.outcome, NAME_BYTES_MAX);
        cut(&mut event.target, TARGET_BYTES_MAX);
        let ingested_at_us = now_us();
        // Held over the append: whoever comes next gets the next number and the next place, or this number when the
        // journal refuses it.
        let mut head = lock(&self.head);
        let next = head.link(&self.node, &mut event);
        let record = JournalRecord { ingested_at_us, kind: Some(Kind::Audit(event)) };
        let payload = Bytes::from(record.encode_to_vec());
        let record = Record { partition: PartitionId::default(), class: Class::Audit, payload };
        let ticket = self.journal.append(record).map_err(|_full_or_failed| CannotAudit)?;
        *head = next;
        Ok(ticket)
    }

    /// Writes a refusal, or counts it when an equal one was written within the window.
    pub fn refused(&self, actor: &str, refusal: Refusal, target: &str) -> Result<(), CannotAudit> {
        let now = Instant::now();
        let mut windows = lock(&self.windows);
        let full = windows.len() >= AUDIT_ACTORS_MAX;
        let mut key = Repeated { actor: actor.to_owned(), refusal };
        if full && !windows.contains_key(&key) {
            key.actor = String::new();
        }
        if let Some(window) = windows.get_mut(&key) {
            window.count += 1;
            return Ok(());
        }
        let window = Window { since: now, count: 0, target: target.to_owned() };
        windows.insert(key, window);
        drop(windows);
        self.record("refused", actor, refusal.code(), target.to_owned())
    }

    /// Writes what was counted in windows that are over; all of them when `all`.
    pub fn flush(&self, all: bool) -> Result<(), CannotAudit> {
        let now = Instant::now();
        let mut windows = lock(&self.windows);
        let over = |window: &Window| all || now.duration_since(window.since) >= AUDIT_WINDOW;
        let due: Vec<_> = windows.extract_if(|_key, window| over(window)).collect();
        drop(windows);
        for (key, window) in due.into_iter().filter(|(_, window)| window.count > 0) {
            let target = format!("{} repeated {}", window.target, window.count);
            self.record("refused", &key.actor, key.refusal.code(), target)?;
        }
        Ok(())
    }
}

fn event(action: &str, actor: &str, outcome: &str, target: String) -> AuditEvent {
    let (action, actor, outcome) = (action.to_owned(), actor.to_owned(), outcome.to_owned());
    AuditEvent { at_us: now_us(), action, actor, outcome, target, ..AuditEvent::default() }
}

/// Cuts a text to `bytes_max` at a character's start.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RefusalAudit for Auditor {
    fn refused(&self, actor: &str, refusal: Refusal, target: &str) -> Result<(), NotAudited> {
        Self::refused(self, actor, refusal, target).map_err(|CannotAudit| NotAudited)
    }
}
