//! The way down: a device's subscriptions, served by rumqttd's router behind a narrow door.
//!
//! A session gets a link to the router at its first SUBSCRIBE, so telemetry sessions cost the router nothing. The
//! router sees only filters that were checked and publishes that were made here, without v5 properties. Its thread
//! is supervised: when it dies, linked sessions are ended so that their devices ask anew, and a new one is started.

use super::codec::{Packet, Version};
use super::limits::{DOWN_INFLIGHT_MAX, NOTICES_MAX};
use super::reply::{self, SUBSCRIBE_REFUSED_V4, SUBSCRIBE_REFUSED_V5};
use super::{CONNECTIONS_MAX, Front};
use bytes::{Bytes, BytesMut};
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{self, Protocol};
use rumqttd::{Notification, Router, RouterConfig};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceKey, topic};

const SEGMENT_BYTES_MAX: usize = 64 * 1024;
const SEGMENTS_MAX: usize = 2;

/// A notice could not be queued: too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many notices wait")]
pub struct NoticesFull;

/// Sends to devices. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DownlinkHandle {
    notices: mpsc::Sender<(DeviceKey, Bytes)>,
}

impl DownlinkHandle {
    /// Queues a notice for a device's notice topic. It reaches the device when it is subscribed, else it is dropped:
    /// what a device must learn is durable elsewhere.
    pub fn notify(&self, key: &DeviceKey, payload: Bytes) -> Result<(), NoticesFull> {
        self.notices.try_send((key.clone(), payload)).map_err(|_full_or_closed| NoticesFull)
    }
}

/// The router does not answer.
#[derive(Debug, Clone, Copy)]
struct RouterGone;

type Linked = Result<(LinkTx, LinkRx), RouterGone>;

struct Running {
    id: usize,
    build: Arc<dyn Fn(&str) -> Linked + Send + Sync>,
    publisher: LinkTx,
}

/// The router, started at the first use.
#[derive(Default)]
pub(super) struct Downlink {
    running: Mutex<Option<Running>>,
}

impl Downlink {
    /// Makes the queue of notices and its handle.
    pub(super) fn channel() -> (DownlinkHandle, mpsc::Receiver<(DeviceKey, Bytes)>) {
        let (notices, queued) = mpsc::channel(NOTICES_MAX);
        (DownlinkHandle { notices }, queued)
    }

    /// Publishes to a device's down topic; nothing happens while no device has subscribed to anything.
    pub(super) fn publish(&self, key: &DeviceKey, channel: &str, payload: Bytes) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(router) = running.as_mut() else { return };
        let topic = topic::down(key, channel);
        if router.publisher.try_publish(topic, payload).is_err() {
            tracing::error!("the router has stopped; it is started again at the next subscription");
            *running = None;
        }
    }

    /// Makes a session's link. Blocks until the router answers.
    fn link(&self, client: &str) -> Linked {
        for _attempt in 0..2 {
            let build = {
                let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                if running.is_none() {
                    *running = Some(start()?);
                }
                running.as_ref().map(|router| (router.id, router.build.clone()))
            };
            let Some((id, build)) = build else { continue };
            match build(client) {
                Ok(link) => return Ok(link),
                Err(RouterGone) => {
                    tracing::error!("the router has stopped; starting a new one");
                    let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                    running.take_if(|router| router.id == id);
                }
            }
        }
        Err(RouterGone)
    }
}

fn start() -> Result<Running, RouterGone> {
    static ROUTERS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let id = ROUTERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let config = RouterConfig {
        // It panics past its own bound, so that lies above ours.
        max_connections: CONNECTIONS_MAX + 16,
        max_outgoing_packet_count: DOWN_INFLIGHT_MAX as u64,
        max_segment_size: SEGMENT_BYTES_MAX,
        max_segment_count: SEGMENTS_MAX,
        ..RouterConfig::default()
    };
    let sender = Router::new(id, config).spawn();
    let build = Arc::new(move |client: &str| {
        let link = LinkBuilder::new(client, sender.clone()).build();
        link.map(|(tx, rx, _connack)| (tx, rx)).map_err(|_stopped_or_refused| RouterGone)
    });
    let (publisher, _no_answers) = build("wardline")?;
    Ok(Running { id, build, publisher })
}

/// A subscription that waits for the router.
struct Asked {
    packet_id: u16,
    codes: Vec<u8>,
}

/// One session's link to the router.
pub(super) struct Link {
    tx: LinkTx,
    rx: LinkRx,
    version: Version,
    asked: Vec<Asked>,
    /// Packet ids of publishes that the device has yet to acknowledge.
    unacknowledged: Vec<u16>,
}

impl Link {
    /// Waits for something to write to the device. `None` when the router is gone. Never ready without a link.
    pub(super) async fn next(link: &mut Option<Box<Self>>) -> Option<BytesMut> {
        let Some(link) = link else { return std::future::pending().await };
        loop {
            let notification = match link.rx.next().await {
                Ok(Some(notification)) => notification,
                Ok(None) => continue,
                Err(_stopped) => return None,
            };
            if let Some(bytes) = link.write(notification) {
                return Some(bytes);
            }
        }
    }

    /// Handles a packet of the way down; makes the link when it is the first SUBSCRIBE.
    pub(super) async fn handle(
        link: &mut Option<Box<Self>>,
        front: &Arc<Front>,
        key: &DeviceKey,
        version: Version,
        packet: Packet,
        out: &mut BytesMut,
    ) -> Result<(), Refusal> {
        match (packet, link) {
            (Packet::Subscribe(packet_id, filters), link) => {
                let codes: Vec<u8> = filters.iter().map(|filter| code(key, version, filter)).collect();
                if codes.iter().all(|code| *code > 2) {
                    front.refused_peer(
                        &wardline_proto::Identity::Device(key.clone()).uri(&front.trust_domain),
                        Refusal::TopicNotAuthorized,
                    );
                    reply::suback(out, version, packet_id, &codes);
                    return Ok(());
                }
                if link.is_none() {
                    *link = Self::open(front, key, version).await.map(Box::new);
                }
                let Some(link) = link else { return Err(Refusal::Draining) };
                let allowed = filters.into_iter().zip(&codes).filter(|(_, code)| **code <= 2);
                let filters = allowed.map(|((path, _), code)| router_filter(path, *code)).collect();
                link.asked.push(Asked { packet_id, codes });
                let ask = protocol::Subscribe { pkid: packet_id, filters };
                link.send(protocol::Packet::Subscribe(ask, None)).await
            }
            (Packet::Unsubscribe(packet_id, filters), link) => {
                reply::unsuback(out, version, packet_id, filters.len());
                let Some(link) = link else { return Ok(()) };
                let filters =
                    filters.into_iter().filter(|filter| topic::may_subscribe(key, filter)).collect();
                let ask = protocol::Unsubscribe { pkid: packet_id, filters };
                link.send(protocol::Packet::Unsubscribe(ask, None)).await
            }
            (Packet::PubAck(packet_id), Some(link)) => link.acknowledge(packet_id).await,
            _ => Err(Refusal::MqttMalformed),
        }
    }

    async fn open(front: &Arc<Front>, key: &DeviceKey, version: Version) -> Option<Self> {
        // The router refuses a slash in a client id; a colon stands in no id of ours.
        let (front, client) = (front.clone(), format!("{}:{}", key.tenant, key.device));
        let made = tokio::task::spawn_blocking(move || front.downlink.link(&client)).await;
        let (tx, rx) = made.ok()?.ok()?;
        Some(Self { tx, rx, version, asked: Vec::new(), unacknowledged: Vec::new() })
    }

    async fn send(&mut self, packet: protocol::Packet) -> Result<(), Refusal> {
        self.tx.send(packet).await.map(drop).map_err(|_stopped| Refusal::Draining)
    }

    /// Passes on the acknowledgement of a publish that is known: the router trusts its peers.
    async fn acknowledge(&mut self, packet_id: u16) -> Result<(), Refusal> {
        let known = self.unacknowledged.iter().position(|id| *id == packet_id);
        self.unacknowledged.remove(known.ok_or(Refusal::MqttMalformed)?);
        let ack = protocol::PubAck { pkid: packet_id, reason: protocol::PubAckReason::Success };
        self.send(protocol::Packet::PubAck(ack, None)).await
    }

    fn write(&mut self, notification: Notification) -> Option<BytesMut> {
        let mut out = BytesMut::new();
        match notification {
            Notification::Forward(forward) => {
                let packet = protocol::Packet::Publish(forward.publish, None);
                let written = match self.version {
                    Version::V4 => protocol::v4::V4.write(packet, &mut out),
                    Version::V5 => protocol::v5::V5.write(packet, &mut out),
                };
                written.ok()?;
                self.unacknowledged.extend(packet_id(&out));
            }
            Notification::DeviceAck(_) if !self.asked.is_empty() => {
                let asked = self.asked.remove(0);
                reply::suback(&mut out, self.version, asked.packet_id, &asked.codes);
            }
            Notification::Unschedule => {
                // The router pauses a link whose window was full until it says that it is ready.
                self.rx.ready().ok()?;
                return None;
            }
            _ => return None,
        }
        Some(out)
    }
}

/// The SUBACK code of a filter: QoS 0 or 1, or a refusal.
fn code(key: &DeviceKey, version: Version, (filter, qos): &(String, u8)) -> u8 {
    match (topic::may_subscribe(key, filter), version) {
        (true, _) => (*qos).min(1),
        (false, Version::V4) => SUBSCRIBE_REFUSED_V4,
        (false, Version::V5) => SUBSCRIBE_REFUSED_V5,
    }
}

fn router_filter(path: String, qos: u8) -> protocol::Filter {
    let qos = if qos == 0 { protocol::QoS::AtMostOnce } else { protocol::QoS::AtLeastOnce };
    let retain_forward_rule = protocol::RetainForwardRule::Never;
    protocol::Filter { path, qos, nolocal: false, preserve_retain: false, retain_forward_rule }
}

/// Reads the packet id of a PUBLISH that the router's codec wrote; none for QoS 0.
fn packet_id(packet: &[u8]) -> Option<u16> {
    let (first, rest) = packet.split_first()?;
    if first & 0b0110 == 0 {
        return None;
    }
    let length_bytes = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (topic_bytes, rest) = rest.get(length_bytes..)?.split_first_chunk::<2>()?;
    let id = rest.get(usize::from(u16::from_be_bytes(*topic_bytes))..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*id))
}
