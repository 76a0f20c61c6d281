//! The way down: what is published to devices, and what of it has yet to reach a device that is linked.
//!
//! A session gets a link to the router at its first SUBSCRIBE, so telemetry sessions cost the router nothing. The
//! router sees only filters that were checked and publishes that were made here, without v5 properties. Its memory is a
//! cache: each linked device has a mailbox of what was not yet written to it, from which a new router is filled.

use super::FrontMetrics;
use super::limits::{DOWN_WAITING_BYTES_MAX, DOWN_WAITING_MAX, NOTICES_MAX, ROUTER_WINDOW};
use super::router::Routers;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;
use wardline_proto::{DeviceKey, topic};

/// A notice could not be queued: too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many notices wait")]
pub struct NoticesFull;

/// Sends to devices. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DownlinkHandle {
    orders: mpsc::Sender<Order>,
}

/// What the front is asked to do on the way down.
#[derive(Debug)]
pub(super) enum Order {
    Notice(DeviceKey, Bytes),
    Crash,
}

impl DownlinkHandle {
    /// Queues a notice for a device's notice topic. It reaches the device when it is subscribed, else it is dropped:
    /// what a device must learn is durable elsewhere.
    pub fn notify(&self, key: &DeviceKey, payload: Bytes) -> Result<(), NoticesFull> {
        self.order(Order::Notice(key.clone(), payload))
    }

    /// Makes the router panic, as a defect of it would. Sessions are linked to a new one: this is how it is tried.
    pub fn crash_router(&self) -> Result<(), NoticesFull> {
        self.order(Order::Crash)
    }

    fn order(&self, order: Order) -> Result<(), NoticesFull> {
        self.orders.try_send(order).map_err(|_full_or_closed| NoticesFull)
    }
}

/// The way down of all devices.
pub(super) struct Downlink {
    pub(super) routers: Routers,
    /// One per linked session; of one device the newest.
    mailboxes: Mutex<HashMap<DeviceKey, Arc<Mailbox>>>,
    sessions: AtomicU64,
    metrics: Arc<FrontMetrics>,
}

/// A device's session that listens to a topic of the way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Tells this session from every other of this front.
    pub session: u64,
    /// Since when it is linked.
    pub since: Instant,
}

/// What a linked device subscribed to, and what waits for it.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) key: DeviceKey,
    listening: Listening,
    state: Mutex<MailboxState>,
}

#[derive(Debug, Default)]
struct MailboxState {
    /// The generation of the router that has the filters and all that waits.
    linked: Option<u64>,
    /// At most one of each that a device may subscribe to.
    filters: Vec<(String, u8)>,
    /// Published and not yet written to the device, at most [`DOWN_WAITING_MAX`] of [`DOWN_WAITING_BYTES_MAX`].
    waiting: VecDeque<(String, Bytes)>,
}

impl Downlink {
    /// Makes the queue of orders and its handle.
    pub(super) fn channel() -> (DownlinkHandle, mpsc::Receiver<Order>) {
        let (orders, queued) = mpsc::channel(NOTICES_MAX);
        (DownlinkHandle { orders }, queued)
    }

    pub(super) fn new(metrics: Arc<FrontMetrics>) -> Self {
        let routers = Routers::new(metrics.clone(), ROUTER_WINDOW);
        Self { routers, mailboxes: Mutex::default(), sessions: AtomicU64::new(0), metrics }
    }

    /// Does what was asked for.
    pub(super) fn carry_out(&self, order: Order) {
        match order {
            Order::Notice(key, payload) => drop(self.publish(&key, "notice", payload)),
            Order::Crash => self.routers.crash(),
        }
    }

    /// Says whether a device listens to a channel of its own, at this front.
    pub(super) fn listening(&self, key: &DeviceKey, channel: &str) -> Option<Listening> {
        let mailbox = lock(&self.mailboxes).get(key).cloned()?;
        let topic = topic::down(key, channel);
        let listens = lock(&mailbox.state).filters.iter().any(|(filter, _qos)| covers(filter, &topic));
        listens.then_some(mailbox.listening)
    }

    /// Publishes to a device's down topic; `false` when it has not subscribed to it, or when there is no room.
    pub(super) fn publish(&self, key: &DeviceKey, channel: &str, payload: Bytes) -> bool {
        let Some(mailbox) = lock(&self.mailboxes).get(key).cloned() else { return false };
        let topic = topic::down(key, channel);
        let mut state = lock(&mailbox.state);
        if !state.filters.iter().any(|(filter, _qos)| covers(filter, &topic)) {
            return false;
        }
        let bytes: usize = state.waiting.iter().map(|(topic, payload)| topic.len() + payload.len()).sum();
        if state.waiting.len() >= DOWN_WAITING_MAX
            || bytes + topic.len() + payload.len() > DOWN_WAITING_BYTES_MAX
        {
            self.metrics.downlink_refused.inc();
            return false;
        }
        // Between two routers it only waits.
        if let Some(generation) = state.linked {
            self.routers.publish(generation, &topic, &payload);
        }
        state.waiting.push_back((topic, payload));
        true
    }

    /// Makes the mailbox of a session that has a link.
    pub(super) fn open(&self, key: &DeviceKey, generation: u64) -> Arc<Mailbox> {
        let state = MailboxState { linked: Some(generation), ..MailboxState::default() };
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let listening = Listening { session, since: Instant::now() };
        let mailbox = Arc::new(Mailbox { key: key.clone(), listening, state: Mutex::new(state) });
        lock(&self.mailboxes).insert(key.clone(), mailbox.clone());
        mailbox
    }

    /// Forgets a mailbox, unless a newer session's took its place.
    pub(super) fn close(&self, mailbox: &Arc<Mailbox>) {
        let mut mailboxes = lock(&self.mailboxes);
        if mailboxes.get(&mailbox.key).is_some_and(|current| Arc::ptr_eq(current, mailbox)) {
            mailboxes.remove(&mailbox.key);
        }
    }

    /// Fills a new router, which has the filters already, with what waits.
    pub(super) fn refill(&self, mailbox: &Mailbox, generation: u64) {
        let mut state = lock(&mailbox.state);
        state.linked = Some(generation);
        for (topic, payload) in &state.waiting {
            self.routers.publish(generation, topic, payload);
        }
    }
}

impl Mailbox {
    /// Adds filters that the router has been told of, before anything that is published from now on.
    pub(super) fn subscribe(&self, filters: &[(String, u8)]) {
        let mut state = lock(&self.state);
        for (path, qos) in filters {
            state.filters.retain(|(filter, _qos)| filter != path);
            state.filters.push((path.clone(), *qos));
        }
    }

    /// Takes filters away.
    pub(super) fn unsubscribe(&self, filters: &[String]) {
        let mut state = lock(&self.state);
        let MailboxState { filters: kept, waiting, .. } = &mut *state;
        kept.retain(|(filter, _qos)| !filters.contains(filter));
        waiting.retain(|(topic, _payload)| kept.iter().any(|(filter, _qos)| covers(filter, topic)));
    }

    /// Returns the filters, and lets publishes wait until [`Downlink::refill`].
    pub(super) fn unlink(&self) -> Vec<(String, u8)> {
        let mut state = lock(&self.state);
        state.linked = None;
        state.filters.clone()
    }

    /// Notes that a publish is written to the device.
    pub(super) fn written(&self, topic: &[u8], payload: &Bytes) {
        let waiting = &mut lock(&self.state).waiting;
        let is_it = |(waits, content): &(String, Bytes)| waits.as_bytes() == topic && content == payload;
        if let Some(at) = waiting.iter().position(is_it) {
            waiting.remove(at);
        }
    }
}

/// Says whether a filter that was allowed covers a topic of the same device.
fn covers(filter: &str, topic: &str) -> bool {
    filter == topic || filter.ends_with("/+") || filter.ends_with("/#")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
