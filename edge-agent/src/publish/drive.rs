//! The half of a connection that reads and writes packets.

use super::session::{SessionEnd, Shared};
use super::window::FRAME_ID_MAX;
use super::wire::{Wire, WireError, disconnected};
use crate::lanes::LaneIndex;
use crate::notices::Notices;
use crate::stats::Counters;
use bytes::Bytes;
use prost::Message;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, PingReq, PubAck, PubAckReason, Publish, Subscribe, SubscribeReasonCode,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{Command, command};

/// Packet id of the one subscription.
const SUBSCRIBE_ID: u16 = FRAME_ID_MAX + 1;
/// How long a broken connection is asked for answers that it still holds.
const LAST_ANSWERS_TIME_MAX: Duration = Duration::from_millis(100);

/// What the feeding half wants.
#[derive(Debug)]
pub(super) enum Request {
    /// Send a frame.
    Publish { packet_id: u16, lane: LaneIndex, topic: Bytes, payload: Bytes },
    /// Say goodbye.
    Leave,
}

/// The half itself.
pub(super) struct Drive<'a> {
    pub(super) wire: Wire,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) shared: &'a Shared,
    pub(super) counters: &'a Counters,
    pub(super) notices: &'a Notices,
    pub(super) notice_topic: &'a str,
    pub(super) command_topic: &'a str,
    pub(super) keep_alive: Duration,
}

impl Drive<'_> {
    /// Runs until the connection ends.
    pub(super) async fn run(mut self) -> SessionEnd {
        match self.exchange().await {
            Ok(()) => {
                let _gone_either_way = self.wire.leave().await;
                SessionEnd::Left
            }
            Err(end) => {
                self.take_last_answers().await;
                end
            }
        }
    }

    /// Takes the answers that came before the end. A gateway that answers a few and hangs up, again and again, would
    /// otherwise never be seen to answer.
    async fn take_last_answers(&mut self) {
        while let Ok(Ok(Packet::PubAck(puback))) = timeout(LAST_ANSWERS_TIME_MAX, self.wire.read()).await {
            if self.shared.answered(&puback).is_err() {
                return;
            }
        }
    }

    /// Returns when we should take leave.
    async fn exchange(&mut self) -> Result<(), SessionEnd> {
        let filters =
            [self.notice_topic, self.command_topic].map(|topic| Filter::new(topic, QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters, None);
        subscribe.pkid = SUBSCRIBE_ID;
        self.send(&Packet::Subscribe(subscribe)).await?;
        let mut ping = interval_at(Instant::now() + self.keep_alive, self.keep_alive);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_asked = false;
        loop {
            tokio::select! {
                // Answers first: a write may fail for a connection whose answers are still unread.
                biased;
                packet = self.wire.read() => {
                    is_asked = false;
                    self.take(packet.map_err(SessionEnd::Lost)?).await?;
                }
                _ = ping.tick() => {
                    if std::mem::replace(&mut is_asked, true) {
                        return Err(SessionEnd::Lost(WireError::Silent));
                    }
                    self.send(&Packet::PingReq(PingReq)).await?;
                }
                request = self.requests.recv() => match request {
                    Some(Request::Publish { packet_id, lane, topic, payload }) => {
                        self.publish(packet_id, lane, topic, payload).await?;
                    }
                    Some(Request::Leave) | None => return Ok(()),
                },
            }
        }
    }

    async fn publish(
        &mut self,
        packet_id: u16,
        lane: LaneIndex,
        topic: Bytes,
        payload: Bytes,
    ) -> Result<(), SessionEnd> {
        let publish =
            Publish { qos: QoS::AtLeastOnce, pkid: packet_id, topic, payload, ..Publish::default() };
        self.send(&Packet::Publish(publish)).await?;
        self.counters.lane(lane).sent.add(1);
        Ok(())
    }

    async fn take(&mut self, packet: Packet) -> Result<(), SessionEnd> {
        match packet {
            Packet::PubAck(puback) => self.shared.answered(&puback),
            Packet::Publish(publish) => self.take_publish(publish).await,
            Packet::Disconnect(disconnect) => Err(SessionEnd::Lost(disconnected(disconnect))),
            Packet::SubAck(suback) => {
                let is_refused =
                    |code: &SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                if suback.return_codes.iter().any(is_refused) {
                    tracing::warn!("the gateway refused the subscription to notices or commands");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Keeps a notice, or takes a command, and acknowledges it. What came on another topic was not asked for.
    async fn take_publish(&mut self, publish: Publish) -> Result<(), SessionEnd> {
        if publish.topic == self.notice_topic.as_bytes() {
            self.notices.keep(&publish.payload);
        } else if publish.topic == self.command_topic.as_bytes() {
            self.take_command(&publish.payload);
        } else {
            return Err(SessionEnd::Confused);
        }
        match publish.qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => {
                let puback = PubAck { pkid: publish.pkid, reason: PubAckReason::Success, properties: None };
                self.send(&Packet::PubAck(puback)).await
            }
            QoS::ExactlyOnce => Err(SessionEnd::Confused),
        }
    }

    /// Takes a command of a kind that this agent knows. Any other is of a later gateway, and ignored.
    fn take_command(&self, payload: &[u8]) {
        match Command::decode(payload).map(|command| command.kind) {
            Ok(Some(command::Kind::Resend(asked))) => {
                if !self.shared.ask(asked) {
                    self.notices.keep(Refusal::ResendOpen.code().as_bytes());
                }
            }
            Ok(None) => tracing::debug!("a command of a kind that is not known"),
            Err(_) => self.notices.keep(b"a command that does not decode"),
        }
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), SessionEnd> {
        self.wire.put(packet).map_err(SessionEnd::Lost)?;
        self.wire.flush().await.map_err(SessionEnd::Lost)
    }
}
