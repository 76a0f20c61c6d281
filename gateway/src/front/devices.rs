//! What the front keeps per device: budget, counters, and its one live session.

use super::budget::{Budget, BudgetOptions};
use super::limits::{CONTEST_HEARD, TAKEOVER_WINDOW, TAKEOVERS_MAX};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceKey, TenantId};
use wardline_store::registry::Serial;

/// Counters of one device since the front started.
#[derive(Debug, Default)]
pub(super) struct DeviceCounters {
    /// Publishes that were taken into the journal.
    pub(super) accepted: AtomicU64,
    /// Publishes that were acknowledged.
    pub(super) acked: AtomicU64,
    /// Refusals.
    pub(super) refused: AtomicU64,
    refused_by_code: Mutex<HashMap<Refusal, u64>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// Publishes that were taken into the journal.
    pub accepted: u64,
    /// Publishes that were acknowledged.
    pub acked: u64,
    /// Refusals by code.
    pub refused: Vec<(Refusal, u64)>,
    /// Whether a session is open.
    pub connected: bool,
}

/// One device.
#[derive(Debug)]
pub(super) struct Device {
    /// Who it is.
    pub(super) key: DeviceKey,
    /// What it did.
    pub(super) counters: DeviceCounters,
    budget: Mutex<Budget>,
    /// The last takeovers, at most [`TAKEOVERS_MAX`].
    takeovers: Mutex<VecDeque<Instant>>,
}

impl Device {
    /// Takes a publish out of the device's budget.
    pub(super) fn spend(&self, options: &BudgetOptions, now: Instant, bytes: usize, json: bool) -> bool {
        lock(&self.budget).take(options, now, bytes, json)
    }

    /// Counts a takeover; returns how many there were within the window.
    fn taken_over(&self, now: Instant) -> usize {
        let mut takeovers = lock(&self.takeovers);
        takeovers.retain(|at| now.duration_since(*at) < TAKEOVER_WINDOW);
        if takeovers.len() >= TAKEOVERS_MAX {
            takeovers.pop_front();
        }
        takeovers.push_back(now);
        takeovers.len()
    }

    /// Counts a refusal.
    pub(super) fn count_refusal(&self, refusal: Refusal) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        *lock(&self.counters.refused_by_code).entry(refusal).or_default() += 1;
    }
}

/// Ends a session from outside.
#[derive(Debug)]
pub(super) struct SessionControl {
    id: u64,
    serial: Serial,
    peer: Option<IpAddr>,
    opened: Instant,
    /// When the device was heard last, milliseconds after `opened`.
    heard_ms: AtomicU64,
    cut: Mutex<Option<Refusal>>,
    wake: Notify,
}

impl SessionControl {
    /// Returns the serial of the certificate that the session was opened with.
    pub(super) fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Notes that the device said something.
    pub(super) fn heard(&self, at: Instant) {
        let since = at.saturating_duration_since(self.opened).as_millis() as u64;
        self.heard_ms.store(since, Ordering::Relaxed);
    }

    /// Ends the session with a reason; the first reason stands.
    pub(super) fn cut(&self, refusal: Refusal) {
        lock(&self.cut).get_or_insert(refusal);
        self.wake.notify_one();
    }

    /// Returns why the session must end.
    pub(super) fn reason(&self) -> Option<Refusal> {
        *lock(&self.cut)
    }

    /// Waits until the session must end.
    pub(super) async fn ended(&self) -> Refusal {
        loop {
            if let Some(refusal) = self.reason() {
                return refusal;
            }
            self.wake.notified().await;
        }
    }
}

/// A session that ended an older one of the same device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Takeover {
    /// Where the older one came from.
    pub(super) from: Option<IpAddr>,
    /// How long ago it was heard.
    pub(super) heard_ago: Duration,
    /// Takeovers of the device within [`TAKEOVER_WINDOW`], this one among them.
    pub(super) recent: usize,
}

impl Takeover {
    /// Says whether the certificate seems to be in two places. A device that comes back after the network dropped takes
    /// over too: but from where it was, or after its old session has been silent for a while, and not again and again.
    pub(super) fn is_contested(&self, peer: Option<IpAddr>) -> bool {
        let elsewhere = self.from.is_some() && peer.is_some() && self.from != peer;
        (elsewhere && self.heard_ago < CONTEST_HEARD) || self.recent >= TAKEOVERS_MAX
    }
}

/// Live sessions, and how many each tenant has.
#[derive(Debug, Default)]
struct Sessions {
    live: HashMap<DeviceKey, Arc<SessionControl>>,
    /// No tenant stands here without a session.
    by_tenant: HashMap<TenantId, usize>,
}

/// How full the front is, as one device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Whether the device has a session.
    pub(super) is_open: bool,
    /// Sessions of all.
    pub(super) sessions: usize,
    /// Sessions of its tenant.
    pub(super) own: usize,
    /// Tenants that are connected, its own among them.
    pub(super) tenants: usize,
}

/// All devices that have connected, and all live sessions. Bounded by the registry: only its devices come here.
#[derive(Debug, Default)]
pub(super) struct Devices {
    devices: Mutex<HashMap<DeviceKey, Arc<Device>>>,
    sessions: Mutex<Sessions>,
    next_session: AtomicU64,
}

impl Devices {
    /// Returns what is kept of a device.
    pub(super) fn get(&self, key: &DeviceKey, options: &BudgetOptions) -> Arc<Device> {
        let fresh = || {
            let budget = Mutex::new(Budget::new(options, Instant::now()));
            Arc::new(Device {
                key: key.clone(),
                counters: DeviceCounters::default(),
                budget,
                takeovers: Mutex::default(),
            })
        };
        lock(&self.devices).entry(key.clone()).or_insert_with(fresh).clone()
    }

    /// Opens the device's session. An older one is cut: the newest wins.
    pub(super) fn open(
        &self,
        key: &DeviceKey,
        serial: Serial,
        peer: Option<IpAddr>,
    ) -> (Arc<SessionControl>, Option<Takeover>) {
        let opened = Instant::now();
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let control = Arc::new(SessionControl {
            id,
            serial,
            peer,
            opened,
            heard_ms: AtomicU64::new(0),
            cut: Mutex::default(),
            wake: Notify::new(),
        });
        let mut sessions = lock(&self.sessions);
        let Some(older) = sessions.live.insert(key.clone(), control.clone()) else {
            *sessions.by_tenant.entry(key.tenant.clone()).or_default() += 1;
            return (control, None);
        };
        drop(sessions);
        older.cut(Refusal::MqttTakenOver);
        let heard = older.opened + Duration::from_millis(older.heard_ms.load(Ordering::Relaxed));
        let recent = lock(&self.devices).get(key).map_or(1, |device| device.taken_over(opened));
        let heard_ago = opened.saturating_duration_since(heard);
        (control, Some(Takeover { from: older.peer, heard_ago, recent }))
    }

    /// Forgets a session that has ended, unless a newer one took its place.
    pub(super) fn close(&self, key: &DeviceKey, control: &SessionControl) {
        let mut sessions = lock(&self.sessions);
        if sessions.live.get(key).is_none_or(|current| current.id != control.id) {
            return;
        }
        sessions.live.remove(key);
        if let Some(count) = sessions.by_tenant.get_mut(&key.tenant) {
            *count -= 1;
            if *count == 0 {
                sessions.by_tenant.remove(&key.tenant);
            }
        }
    }

    /// Returns how full the front is.
    pub(super) fn load(&self, key: &DeviceKey) -> Load {
        let sessions = lock(&self.sessions);
        let own = sessions.by_tenant.get(&key.tenant).copied().unwrap_or_default();
        let tenants = sessions.by_tenant.len() + usize::from(own == 0);
        let is_open = sessions.live.contains_key(key);
        Load { is_open, sessions: sessions.live.len(), own, tenants }
    }

    /// Cuts every session for which `verdict` has a reason.
    pub(super) fn cut_where(&self, verdict: impl Fn(&DeviceKey, &Serial) -> Option<Refusal>) {
        for (key, control) in &lock(&self.sessions).live {
            if let Some(refusal) = verdict(key, &control.serial) {
                control.cut(refusal);
            }
        }
    }

    /// Cuts so many of the sessions that nothing has cut yet.
    pub(super) fn cut_some(&self, count: usize, refusal: Refusal) {
        let sessions = lock(&self.sessions);
        let open = sessions.live.values().filter(|control| control.reason().is_none());
        open.take(count).for_each(|control| control.cut(refusal));
    }

    /// Returns how many sessions are open.
    pub(super) fn session_count(&self) -> usize {
        lock(&self.sessions).live.len()
    }

    /// Returns every device's counters.
    pub(super) fn stats(&self) -> HashMap<DeviceKey, DeviceStats> {
        let devices: Vec<Arc<Device>> = lock(&self.devices).values().cloned().collect();
        let sessions = lock(&self.sessions);
        let one = |device: Arc<Device>| {
            let counters = &device.counters;
            let stats = DeviceStats {
                accepted: counters.accepted.load(Ordering::Relaxed),
                acked: counters.acked.load(Ordering::Relaxed),
                refused: lock(&counters.refused_by_code)
                    .iter()
                    .map(|(code, count)| (*code, *count))
                    .collect(),
                connected: sessions.live.contains_key(&device.key),
            };
            (device.key.clone(), stats)
        };
        devices.into_iter().map(one).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
