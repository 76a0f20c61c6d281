//! Who may connect and call, in memory: active devices, revoked serials, roles. What changes is taken over when the
//! registry's version rises. One directory per node, kept up to date by [`Directory::follow`] whatever the node's
//! roles are (SEC-2).

use super::Role;
use super::limits::{EXPIRY_MARGIN_US, FORGET_EVERY_US, REGISTRY_POLL};
use super::now_us;
use arc_swap::ArcSwap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval};
use wardline_proto::{DeviceKey, Identity};
use wardline_store::bell::Matter;
use wardline_store::registry::{RegistryView, Serial, Sites};
use wardline_store::{Store, StoreError};

/// The registry as this process sees it.
pub struct Directory {
    store: Store,
    /// Held for as long as a look-up, or a few changes, take; never across a wait.
    view: RwLock<RegistryView>,
    /// When expired revocations were last forgotten; held by who reads the registry.
    forgotten_us: Mutex<i64>,
    changed: watch::Sender<i64>,
    /// When the database last said which version is in force.
    read_at: ArcSwap<Instant>,
}

impl Directory {
    /// Loads the registry.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let (view, forgotten_us) = (RwLock::default(), Mutex::new(now_us()));
        let (changed, read_at) = (watch::Sender::new(0), ArcSwap::from_pointee(Instant::now()));
        let directory = Self { store, view, forgotten_us, changed, read_at };
        directory.reload().await?;
        Ok(directory)
    }

    /// Says whether a certificate is revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.view().is_revoked(serial)
    }

    /// Says whether a device is registered and active.
    pub fn is_active(&self, key: &DeviceKey) -> bool {
        self.view().is_active(key)
    }

    /// Returns the registry's version that is known.
    pub fn version(&self) -> i64 {
        self.view().version()
    }

    /// Returns for how long what is known has not been compared with the registry.
    pub fn age(&self) -> Duration {
        self.read_at.load().elapsed()
    }

    /// Says whether a device is registered for test: its data never raises a live alarm.
    pub fn is_for_test(&self, key: &DeviceKey) -> bool {
        self.view().is_for_test(key)
    }

    /// Returns the roles of a service or person; none for who is not in the registry.
    pub fn roles(&self, identity: &Identity) -> Arc<[Role]> {
        self.view().roles(identity)
    }

    /// Returns the sites of a service or person; none for who is not in the registry.
    pub fn sites(&self, identity: &Identity) -> Arc<Sites> {
        self.view().sites(identity)
    }

    /// Follows changes.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.changed.subscribe()
    }

    /// Looks at the registry until it is told to stop: when it is told of a change, and from time to time. Who follows [`Directory::changes`] learns of a revocation within
    /// two polls and the time of a reload.
    pub async fn follow(&self, mut stop: watch::Receiver<bool>) {
        let mut turn = interval(REGISTRY_POLL);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut bell = self.store.bell(Matter::Registry);
        loop {
            tokio::select! {
                _gone = stop.wait_for(|stop| *stop) => return,
                _at = turn.tick() => {}
                () = bell.rung() => {}
            }
            self.refresh().await;
        }
    }

    /// Takes over what has changed in the registry; says whether anything had. What is known stays when the database is
    /// away.
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
        let mut forgotten_us = self.forgotten_us.lock().await;
        let asked_at = Instant::now();
        let (known, version) = (self.version(), self.store.registry_version().await?);
        if version == known {
            self.read_at.store(asked_at.into());
            return Ok(false);
        }
        // The registry leaves out what is revoked and has expired; clocks, and the second that a certificate ends in,
        // are not as exact as that.
        let at_us = now_us() - EXPIRY_MARGIN_US;
        // Version 0 is no version: everything is read first.
        let changes = if known == 0 { None } else { self.store.changes_since(known, at_us).await? };
        let version = match changes {
            Some(changes) => {
                let version = changes.version;
                let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
                view.apply(changes);
                if at_us.saturating_sub(*forgotten_us) > FORGET_EVERY_US {
                    view.forget_expired(at_us);
                    *forgotten_us = at_us;
                }
                version
            }
            None => {
                let all = RegistryView::from(self.store.registry_snapshot(at_us).await?);
                let version = all.version();
                tracing::debug!(known, version, "registry read whole");
                let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
                let old = std::mem::replace(&mut *view, all);
                // Freeing a large one takes time that nobody is to wait for.
                drop(view);
                drop(old);
                version
            }
        };
        self.read_at.store(asked_at.into());
        self.changed.send_replace(version);
        Ok(true)
    }

    fn view(&self) -> RwLockReadGuard<'_, RegistryView> {
        // Whoever panicked holding it left a whole view: each change of it is a removal or an insertion.
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
}
