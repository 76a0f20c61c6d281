//! The router of the way down, and what keeps one running.
//!
//! rumqttd's router is a thread that ends with the first panic in it, and with it the subscriptions of all. So its death
//! is planned for: each router is a *generation*, and when one dies the supervisor starts the next.
//!
//! ```text
//! starting -> up(0) -> starting -> up(1) -> .. -> down (too many within the window) -> starting -> up(n)
//! ```
//! A link that is asked for while the router dies never hears of it: its request stays in a queue that nobody reads. Links
//! are therefore made by one thread per generation, one after the other, and such a request costs that thread alone.

use super::limits::{
    DOWN_INFLIGHT_MAX, LINK_MAX, LINKS_WAITING_MAX, NOTICES_MAX, ROUTER_RESTARTS_MAX,
    ROUTER_SEGMENT_BYTES_MAX, ROUTER_SEGMENTS_MAX,
};
use super::{CONNECTIONS_MAX, FrontMetrics};
use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::{Router, RouterConfig};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// A connection that the router does not have.
const NO_CONNECTION: usize = usize::MAX;

/// The router does not answer, and none takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouterGone;

/// A link to the router of a generation.
pub(super) struct Linked {
    pub(super) tx: LinkTx,
    pub(super) rx: LinkRx,
    pub(super) generation: u64,
}

/// The router as sessions see it. Started at the first use.
pub(super) struct Routers {
    phase: OnceLock<watch::Receiver<Phase>>,
    window: Duration,
    metrics: Arc<FrontMetrics>,
}

#[derive(Clone)]
enum Phase {
    Starting,
    Up(Arc<Generation>),
    Down,
}

struct Generation {
    id: u64,
    links: mpsc::Sender<LinkRequest>,
    publisher: Mutex<LinkTx>,
    /// Speaks for a connection that is not there.
    crash: Mutex<LinkTx>,
}

struct LinkRequest {
    client: String,
    made: oneshot::Sender<Result<(LinkTx, LinkRx), RouterGone>>,
}

impl Routers {
    /// Makes the supervisor, with the time within which [`ROUTER_RESTARTS_MAX`] holds.
    pub(super) fn new(metrics: Arc<FrontMetrics>, window: Duration) -> Self {
        Self { phase: OnceLock::new(), window, metrics }
    }

    /// Makes a link to a router of another generation than `after`.
    pub(super) async fn link(&self, client: &str, after: Option<u64>) -> Result<Linked, RouterGone> {
        timeout(LINK_MAX, self.try_link(client, after)).await.unwrap_or(Err(RouterGone))
    }

    async fn try_link(&self, client: &str, mut after: Option<u64>) -> Result<Linked, RouterGone> {
        let mut phase = self.phase();
        loop {
            let is_next = |phase: &Phase| match phase {
                Phase::Starting => false,
                Phase::Up(generation) => after != Some(generation.id),
                Phase::Down => true,
            };
            let next = phase.wait_for(is_next).await.map_err(|_stopped| RouterGone)?.clone();
            let Phase::Up(generation) = next else { return Err(RouterGone) };
            let made = tokio::select! {
                made = generation.link(client) => made,
                _dead = phase.changed() => Err(RouterGone),
            };
            let id = generation.id;
            match made {
                Ok((tx, rx)) => return Ok(Linked { tx, rx, generation: id }),
                Err(RouterGone) => after = Some(id),
            }
        }
    }

    /// Publishes by the router of a generation. Nothing happens when that is gone.
    pub(super) fn publish(&self, generation: u64, topic: &str, payload: &Bytes) {
        let Some(Phase::Up(current)) = self.phase.get().map(|phase| phase.borrow().clone()) else { return };
        if current.id != generation {
            return;
        }
        let mut publisher = current.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        if publisher.buffer().len() < NOTICES_MAX {
            // The event finds no room only behind events of ours, and each of those takes all that is there.
            let _ = publisher.try_publish(topic.to_owned(), payload.clone());
        }
    }

    /// Makes the router that runs panic.
    pub(super) fn crash(&self) {
        if let Some(Phase::Up(generation)) = self.phase.get().map(|phase| phase.borrow().clone()) {
            generation.crash();
        }
    }

    fn phase(&self) -> watch::Receiver<Phase> {
        let start = || {
            let (told, phase) = watch::channel(Phase::Starting);
            tokio::spawn(supervise(told, self.window, self.metrics.clone()));
            phase
        };
        self.phase.get_or_init(start).clone()
    }
}

impl Generation {
    /// Makes a link. Never ready when the router dies with the request in its queue.
    async fn link(&self, client: &str) -> Result<(LinkTx, LinkRx), RouterGone> {
        let (made, answer) = oneshot::channel();
        let request = LinkRequest { client: client.to_owned(), made };
        self.links.send(request).await.map_err(|_ended| RouterGone)?;
        answer.await.map_err(|_ended| RouterGone)?
    }

    /// Ends the router for good: it indexes its connections by what a link says of itself.
    fn crash(&self) {
        let mut crash = self.crash.lock().unwrap_or_else(PoisonError::into_inner);
        // It has ended already when it does not hear this.
        let _ = crash.shadow("");
    }
}

/// Keeps a router running until nobody is left who would use it.
async fn supervise(told: watch::Sender<Phase>, window: Duration, metrics: Arc<FrontMetrics>) {
    let mut deaths = VecDeque::new();
    for id in 0.. {
        if let Ok((generation, watcher)) = start(id).await {
            metrics.router_down.set(0);
            let generation = Arc::new(generation);
            told.send_replace(Phase::Up(generation.clone()));
            tokio::select! {
                () = told.closed() => return,
                () = until_gone(watcher) => {}
            }
            // Should it have let go of our link alone: its sessions must find the next one.
            generation.crash();
        }
        metrics.router_deaths.inc();
        let now = Instant::now();
        deaths.retain(|at| now.duration_since(*at) < window);
        deaths.push_back(now);
        if deaths.len() <= ROUTER_RESTARTS_MAX {
            tracing::error!(generation = id, "the router has died; sessions are linked to a new one");
            told.send_replace(Phase::Starting);
            continue;
        }
        tracing::error!(generation = id, "the router dies again and again; sessions that use it are ended");
        metrics.router_down.set(1);
        told.send_replace(Phase::Down);
        let first = deaths.pop_front().unwrap_or(now);
        tokio::select! {
            () = told.closed() => return,
            () = sleep_until(first + window) => told.send_replace(Phase::Starting),
        };
    }
}

/// Waits until the router lets go of a link.
async fn until_gone(mut watcher: LinkRx) {
    while watcher.next().await.is_ok() {}
}

async fn start(id: u64) -> Result<(Generation, LinkRx), RouterGone> {
    let (links, requests) = mpsc::channel(LINKS_WAITING_MAX);
    let (started, parts) = oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("links-{id}"));
    thread.spawn(move || make_links(id, started, requests)).map_err(|_no_thread| RouterGone)?;
    let parts = timeout(LINK_MAX, parts).await.map_err(|_elapsed| RouterGone)?;
    let (publisher, watcher, crash) = parts.map_err(|_ended| RouterGone)?;
    Ok((Generation { id, links, publisher: Mutex::new(publisher), crash: Mutex::new(crash) }, watcher))
}

/// The thread of a generation: starts its router, then makes links until nobody asks.
fn make_links(
    id: u64,
    started: oneshot::Sender<(LinkTx, LinkRx, LinkTx)>,
    mut requests: mpsc::Receiver<LinkRequest>,
) {
    let config = RouterConfig {
        // It lets nobody in past its own bound, so that lies above ours.
        max_connections: CONNECTIONS_MAX + 16,
        max_outgoing_packet_count: DOWN_INFLIGHT_MAX as u64,
        max_segment_size: ROUTER_SEGMENT_BYTES_MAX,
        max_segment_count: ROUTER_SEGMENTS_MAX,
        ..RouterConfig::default()
    };
    let sender = Router::new(id as usize, config).spawn();
    let build = |client: &str| {
        let link = LinkBuilder::new(client, sender.clone()).build();
        link.map(|(tx, rx, _connack)| (tx, rx)).map_err(|_stopped_or_refused| RouterGone)
    };
    let Ok((publisher, watcher)) = build("wardline") else { return };
    let crash = LinkTx::new(NO_CONNECTION, sender.clone(), Arc::default());
    if started.send((publisher, watcher, crash)).is_err() {
        return;
    }
    while let Some(LinkRequest { client, made }) = requests.blocking_recv() {
        // Who asked may have given up.
        let _ = made.send(build(&client));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_router_that_dies_too_often_stays_down_for_the_window_and_no_longer() {
        let metrics = Arc::new(FrontMetrics::default());
        let routers = Routers::new(metrics.clone(), Duration::from_secs(2));
        let mut last = routers.link("demo:mon-1", None).await.unwrap();
        assert_eq!(last.generation, 0);
        for death in 1..=ROUTER_RESTARTS_MAX as u64 {
            routers.crash();
            until_gone(last.rx).await;
            last = routers.link("demo:mon-1", Some(last.generation)).await.unwrap();
            assert_eq!((last.generation, metrics.router_deaths.get()), (death, death));
        }
        routers.crash();
        until_gone(last.rx).await;
        let linked = routers.link("demo:mon-1", Some(last.generation)).await;
        assert_eq!((linked.err(), metrics.router_down.get()), (Some(RouterGone), 1));
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let linked = routers.link("demo:mon-1", Some(last.generation)).await.unwrap();
        assert_eq!((linked.generation, metrics.router_down.get()), (last.generation + 1, 0));
    }

    #[tokio::test]
    async fn links_that_are_asked_for_while_the_router_dies_are_of_the_next_one() {
        let routers = Arc::new(Routers::new(Arc::default(), Duration::from_secs(60)));
        routers.link("demo:first", None).await.unwrap();
        routers.crash();
        let mut asked = tokio::task::JoinSet::new();
        for n in 0..50 {
            let routers = routers.clone();
            asked.spawn(async move {
                routers.link(&format!("demo:{n}"), Some(0)).await.map(|link| link.generation)
            });
        }
        assert_eq!(asked.join_all().await, [Ok(1); 50]);
    }
}
