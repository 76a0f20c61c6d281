//! What must be audited goes into the journal like what it audits (AUD-1).
//!
//! The first refusal of an actor is written at once; equal ones within [`AUDIT_WINDOW`] are counted and written as
//! one event with their number. So a flood cannot fill the log, and is never silent.

use super::limits::{AUDIT_ACTORS_MAX, AUDIT_WINDOW};
use super::now_us;
use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use wardline_journal::{Class, Journal, Record};
use wardline_proto::PartitionId;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{AuditEvent, JournalRecord, journal_record::Kind};

/// The event could not be journaled: what it audits must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit event could not be journaled")]
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
    windows: Mutex<HashMap<Repeated, Window>>,
    broken: AtomicBool,
}

impl Auditor {
    /// Makes an auditor that writes into `journal`.
    pub fn new(journal: Journal) -> Self {
        Self { journal, windows: Mutex::default(), broken: AtomicBool::new(false) }
    }

    /// Says whether the last event could not be journaled.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Writes one event.
    pub fn record(
        &self,
        action: &str,
        actor: &str,
        outcome: &str,
        target: String,
    ) -> Result<(), CannotAudit> {
        let at_us = now_us();
        let (action, actor, outcome) = (action.to_owned(), actor.to_owned(), outcome.to_owned());
        let event = AuditEvent { at_us, action, actor, outcome, target };
        let record = JournalRecord { ingested_at_us: at_us, kind: Some(Kind::Audit(event)) };
        let payload = Bytes::from(record.encode_to_vec());
        let partition = PartitionId::default();
        let done = self.journal.append(Record { partition, class: Class::Audit, payload });
        self.broken.store(done.is_err(), Ordering::Relaxed);
        // Nobody is told of an audit event, so nobody waits for it; what it audits is acknowledged after it.
        done.map(drop).map_err(|_full_or_failed| CannotAudit)
    }

    /// Writes a refusal, or counts it when an equal one was written within the window.
    pub fn refused(&self, actor: &str, refusal: Refusal, target: &str) -> Result<(), CannotAudit> {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
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
