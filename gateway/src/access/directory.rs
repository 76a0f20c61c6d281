//! Who may connect and call, in memory: active devices, revoked serials, roles; reloaded when the registry's version
//! rises. One directory per node, kept up to date by [`Directory::follow`] whatever the node's roles are (SEC-2).

use super::{Role, limits::EXPIRY_MARGIN_US};
use crate::front::limits::REGISTRY_POLL;
use crate::front::now_us;
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval};
use wardline_proto::{DeviceKey, Identity};
use wardline_store::registry::{Principal, PrincipalKind, Serial};
use wardline_store::{Store, StoreError};

#[derive(Default)]
struct Known {
    version: i64,
    revoked: HashSet<Serial>,
    active: HashSet<DeviceKey>,
    for_test: HashSet<DeviceKey>,
    roles: HashMap<Identity, Arc<[Role]>>,
}

/// The registry as this process sees it.
pub struct Directory {
    store: Store,
    known: ArcSwap<Known>,
    loading: Mutex<()>,
    changed: watch::Sender<i64>,
    /// When the database last said which version is in force.
    read_at: ArcSwap<Instant>,
}

impl Directory {
    /// Loads the registry.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let (known, changed) = (ArcSwap::from_pointee(Known::default()), watch::Sender::new(0));
        let read_at = ArcSwap::from_pointee(Instant::now());
        let directory = Self { store, known, loading: Mutex::default(), changed, read_at };
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

    /// Returns the registry's version that is known.
    pub fn version(&self) -> i64 {
        self.known.load().version
    }

    /// Returns for how long what is known has not been compared with the registry.
    pub fn age(&self) -> Duration {
        self.read_at.load().elapsed()
    }

    /// Says whether a device is registered for test: its data never raises a live alarm.
    pub fn is_for_test(&self, key: &DeviceKey) -> bool {
        self.known.load().for_test.contains(key)
    }

    /// Returns the roles of a service or person; none for who is not in the registry.
    pub fn roles(&self, identity: &Identity) -> Arc<[Role]> {
        self.known.load().roles.get(identity).cloned().unwrap_or_default()
    }

    /// Follows changes.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.changed.subscribe()
    }

    /// Looks at the registry until it is told to stop. Who follows [`Directory::changes`] learns of a revocation within
    /// two polls and the time of a reload.
    pub async fn follow(&self, mut stop: watch::Receiver<bool>) {
        let mut turn = interval(REGISTRY_POLL);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _gone = stop.wait_for(|stop| *stop) => return,
                _at = turn.tick() => {}
            }
            self.refresh().await;
        }
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
        let asked_at = Instant::now();
        let version = self.store.registry_version().await?;
        if version == self.known.load().version {
            self.read_at.store(asked_at.into());
            return Ok(false);
        }
        // The registry leaves out what is revoked and has expired; clocks, and the second that a certificate ends in,
        // are not as exact as that.
        let snapshot = self.store.registry_snapshot(now_us() - EXPIRY_MARGIN_US).await?;
        let known = Known {
            version: snapshot.version,
            revoked: snapshot.revoked.into_iter().collect(),
            active: snapshot.active.into_iter().collect(),
            for_test: snapshot.for_test.into_iter().collect(),
            roles: snapshot.principals.into_iter().map(roles_of).collect(),
        };
        self.known.store(known.into());
        self.read_at.store(asked_at.into());
        self.changed.send_replace(snapshot.version);
        Ok(true)
    }
}

fn roles_of(principal: Principal) -> (Identity, Arc<[Role]>) {
    let Principal { tenant, kind, name, roles, .. } = principal;
    let identity = match kind {
        PrincipalKind::Service => Identity::Service { tenant, name },
        PrincipalKind::User => Identity::User { tenant, name },
    };
    (identity, roles.into())
}
