//! The accept loop and the front's housekeeping.

use super::admission::{Admission, PeerKey};
use super::devices::{Devices, SessionControl, Takeover};
use super::downlink::{Downlink, DownlinkHandle, Listening, Order};
use super::drain::Mover;
use super::limits::{DRAIN_MAX, HANDSHAKES_MAX};
use super::{
    Auditor, CONNECTIONS_MAX, DeviceStats, Front, FrontMetrics, FrontOptions, Gates, LiveTls, connection,
};
use crate::access::Directory;
use bytes::Bytes;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wardline_journal::Journal;
use wardline_proto::audit::SESSION_CONTESTED;
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceKey, Identity};
use wardline_store::registry::Serial;

/// How long the accept loop rests when the system has no more file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// The channel of what a device is asked to do.
const COMMAND: &str = "command";

/// What a front is made of.
pub struct FrontParts {
    /// Trust domain of devices' SAN URIs.
    pub trust_domain: String,
    /// Its side of TLS.
    pub tls: Arc<LiveTls>,
    /// Where publishes go.
    pub journal: Journal,
    /// Who may connect.
    pub directory: Arc<Directory>,
    /// Writes what must be audited.
    pub auditor: Arc<Auditor>,
    /// Its counters.
    pub metrics: Arc<FrontMetrics>,
    /// What publishes of some tenants have to pass besides being durable.
    pub gates: Option<Gates>,
}

/// The front, ready to run.
pub struct FrontService {
    front: Arc<Front>,
    listener: TcpListener,
    orders: mpsc::Receiver<Order>,
    downlink: DownlinkHandle,
}

/// Looks at the front and reaches into it. Cheap to clone.
#[derive(Clone)]
pub struct FrontHandle {
    front: Arc<Front>,
    downlink: DownlinkHandle,
}

impl FrontHandle {
    /// Returns every device's counters.
    pub fn stats(&self) -> HashMap<DeviceKey, DeviceStats> {
        self.front.devices.stats()
    }

    /// Returns how many sessions are open.
    pub fn session_count(&self) -> usize {
        self.front.devices.session_count()
    }

    /// Returns what sends to devices.
    pub fn downlink(&self) -> DownlinkHandle {
        self.downlink.clone()
    }

    /// Says whether a device listens for commands, in a session of this front.
    pub fn listening(&self, key: &DeviceKey) -> Option<Listening> {
        self.front.downlink.listening(key, COMMAND)
    }

    /// Queues a command for a device; `false` when it does not listen here, or has no room.
    pub fn command(&self, key: &DeviceKey, payload: Bytes) -> bool {
        self.front.downlink.publish(key, COMMAND, payload)
    }

    /// Says whether audit events can be journaled: a front that cannot audit does not serve (AUD-1).
    pub fn can_audit(&self) -> bool {
        !self.front.auditor.is_broken()
    }
}

impl FrontService {
    /// Makes the front on a bound listener.
    pub fn new(options: FrontOptions, listener: TcpListener, parts: FrontParts) -> Self {
        let FrontParts { trust_domain, tls, journal, directory, auditor, metrics, gates } = parts;
        let (devices, down) = (Devices::default(), Downlink::new(metrics.clone()));
        let (downlink, orders) = Downlink::channel();
        let admission = Admission::new(options.admission);
        let front = Front {
            options,
            trust_domain,
            tls,
            journal,
            directory,
            auditor,
            admission,
            devices,
            downlink: down,
            metrics,
            gates,
            moving: AtomicBool::new(false),
        };
        Self { front: Arc::new(front), listener, orders, downlink }
    }

    /// Returns a handle.
    pub fn handle(&self) -> FrontHandle {
        FrontHandle { front: self.front.clone(), downlink: self.downlink.clone() }
    }

    /// Accepts until `shutdown` is true; then sends the sessions on to other fronts, or ends them, each after its last
    /// acknowledgement.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Self { front, listener, mut orders, downlink: _handle } = self;
        let connections = Arc::new(Semaphore::new(front.options.connections_max.min(CONNECTIONS_MAX)));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let mut tasks = JoinSet::new();
        let mut changes = front.directory.changes();
        let mut reloads = front.tls.changes();
        let mut mover: Option<Mover> = None;
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(&mut shutdown), if mover.is_none() => {
                    mover = Mover::begin(&front);
                    if mover.is_none() {
                        break;
                    }
                }
                goes_on = moved(&mut mover, &front) => if !goes_on {
                    break;
                },
                Ok(()) = changes.changed() => front.cut_unwelcome(),
                Ok(()) = reloads.changed() => front.cut_unwelcome(),
                Some(order) = orders.recv() => front.downlink.carry_out(order),
                Some(ended) = tasks.join_next() => report(ended),
                // The permit comes before the accept: what is past the bound waits in the kernel's queue.
                (permit, accepted) = accept(&listener, &handshakes) => {
                    let Some((tcp, peer)) = accepted else { continue };
                    let place = match front.admission.connect(PeerKey::of(peer.ip()), permit, Instant::now()) {
                        Ok(place) => place,
                        Err(refusal) => {
                            front.refused_unnamed(refusal);
                            continue;
                        }
                    };
                    let Ok(connection) = connections.clone().try_acquire_owned() else {
                        front.refused_unnamed(Refusal::QuotaConnections);
                        continue;
                    };
                    front.metrics.connections.inc();
                    let front = front.clone();
                    tasks.spawn(async move {
                        connection::serve(front, tcp, place).await;
                        drop(connection);
                    });
                }
            }
        }
        drop(listener);
        front.devices.cut_where(|_key, _serial| Some(Refusal::Draining));
        let drain = async {
            while let Some(ended) = tasks.join_next().await {
                report(ended)
            }
        };
        if timeout(DRAIN_MAX, drain).await.is_err() {
            tracing::warn!("sessions did not end in time");
        }
    }
}

async fn accept(
    listener: &TcpListener,
    handshakes: &Arc<Semaphore>,
) -> (tokio::sync::OwnedSemaphorePermit, Option<(TcpStream, SocketAddr)>) {
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else {
            // Never closed; rest rather than spin if it ever were.
            sleep(ACCEPT_REST).await;
            continue;
        };
        match listener.accept().await {
            Ok((tcp, peer)) => {
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                return (permit, Some((tcp, peer)));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                sleep(ACCEPT_REST).await;
                return (permit, None);
            }
        }
    }
}

/// Takes the next step of sending devices on; never returns while that has not begun.
async fn moved(mover: &mut Option<Mover>, front: &Front) -> bool {
    match mover {
        Some(mover) => mover.step(front).await,
        None => std::future::pending().await,
    }
}

/// Waits until the flag is true; a sender that is gone means the same.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // Nothing of the guard may live on: it is not `Send`.
    let _gone = stop.wait_for(|stop| *stop).await.map(drop);
}

/// A connection's panic costs that connection; it is told once here.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(panicked = error.is_panic(), "a connection's task failed");
    }
}

impl Front {
    /// Opens a device's session. Looked at once more: what was revoked between handshake and CONNECT was cut before
    /// this session was there to be cut.
    pub(super) fn open_session(
        &self,
        key: &DeviceKey,
        serial: Serial,
        peer: Option<SocketAddr>,
    ) -> Arc<SessionControl> {
        if let Some(peer) = peer {
            self.admission.known(PeerKey::of(peer.ip()));
        }
        let (control, takeover) = self.devices.open(key, serial, peer.map(|peer| peer.ip()));
        if let Some(takeover) = takeover
            && let Err(refusal) = self.audit_takeover(key, &control, takeover, peer)
        {
            control.cut(refusal);
        }
        if let Some(refusal) = self.unwelcome(key, control.serial()) {
            control.cut(refusal);
        }
        control
    }

    /// Cuts the sessions of revoked certificates and of devices that are no longer active (SEC-2).
    fn cut_unwelcome(&self) {
        self.devices.cut_where(|key, serial| self.unwelcome(key, serial));
    }

    /// Audits that the newest session won, and whether both seem to be in use. Journaled before anything of the new
    /// session, so that the alarm is not behind what it sends.
    fn audit_takeover(
        &self,
        key: &DeviceKey,
        control: &SessionControl,
        takeover: Takeover,
        peer: Option<SocketAddr>,
    ) -> Result<(), Refusal> {
        let peer = peer.map(|peer| peer.ip());
        let actor = Identity::Device(key.clone()).uri(&self.trust_domain);
        let same = if takeover.from == peer { "the same" } else { "another" };
        let target = format!(
            "serial {} from {} address {}, before {}, heard {} ms ago",
            control.serial(),
            same,
            address_class(peer),
            address_class(takeover.from),
            takeover.heard_ago.as_millis(),
        );
        let contested = takeover.is_contested(peer);
        let action = if contested { SESSION_CONTESTED } else { "session_taken_over" };
        if contested {
            tracing::warn!(device = %key, "a certificate seems to be in use in two places");
        }
        let done = self.auditor.record(action, &actor, Refusal::MqttTakenOver.code(), target);
        done.map_err(|_| Refusal::JournalFailed)
    }

    /// Admits a device that has said CONNECT: it is still welcome, and its tenant has a place for it.
    pub(super) fn admit_session(&self, key: DeviceKey, serial: &Serial) -> Result<DeviceKey, Refusal> {
        if let Some(refusal) = self.unwelcome(&key, serial) {
            return Err(refusal);
        }
        let load = self.devices.load(&key);
        let max = self.options.connections_max;
        // A session that takes over takes no place.
        let fits = load.is_open || self.admission.has_share(max, load.sessions, load.own, load.tenants);
        if fits { Ok(key) } else { Err(Refusal::QuotaTenant) }
    }

    /// Returns why a device that was let in may not stay.
    fn unwelcome(&self, key: &DeviceKey, serial: &Serial) -> Option<Refusal> {
        if self.directory.is_revoked(serial) || self.tls.revokes(serial) {
            return Some(Refusal::IdentityRevoked);
        }
        (!self.directory.is_active(key)).then_some(Refusal::IdentityUnknown)
    }
}

/// Names what kind of address a peer has; the address itself is not kept.
fn address_class(address: Option<IpAddr>) -> &'static str {
    match address.map(|address| address.to_canonical()) {
        None => "unknown",
        Some(address) if address.is_loopback() => "loopback",
        Some(IpAddr::V4(v4)) if v4.is_private() || v4.is_link_local() => "private",
        Some(IpAddr::V6(v6)) if v6.is_unique_local() || v6.is_unicast_link_local() => "private",
        Some(_) => "public",
    }
}
