//! One session's link to the router of the way down.
//!
//! When the router dies, the session goes on: a new link is made beside it, with the filters that it had, and what
//! waited is published again. What the device has yet to acknowledge of the old router's is taken from it and told
//! nobody; packet ids of the new one start elsewhere, so that the two are never the same.

use super::Front;
use super::codec::{Packet, Version};
use super::downlink::Mailbox;
use super::limits::DOWN_INFLIGHT_MAX;
use super::reply::{self, SUBSCRIBE_REFUSED_V4, SUBSCRIBE_REFUSED_V5};
use super::router::{Linked, RouterGone};
use super::session::Session;
use bytes::BytesMut;
use rumqttd::Notification;
use rumqttd::local::LinkTx;
use rumqttd::protocol::{self, Protocol};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::task::JoinHandle;
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceKey, topic};

/// The router's packet ids are 1 to 100; each of its successors has a block of its own.
const IDS_OF_A_ROUTER: u16 = 128;
const BLOCKS_OF_IDS: u64 = 500;

/// A subscription that waits for the router.
struct Asked {
    packet_id: u16,
    codes: Vec<u8>,
}

enum State {
    Linked(Box<Linked>),
    Relinking(JoinHandle<Result<Linked, RouterGone>>),
}

/// One session's link to the router.
pub(super) struct Link {
    front: Arc<Front>,
    mailbox: Arc<Mailbox>,
    state: State,
    generation: u64,
    version: Version,
    asked: Vec<Asked>,
    /// Packet ids of publishes that the device has yet to acknowledge, at most [`DOWN_INFLIGHT_MAX`].
    unacknowledged: VecDeque<u16>,
}

impl Link {
    /// Waits for something to write to the device. `None` when there is no router. Never ready without a link.
    pub(super) async fn next(link: &mut Option<Box<Self>>) -> Option<BytesMut> {
        let Some(link) = link else { return std::future::pending().await };
        loop {
            match &mut link.state {
                // The router's own window is wider. What it has for the device waits with it.
                State::Linked(_) if link.unacknowledged.len() >= DOWN_INFLIGHT_MAX => {
                    return std::future::pending().await;
                }
                State::Linked(linked) => match linked.rx.next().await {
                    Ok(Some(notification)) => {
                        if let Some(bytes) = link.write(notification) {
                            return Some(bytes);
                        }
                    }
                    Ok(None) => {}
                    Err(_dead) => link.relink(),
                },
                State::Relinking(_) => {
                    let mut out = BytesMut::new();
                    link.relinked(&mut out).await.ok()?;
                    if !out.is_empty() {
                        return Some(out);
                    }
                }
            }
        }
    }

    /// Handles a packet of the way down; makes the link when it is the first SUBSCRIBE.
    pub(super) async fn handle(
        link: &mut Option<Box<Self>>,
        front: &Arc<Front>,
        key: &DeviceKey,
        session: &Session,
        packet: Packet,
        out: &mut BytesMut,
    ) -> Result<(), Refusal> {
        match (packet, link) {
            (Packet::PubAck(packet_id), Some(link)) => return link.acknowledge(packet_id).await,
            (Packet::Subscribe(packet_id, filters), link) => {
                let version = session.version();
                let codes: Vec<u8> = filters.iter().map(|filter| code(key, version, filter)).collect();
                let mut allowed = Vec::with_capacity(filters.len());
                for ((path, _asked), code) in filters.into_iter().zip(&codes) {
                    match code {
                        0 | 1 => allowed.push((path, *code)),
                        _ => session.refused_filter(&path)?,
                    }
                }
                if allowed.is_empty() {
                    reply::suback(out, version, packet_id, &codes);
                    return Ok(());
                }
                if link.is_none() {
                    *link =
                        Some(Self::open(front, key, version).await.map_err(|RouterGone| Refusal::Draining)?);
                }
                if let Some(link) = link {
                    link.relinked(out).await?;
                    link.asked.push(Asked { packet_id, codes });
                    link.send(subscribe(packet_id, &allowed)).await;
                    link.mailbox.subscribe(&allowed);
                }
            }
            (Packet::Unsubscribe(packet_id, filters), link) => {
                reply::unsuback(out, session.version(), packet_id, filters.len());
                let Some(link) = link else { return Ok(()) };
                link.relinked(out).await?;
                let filters: Vec<String> =
                    filters.into_iter().filter(|filter| topic::may_subscribe(key, filter)).collect();
                link.mailbox.unsubscribe(&filters);
                let ask = protocol::Unsubscribe { pkid: packet_id, filters };
                link.send(protocol::Packet::Unsubscribe(ask, None)).await;
            }
            _ => return Err(Refusal::MqttMalformed),
        }
        Ok(())
    }

    async fn open(front: &Arc<Front>, key: &DeviceKey, version: Version) -> Result<Box<Self>, RouterGone> {
        let linked = front.downlink.routers.link(&client(key), None).await?;
        let generation = linked.generation;
        let (front, mailbox) = (front.clone(), front.downlink.open(key, generation));
        let (state, unacknowledged) = (State::Linked(Box::new(linked)), VecDeque::new());
        Ok(Box::new(Self { front, mailbox, state, generation, version, asked: Vec::new(), unacknowledged }))
    }

    /// Tells the router. One that is gone is found out by who reads the link, and its successor is told anew.
    async fn send(&mut self, packet: protocol::Packet) {
        if let State::Linked(linked) = &mut self.state {
            let _ = linked.tx.send(packet).await;
        }
    }

    /// Makes a new link beside the session.
    fn relink(&mut self) {
        let filters = self.mailbox.unlink();
        let (front, client, dead) = (self.front.clone(), client(&self.mailbox.key), self.generation);
        self.state = State::Relinking(tokio::spawn(async move {
            let mut after = dead;
            loop {
                let mut linked = front.downlink.routers.link(&client, Some(after)).await?;
                if filters.is_empty() || has_subscribed(&mut linked, &filters).await {
                    return Ok(linked);
                }
                after = linked.generation;
            }
        }));
    }

    /// Waits for the new link when one is being made. Subscriptions that the old router has not answered are in force
    /// with it, and what waited is published again.
    async fn relinked(&mut self, out: &mut BytesMut) -> Result<(), Refusal> {
        let State::Relinking(made) = &mut self.state else { return Ok(()) };
        let Ok(Ok(linked)) = made.await else { return Err(Refusal::Draining) };
        self.generation = linked.generation;
        self.state = State::Linked(Box::new(linked));
        for asked in self.asked.drain(..) {
            reply::suback(out, self.version, asked.packet_id, &asked.codes);
        }
        self.front.downlink.refill(&self.mailbox, self.generation);
        self.front.metrics.relinked.inc();
        Ok(())
    }

    /// Passes on the acknowledgement of a publish that is known: the router trusts its peers.
    async fn acknowledge(&mut self, packet_id: u16) -> Result<(), Refusal> {
        // In the order of the publishes [MQTT-4.6.0-2].
        if self.unacknowledged.pop_front() != Some(packet_id) {
            return Err(Refusal::MqttMalformed);
        }
        if let Some(pkid) = packet_id.checked_sub(self.ids_from()).filter(|id| *id < IDS_OF_A_ROUTER) {
            let ack = protocol::PubAck { pkid, reason: protocol::PubAckReason::Success };
            self.send(protocol::Packet::PubAck(ack, None)).await;
        }
        Ok(())
    }

    fn ids_from(&self) -> u16 {
        (self.generation % BLOCKS_OF_IDS) as u16 * IDS_OF_A_ROUTER
    }

    fn write(&mut self, notification: Notification) -> Option<BytesMut> {
        let mut out = BytesMut::new();
        match notification {
            Notification::Forward(forward) => {
                let (topic, payload) = (forward.publish.topic.clone(), forward.publish.payload.clone());
                let packet = protocol::Packet::Publish(forward.publish, None);
                let written = match self.version {
                    Version::V4 => protocol::v4::V4.write(packet, &mut out),
                    Version::V5 => protocol::v5::V5.write(packet, &mut out),
                };
                written.ok()?;
                let ids_from = self.ids_from();
                if let Some(bytes) = packet_id(&mut out) {
                    let id = ids_from + u16::from_be_bytes(*bytes);
                    *bytes = id.to_be_bytes();
                    self.unacknowledged.push_back(id);
                }
                self.mailbox.written(&topic, &payload);
            }
            Notification::DeviceAck(_) if !self.asked.is_empty() => {
                let asked = self.asked.remove(0);
                reply::suback(&mut out, self.version, asked.packet_id, &asked.codes);
            }
            Notification::Unschedule => {
                // The router pauses a link whose window was full until it says that it is ready.
                if let State::Linked(linked) = &self.state {
                    linked.rx.ready().ok()?;
                }
                return None;
            }
            _ => return None,
        }
        Some(out)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.front.downlink.close(&self.mailbox);
        match &mut self.state {
            State::Linked(linked) => goodbye(&mut linked.tx),
            State::Relinking(made) => made.abort(),
        }
    }
}

/// Lets the router forget a session that has ended: it would keep it until the device is back.
fn goodbye(tx: &mut LinkTx) {
    let reason_code = protocol::DisconnectReasonCode::NormalDisconnection;
    tx.buffer().push_back(protocol::Packet::Disconnect(protocol::Disconnect { reason_code }, None));
    // Only rings: what stands behind a DISCONNECT is not read.
    let _ = tx.try_unsubscribe("");
}

/// Subscribes on a new link. False when its router is gone as well.
async fn has_subscribed(linked: &mut Linked, filters: &[(String, u8)]) -> bool {
    if linked.tx.send(subscribe(1, filters)).await.is_err() {
        return false;
    }
    loop {
        match linked.rx.next().await {
            Ok(Some(Notification::DeviceAck(_))) => return true,
            // Nothing is published to this device until the new link is in use.
            Ok(_other) => {}
            Err(_dead) => return false,
        }
    }
}

/// The router refuses a slash in a client id; a colon stands in no id of ours.
fn client(key: &DeviceKey) -> String {
    format!("{}:{}", key.tenant, key.device)
}

fn subscribe(pkid: u16, filters: &[(String, u8)]) -> protocol::Packet {
    let filters = filters.iter().map(|(path, qos)| router_filter(path, *qos)).collect();
    protocol::Packet::Subscribe(protocol::Subscribe { pkid, filters }, None)
}

/// The SUBACK code of a filter: QoS 0 or 1, or a refusal.
fn code(key: &DeviceKey, version: Version, (filter, qos): &(String, u8)) -> u8 {
    match (topic::may_subscribe(key, filter), version) {
        (true, _) => (*qos).min(1),
        (false, Version::V4) => SUBSCRIBE_REFUSED_V4,
        (false, Version::V5) => SUBSCRIBE_REFUSED_V5,
    }
}

fn router_filter(path: &str, qos: u8) -> protocol::Filter {
    let qos = if qos == 0 { protocol::QoS::AtMostOnce } else { protocol::QoS::AtLeastOnce };
    let (path, retain_forward_rule) = (path.to_owned(), protocol::RetainForwardRule::Never);
    protocol::Filter { path, qos, nolocal: false, preserve_retain: false, retain_forward_rule }
}

/// Finds the packet id of a PUBLISH that the router's codec wrote; none for QoS 0.
fn packet_id(packet: &mut [u8]) -> Option<&mut [u8; 2]> {
    let (first, rest) = packet.split_first_mut()?;
    if *first & 0b0110 == 0 {
        return None;
    }
    let length_bytes = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (topic_bytes, rest) = rest.get_mut(length_bytes..)?.split_first_chunk_mut::<2>()?;
    rest.get_mut(usize::from(u16::from_be_bytes(*topic_bytes))..)?.first_chunk_mut::<2>()
}
