//! Events that are read and opened once for all subscribers of a node.
//!
//! The newest events of a tenant that has subscribers lie opened in a ring, behind [`Arc`]s. Whoever is the first to
//! want more reads on from the log, and the others wait for it; one commit costs one read, however many listen. Who is
//! behind the ring reads the log by itself, a few at a time, so that catching up costs those in front nothing.

use super::{AlertFeed, FeedError};
use crate::erase::is_erased;
use crate::limits::{
    BEHIND_READS_MAX, RING_BYTES_MAX, RING_BYTES_MIN, RING_EVENTS_MAX, RINGS_BYTES_MAX, SHARED_PAGE,
};
use crate::progress::now_us;
use prost::Message;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};
use wardline_proto::TenantId;
use wardline_proto::v1::AlertEvent;
use wardline_store::erasure::ErasedRange;

/// An erased alert is in no ring for longer than this.
const ERASED_POLL: Duration = Duration::from_secs(1);

/// The rings of a node, one per tenant that has subscribers.
#[derive(Clone)]
pub(crate) struct Rings {
    by_tenant: Arc<Mutex<HashMap<TenantId, Weak<Ring>>>>,
    behind: Arc<Semaphore>,
}

/// What subscribers of one tenant read. Cheap to clone; the ring goes with the last of them.
#[derive(Clone)]
pub struct SharedFeed {
    feed: AlertFeed,
    tenant: TenantId,
    ring: Arc<Ring>,
}

/// Some events, in order.
#[derive(Debug, Clone)]
pub struct Page {
    /// The events; none means that there are no more.
    pub events: Vec<Arc<AlertEvent>>,
    /// When the log was read, unix microseconds: an empty page says that as of then there was nothing behind the cursor.
    pub as_of_us: i64,
}

struct Ring {
    held: Mutex<Held>,
    /// Somebody reads on for everybody, and tells when it has.
    reading: AtomicBool,
    read: Notify,
}

/// The turn to read on; given back, and told, when it is dropped.
struct Turn<'a>(&'a Ring);

/// Events behind `begin` up to `end`, without a hole.
#[derive(Default)]
struct Held {
    begin: u64,
    end: u64,
    events: VecDeque<Arc<AlertEvent>>,
    bytes: usize,
    /// What the log's change counter said before it was read last, and when that was.
    generation: u64,
    as_of_us: i64,
    /// Version of the wards that the events were opened with.
    wards: i64,
    /// When the erase list was looked at last.
    struck_at: Option<Instant>,
}

/// What a subscriber asks for.
#[derive(Clone, Copy)]
struct Wanted {
    cursor: u64,
    generation: u64,
    not_before_us: i64,
    wards: i64,
}

/// What a ring says.
enum Found {
    Page(Page),
    /// Nothing yet: read on from here.
    ReadOn(u64),
    /// The cursor is behind the ring.
    Behind,
}

impl Default for Rings {
    fn default() -> Self {
        Self { by_tenant: Arc::default(), behind: Arc::new(Semaphore::new(BEHIND_READS_MAX)) }
    }
}

impl fmt::Debug for Rings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rings")
    }
}

impl Rings {
    /// Returns the ring of a tenant; a new one begins at `head`.
    fn of(&self, tenant: &TenantId, head: u64) -> Arc<Ring> {
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = by_tenant.get(tenant).and_then(Weak::upgrade) {
            return ring;
        }
        by_tenant.retain(|_, ring| ring.strong_count() > 0);
        let held = Held { begin: head, end: head, ..Held::default() };
        let ring = Ring { held: Mutex::new(held), reading: AtomicBool::default(), read: Notify::new() };
        let ring = Arc::new(ring);
        by_tenant.insert(tenant.clone(), Arc::downgrade(&ring));
        ring
    }

    /// Returns how much one ring may hold now, bytes.
    fn room(&self) -> usize {
        let rings = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner).len();
        (RINGS_BYTES_MAX / rings.max(1)).clamp(RING_BYTES_MIN, RING_BYTES_MAX)
    }
}

impl AlertFeed {
    /// Returns what subscribers of a tenant share.
    pub async fn shared(&self, tenant: &TenantId) -> Result<SharedFeed, FeedError> {
        let head = self.head(tenant).await?;
        let ring = self.rings.of(tenant, head);
        Ok(SharedFeed { feed: self.clone(), tenant: tenant.clone(), ring })
    }
}

impl SharedFeed {
    /// Returns the next events after `cursor`, at most [`SHARED_PAGE`]. When there are none, the log was read after the
    /// last change that this node knows of, and not before `not_before_us`.
    pub async fn after(&self, cursor: u64, not_before_us: i64) -> Result<Page, FeedError> {
        let generation = *self.feed.changed.borrow();
        let wanted = Wanted { cursor, generation, not_before_us, wards: self.feed.wards.version() };
        self.strike().await?;
        loop {
            match self.ring.find(wanted) {
                Found::Page(page) => return Ok(page),
                Found::Behind => return self.read_log(cursor).await,
                Found::ReadOn(_) => {}
            }
            let mut read = pin!(self.ring.read.notified());
            // Before the turn is asked for: no end of a turn is missed.
            read.as_mut().enable();
            let Some(_turn) = self.ring.turn() else {
                read.await;
                continue;
            };
            // Whoever had the turn before may have read it.
            if let Found::ReadOn(end) = self.ring.find(wanted) {
                self.read_on(end).await?;
            }
        }
    }

    /// Takes erased alerts out of the ring: what is read from the log comes without them.
    async fn strike(&self) -> Result<(), FeedError> {
        {
            let mut held = self.ring.lock();
            let is_fresh = held.struck_at.is_some_and(|at| at.elapsed() < ERASED_POLL);
            if is_fresh || held.events.is_empty() {
                return Ok(());
            }
            held.struck_at = Some(Instant::now());
        }
        let erased = self.feed.store.erased_ranges().await?;
        if !erased.is_empty() {
            self.ring.lock().strike(&erased);
        }
        Ok(())
    }

    async fn read_log(&self, cursor: u64) -> Result<Page, FeedError> {
        // Never closed.
        let _place = self.feed.rings.behind.acquire().await;
        let as_of_us = now_us();
        let events = self.feed.since(&self.tenant, cursor, SHARED_PAGE).await?;
        Ok(Page { events: events.into_iter().map(Arc::new).collect(), as_of_us })
    }

    async fn read_on(&self, end: u64) -> Result<(), FeedError> {
        // Both before the read: what is committed during it is read the next time.
        let (generation, as_of_us) = (*self.feed.changed.borrow(), now_us());
        let wards = self.feed.wards.version();
        let events = self.feed.since(&self.tenant, end, SHARED_PAGE).await?;
        let room = self.feed.rings.room();
        let mut held = self.ring.lock();
        if held.wards != wards {
            held.clear();
            held.wards = wards;
        }
        // A full page is not all: the next turn reads on.
        if events.len() < SHARED_PAGE as usize {
            (held.generation, held.as_of_us) = (generation, as_of_us);
        }
        events.into_iter().for_each(|event| held.push(event));
        held.trim(room);
        Ok(())
    }

    /// Returns how many events the ring holds, and their size in bytes.
    pub fn held(&self) -> (usize, usize) {
        let held = self.ring.lock();
        (held.events.len(), held.bytes)
    }
}

impl Ring {
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> Option<Turn<'_>> {
        let free = self.reading.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
        free.is_ok().then(|| Turn(self))
    }

    fn find(&self, wanted: Wanted) -> Found {
        let held = self.lock();
        if wanted.cursor < held.begin {
            return Found::Behind;
        }
        // A device may be in another ward now than when its events were opened: the log is asked again.
        if held.wards != wanted.wards && wanted.cursor < held.end {
            return Found::Behind;
        }
        let first = held.events.partition_point(|event| event.cursor <= wanted.cursor);
        let events: Vec<_> = held.events.range(first..).take(SHARED_PAGE as usize).cloned().collect();
        let is_fresh = held.generation >= wanted.generation
            && held.as_of_us >= wanted.not_before_us
            && held.wards == wanted.wards;
        if events.is_empty() && !is_fresh {
            return Found::ReadOn(held.end);
        }
        Found::Page(Page { events, as_of_us: held.as_of_us })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.reading.store(false, Ordering::Release);
        self.0.read.notify_waiters();
    }
}

impl Held {
    fn push(&mut self, event: AlertEvent) {
        self.end = event.cursor;
        self.bytes += event.encoded_len();
        self.events.push_back(Arc::new(event));
    }

    fn trim(&mut self, room: usize) {
        while self.bytes > room || self.events.len() > RING_EVENTS_MAX {
            let Some(event) = self.events.pop_front() else { return };
            self.bytes -= event.encoded_len();
            self.begin = event.cursor;
        }
    }

    fn strike(&mut self, erased: &[ErasedRange]) {
        let is_kept = |event: &Arc<AlertEvent>| !event.alert.as_ref().is_some_and(|a| is_erased(erased, a));
        self.events.retain(is_kept);
        self.bytes = self.events.iter().map(|event| event.encoded_len()).sum();
    }

    fn clear(&mut self) {
        self.events.clear();
        (self.bytes, self.begin) = (0, self.end);
    }
}
