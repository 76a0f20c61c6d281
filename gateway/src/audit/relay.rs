//! What was audited outside this process, or in a transaction, comes into the chain: the outbox's relay.
//!
//! ```text
//! pending rows, by id ──append──► journal ──durable──► mark as relayed
//! ```
//! Exactly once, whatever is killed: ids rise in the order of commits and every relayed event carries its id, so a row
//! whose id is not above the chain's greatest was journaled before a crash and is only marked. A row is marked only
//! after its event is durable.
//!
//! Never ends by itself: what fails is tried again, and said once.

use super::limits::{RELAY_POLL, RELAY_ROWS_MAX};
use super::{AuditMetrics, Auditor, CannotAudit};
use crate::front::now_us;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wardline_archive::read::local_actor;
use wardline_journal::{KeyInfo, Keyring, Offset};
use wardline_proto::v1::AuditEvent;
use wardline_store::outbox::KeyMade;
use wardline_store::{Store, StoreError};

/// Says why a turn of the relay did not finish.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error(transparent)]
    CannotAudit(#[from] CannotAudit),
    #[error("outbox: {0}")]
    Store(#[from] StoreError),
}

/// Brings the outbox into the chain.
pub struct Relay {
    auditor: Arc<Auditor>,
    store: Store,
    keyring: Arc<Keyring>,
    /// The last event of a row that was appended in this process: nothing is marked before it is durable.
    appended: Option<Offset>,
    keys_told: usize,
    metrics: AuditMetrics,
    failing: bool,
}

impl Relay {
    /// Makes the one relay of a database.
    pub fn new(auditor: Arc<Auditor>, store: Store, keyring: Arc<Keyring>, metrics: AuditMetrics) -> Self {
        Self { auditor, store, keyring, appended: None, keys_told: 0, metrics, failing: false }
    }

    /// Relays until it is told to stop, and once more then.
    pub async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        let mut turn = interval(RELAY_POLL);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                _ = turn.tick() => false,
            };
            let turned = self.turn().await;
            self.metrics.broken.set(i64::from(self.auditor.is_broken()));
            self.metrics.last_n.set(i64::try_from(self.auditor.head().n).unwrap_or(i64::MAX));
            match &turned {
                Err(error) if !self.failing => {
                    tracing::error!(%error, "what must be audited waits in the outbox")
                }
                Ok(()) if self.failing => tracing::info!("the outbox is relayed again"),
                _ => {}
            }
            self.failing = turned.is_err();
            if stopping {
                return Ok(());
            }
        }
    }

    pub(super) async fn turn(&mut self) -> Result<(), RelayError> {
        self.tell_keys().await?;
        loop {
            let rows = self.store.audit_outbox_pending(RELAY_ROWS_MAX).await?;
            self.metrics.outbox_waiting.set(i64::try_from(rows.len()).unwrap_or(i64::MAX));
            let (last, more) = (rows.last().map(|row| row.id), rows.len() == RELAY_ROWS_MAX);
            for row in rows {
                self.append(AuditEvent {
                    at_us: row.at_us,
                    action: row.action,
                    actor: row.actor,
                    outcome: row.outcome,
                    target: row.target,
                    outbox_id: row.id,
                    ..AuditEvent::default()
                })?;
            }
            if let Some(offset) = self.appended {
                self.auditor.durable(offset).await?;
            }
            if let Some(last) = last {
                self.store.audit_outbox_relayed(last, now_us()).await?;
                self.metrics.outbox_waiting.set(0);
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn append(&mut self, event: AuditEvent) -> Result<(), CannotAudit> {
        if event.outbox_id > self.auditor.head().relayed {
            self.appended = Some(self.auditor.append(event)?.offset());
        }
        Ok(())
    }

    /// Puts master keys that were not told of yet into the outbox, by whatever process they were made.
    async fn tell_keys(&mut self) -> Result<(), RelayError> {
        let keys = self.keyring.list();
        if keys.len() != self.keys_told {
            let made: Vec<_> = keys.iter().map(key_made).collect();
            self.store.record_keys(&local_actor(), &made).await?;
            self.keys_told = keys.len();
        }
        Ok(())
    }
}

fn key_made(key: &KeyInfo) -> KeyMade {
    let tenant = key.tenant.as_ref().map_or(String::new(), |tenant| format!(" tenant {tenant}"));
    let (id, purpose) = (key.id.as_str().to_owned(), format!("{:?}", key.purpose).to_lowercase());
    let description = format!("key {id} purpose {purpose}{tenant} version {}", key.version);
    KeyMade { id, description, at_us: key.created_at_us }
}
