//! Who may connect, in memory: active devices and revoked serials, reloaded when the registry's version rises.

use super::now_us;
use arc_swap::ArcSwap;
use std::collections::HashSet;
use tokio::sync::{Mutex, watch};
use wardline_proto::DeviceKey;
use wardline_store::registry::Serial;
use wardline_store::{Store, StoreError};

#[derive(Default)]
struct Known {
    version: i64,
    revoked: HashSet<Serial>,
    active: HashSet<DeviceKey>,
}

/// The registry as the front sees it.
pub struct Directory {
    store: Store,
    known: ArcSwap<Known>,
    loading: Mutex<()>,
    changed: watch::Sender<i64>,
}

impl Directory {
    /// Loads the registry.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let (known, changed) = (ArcSwap::from_pointee(Known::default()), watch::Sender::new(0));
        let directory = Self { store, known, loading: Mutex::default(), changed };
        directory.reload().await?;
        Ok(directory)
    }

    /// Says whether a certificate is revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.known.load().revoked.contains(serial)
    }

    /// Says whether a device is registered and active.
    pub fn is_active(&self, key: &DeviceKey) -> bool {
        self.known.load().active.contains(key)
    }

    /// Follows changes.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.changed.subscribe()
    }

    /// Reloads when the registry has changed; says whether it had. What is known stays when the database is away.
    pub async fn refresh(&self) -> bool {
        match self.reload().await {
            Ok(changed) => changed,
            Err(error) => {
                tracing::warn!(%error, "registry not read; going on with what is known");
                false
            }
        }
    }

    async fn reload(&self) -> Result<bool, StoreError> {
        let _one_at_a_time = self.loading.lock().await;
        let version = self.store.registry_version().await?;
        if version == self.known.load().version {
            return Ok(false);
        }
        let snapshot = self.store.registry_snapshot(now_us()).await?;
        let (revoked, active) =
            (snapshot.revoked.into_iter().collect(), snapshot.active.into_iter().collect());
        self.known.store(Known { version: snapshot.version, revoked, active }.into());
        self.changed.send_replace(snapshot.version);
        Ok(true)
    }
}
