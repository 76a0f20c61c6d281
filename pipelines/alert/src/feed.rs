//! What subscribers read: durable events of one tenant after a cursor, and a signal that there are new ones.

use crate::limits::FEED_PAGE_MAX;
use crate::progress::Progress;
use crate::seal::{Sealers, event_aad};
use prost::Message;
use std::sync::Arc;
use tokio::sync::watch;
use wardline_journal::KeyError;
use wardline_proto::TenantId;
use wardline_proto::v1::{Alert, AlertEvent};
use wardline_store::alerts::StoredEvent;
use wardline_store::{Store, StoreError};

/// Says why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event does not open: a key is gone, or the row was changed.
    #[error("alert event {cursor}: {source}")]
    Sealed {
        /// Its cursor.
        cursor: u64,
        /// What the key said.
        source: KeyError,
    },
    /// An opened event does not decode.
    #[error("alert event {cursor} does not decode")]
    Damaged {
        /// Its cursor.
        cursor: u64,
    },
}

/// Reads alert events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AlertFeed {
    pub(crate) store: Store,
    pub(crate) sealers: Arc<Sealers>,
    pub(crate) changed: watch::Receiver<u64>,
    pub(crate) progress: Arc<Progress>,
}

impl AlertFeed {
    /// Returns at most `limit` (and [`FEED_PAGE_MAX`]) events of `tenant` after `cursor`, in order.
    pub async fn since(
        &self,
        tenant: &TenantId,
        cursor: u64,
        limit: u32,
    ) -> Result<Vec<AlertEvent>, FeedError> {
        let stored = self.store.alert_events(tenant, cursor, limit.min(FEED_PAGE_MAX)).await?;
        stored.into_iter().map(|event| self.open(tenant, event)).collect()
    }

    /// Returns the alerts of `tenant`, newest onset first.
    pub async fn list(
        &self,
        tenant: &TenantId,
        include_ended: bool,
        limit: u32,
    ) -> Result<Vec<Alert>, FeedError> {
        let stored = self.store.alerts(tenant, include_ended, limit.min(FEED_PAGE_MAX)).await?;
        let opened = stored.into_iter().map(|event| self.open(tenant, event));
        opened.map(|event| event.map(|e| e.alert.unwrap_or_default())).collect()
    }

    /// Returns the cursor of the tenant's last event; 0 before the first.
    pub async fn head(&self, tenant: &TenantId) -> Result<u64, FeedError> {
        Ok(self.store.alert_head(tenant).await?)
    }

    /// Returns a watch that changes when events became durable, of any tenant. It closes when the worker ends.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Returns how far the engine is behind the journal, milliseconds; it grows when the engine is dead.
    pub fn lag_ms(&self) -> u64 {
        self.progress.lag_ms()
    }

    fn open(&self, tenant: &TenantId, stored: StoredEvent) -> Result<AlertEvent, FeedError> {
        let cursor = stored.cursor;
        let sealed = |source| FeedError::Sealed { cursor, source };
        let aad = event_aad(tenant, &stored.alert_id);
        let plain =
            self.sealers.of(Some(tenant)).and_then(|s| s.open(&aad, &stored.sealed)).map_err(sealed)?;
        let mut event = AlertEvent::decode(plain.as_slice()).map_err(|_| FeedError::Damaged { cursor })?;
        (event.cursor, event.stored_at_us) = (cursor, stored.stored_at_us);
        Ok(event)
    }
}
