//! Who asks what, and who was refused, into the outbox: the gateway's relay brings it into its chain (AUD-1).

use super::limits::REFUSALS_AHEAD;
use crate::error::QueryError;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use wardline_access::{Caller, NotAudited, RefusalAudit, now_us};
use wardline_archive::read::query_target;
use wardline_proto::refusal::Refusal;
use wardline_store::Store;
use wardline_store::outbox::Change;

/// Equal refusals within this time are one event, with their number.
const WINDOW: Duration = Duration::from_millis(500);

/// Writes into the outbox.
pub(crate) struct OutboxAudit {
    store: Store,
    waiting: Mutex<HashMap<(String, Refusal), Waiting>>,
}

struct Waiting {
    target: String,
    count: u64,
    at_us: i64,
}

impl RefusalAudit for OutboxAudit {
    fn refused(&self, actor: &str, refusal: Refusal, target: &str) -> Result<(), NotAudited> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (actor.to_owned(), refusal);
        if waiting.len() >= REFUSALS_AHEAD && !waiting.contains_key(&key) {
            return Err(NotAudited);
        }
        let new = || Waiting { target: target.to_owned(), count: 0, at_us: now_us() };
        waiting.entry(key).or_insert_with(new).count += 1;
        Ok(())
    }
}

impl OutboxAudit {
    /// Writes into a database.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, waiting: Mutex::default() }
    }

    /// Writes that a caller reads these tables; to be called before it does.
    pub(crate) async fn reads(
        &self,
        caller: &Caller,
        sql: &str,
        tables: &[String],
    ) -> Result<(), QueryError> {
        let change = Change::new(caller.uri(), now_us());
        let written =
            self.store.record_audit(&change, "archive_queried", "ok", &query_target(sql, tables)).await;
        written.map_err(|error| {
            tracing::error!(%error, "a query could not be audited");
            QueryError::NotAudited
        })
    }

    /// Writes refusals until it is told to stop, and then what is left.
    pub(crate) async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let stopped = tokio::time::timeout(WINDOW, stop.wait_for(|stop| *stop)).await.is_ok();
            self.flush().await;
            if stopped {
                return;
            }
        }
    }

    async fn flush(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for ((actor, refusal), Waiting { target, count, at_us }) in waiting {
            let target = if count > 1 { format!("{target} ({count} times)") } else { target };
            let change = Change::new(actor, at_us);
            if let Err(error) = self.store.record_audit(&change, "refused", refusal.code(), &target).await {
                // It was refused either way.
                tracing::error!(%error, "a refusal could not be audited");
            }
        }
    }
}
