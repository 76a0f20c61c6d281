//! One connection to the gateway: hands frames over, matches answers to them.
//!
//! Two halves run side by side: [`drive`] polls the MQTT library and never waits for the spool; [`Session::feed`]
//! decides what goes next and settles what was answered. They meet in [`Shared`]. The library's own queue and
//! session state live as long as the connection: the spool is the only queue.

use super::answer::Answer;
use super::feed::{Feeds, Item};
use super::repair::Repairs;
use super::window::{Flight, Window};
use crate::lanes::{LANES, LaneIndex};
use crate::spool::{LaneWatches, Spool, SpoolError};
use crate::stats::Counters;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAck};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The agent stops.
    Stopped,
    /// The connection failed or was ended by the gateway.
    Lost(Box<ConnectionError>),
    /// An acknowledgement stayed away too long.
    AckTimeout,
    /// The gateway answered something that was not asked.
    Confused,
    /// The spool failed: the agent must stop.
    Spool(SpoolError),
}

impl From<SpoolError> for SessionEnd {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error)
    }
}

/// Where the two halves meet.
pub(super) struct Shared {
    state: Mutex<State>,
    moved: Notify,
    counters: Arc<Counters>,
}

struct State {
    window: Window,
    is_connected: bool,
    has_ended: bool,
    /// Answered and not yet settled; no more than a window of them.
    answers: Vec<(Flight, Answer)>,
}

impl Shared {
    pub(super) fn new(window: Window, counters: Arc<Counters>) -> Self {
        let state = State { window, is_connected: false, has_ended: false, answers: Vec::new() };
        Self { state: Mutex::new(state), moved: Notify::new(), counters }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the feeding half that the connection has ended.
    pub(super) fn end(&self) {
        self.state().has_ended = true;
        self.moved.notify_one();
    }

    fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    /// Takes an event of the MQTT library; an error ends the connection.
    fn note(&self, event: Event) -> Result<(), SessionEnd> {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => self.connected(&connack),
            Event::Incoming(Packet::PubAck(puback)) => self.answered(&puback)?,
            Event::Outgoing(Outgoing::Publish(packet_id)) => self.sent(packet_id)?,
            Event::Outgoing(Outgoing::Disconnect) => return Err(SessionEnd::Stopped),
            Event::Incoming(_) | Event::Outgoing(_) => return Ok(()),
        }
        self.moved.notify_one();
        Ok(())
    }

    fn connected(&self, connack: &ConnAck) {
        let receive_maximum = connack.properties.as_ref().and_then(|properties| properties.receive_max);
        let mut state = self.state();
        state.is_connected = true;
        if let Some(maximum) = receive_maximum {
            state.window.limit(maximum);
        }
        drop(state);
        self.counters.connected.store(true, Ordering::Relaxed);
        self.counters.connects.add(1);
        tracing::info!("connected to the gateway");
    }

    fn sent(&self, packet_id: u16) -> Result<(), SessionEnd> {
        let lane = self.state().window.sent(packet_id).ok_or(SessionEnd::Confused)?;
        self.counters.lane(lane).sent.add(1);
        Ok(())
    }

    fn answered(&self, puback: &PubAck) -> Result<(), SessionEnd> {
        let mut state = self.state();
        let flight = state.window.answered(puback.pkid).ok_or(SessionEnd::Confused)?;
        state.answers.push((flight, Answer::of(puback.reason)));
        Ok(())
    }

    /// Waits until `done`, or until the connection has ended.
    async fn until(&self, done: impl Fn(&State) -> bool) {
        loop {
            let moved = self.moved.notified();
            let is_over = {
                let state = self.state();
                state.has_ended || done(&state)
            };
            if is_over {
                return;
            }
            moved.await;
        }
    }

    /// Takes back what has no answer. Called when both halves have ended.
    pub(super) fn take_unanswered(&self) -> Vec<Flight> {
        self.state().window.take_all()
    }

    pub(super) fn take_answers(&self) -> Vec<(Flight, Answer)> {
        std::mem::take(&mut self.state().answers)
    }
}

/// Polls the MQTT library until the connection ends.
pub(super) async fn drive(mut eventloop: EventLoop, shared: &Shared) -> SessionEnd {
    loop {
        match eventloop.poll().await {
            Ok(event) => {
                if let Err(end) = shared.note(event) {
                    return end;
                }
            }
            Err(error) => {
                // What was read together with the end is still queued: a gateway that answers a few and hangs up, again
                // and again, would otherwise never be seen to answer.
                for event in std::mem::take(&mut eventloop.state.events) {
                    if let Err(end) = shared.note(event) {
                        return end;
                    }
                }
                return SessionEnd::Lost(Box::new(error));
            }
        }
    }
}

/// The half that reads the spool.
pub(super) struct Session<'a> {
    pub(super) client: AsyncClient,
    pub(super) shared: &'a Shared,
    pub(super) spool: &'a Arc<Spool>,
    pub(super) feeds: &'a mut Feeds,
    pub(super) repairs: &'a mut Repairs,
    pub(super) watches: LaneWatches,
    pub(super) topics: &'a [String; LANES],
    pub(super) counters: &'a Counters,
    pub(super) ack_timeout: Duration,
    pub(super) drain_timeout: Duration,
}

impl Session<'_> {
    /// Feeds the connection until it should end. `acked` turns true with the first acknowledgement.
    pub(super) async fn feed(
        &mut self,
        stop: &mut watch::Receiver<bool>,
        acked: &mut bool,
    ) -> Result<SessionEnd, SessionEnd> {
        loop {
            *acked |= self.settle_answers().await?;
            self.repairs.finish(self.spool, self.feeds);
            self.feeds.refill().await?;
            self.note_lag();
            if self.shared.has_ended() {
                return Ok(SessionEnd::Stopped);
            }
            if *stop.borrow() {
                return self.drain().await;
            }
            if !self.hand_over_one().await? {
                self.wait(stop).await?;
            }
        }
    }

    /// Settles what was answered. Returns whether anything was acknowledged.
    async fn settle_answers(&mut self) -> Result<bool, SpoolError> {
        let mut any_acked = false;
        for (flight, answer) in self.shared.take_answers() {
            any_acked |= answer == Answer::Acked;
            self.repairs.settle(self.spool, self.feeds, flight, answer).await?;
        }
        Ok(any_acked)
    }

    /// Hands the most urgent frame over; false when none may go now.
    async fn hand_over_one(&mut self) -> Result<bool, SessionEnd> {
        let next = {
            let state = self.shared.state();
            if state.is_connected { self.feeds.next(&state.window, Instant::now()) } else { None }
        };
        let Some((lane, item)) = next else { return Ok(false) };
        match item.frame(self.spool.epoch(), lane)? {
            None => self.repairs.report_gap(self.spool, lane, item),
            Some(frame) => {
                self.shared.state().window.hand_over(lane, item, Instant::now());
                let topic = self.topics[lane.get()].as_str();
                // The channel is as large as the window, so this does not wait.
                let handed = self.client.publish_bytes(topic, QoS::AtLeastOnce, false, frame).await;
                handed.map_err(|_| SessionEnd::Confused)?;
            }
        }
        Ok(true)
    }

    /// Waits for an answer, a record, the end of a hold, a stop, or the ack timeout, which is an error.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), SessionEnd> {
        let now = Instant::now();
        let oldest = self.shared.state().window.oldest_at();
        let ack_due = oldest.map(|at| at + self.ack_timeout);
        if ack_due.is_some_and(|due| due <= now) {
            return Err(SessionEnd::AckTimeout);
        }
        let wake_at = [ack_due, self.feeds.held_until(now), self.repairs.retry_at(now)];
        let wake_at = wake_at.into_iter().flatten().min();
        tokio::select! {
            () = self.shared.moved.notified() => {}
            changed = self.watches.changed() => changed?,
            _ = stop.changed() => {}
            () = sleep_until(wake_at) => {}
        }
        Ok(())
    }

    /// Waits for the answers to what is on its way, then takes leave.
    async fn drain(&mut self) -> Result<SessionEnd, SessionEnd> {
        let shared = self.shared;
        // What is unanswered in time stays in the spool and is sent again by the next start.
        let answered = shared.until(|state| state.window.is_empty());
        let _in_time = tokio::time::timeout(self.drain_timeout, answered).await;
        self.settle_answers().await?;
        let is_connected = shared.state().is_connected;
        if is_connected && self.client.disconnect().await.is_ok() {
            let _in_time = tokio::time::timeout(self.drain_timeout, shared.until(|_| false)).await;
        }
        Ok(SessionEnd::Stopped)
    }

    fn note_lag(&self) {
        let in_flight = self.shared.state().window.oldest_taken_at_us();
        let oldest = in_flight.into_iter().chain(self.feeds.oldest_taken_at_us()).min();
        self.counters.note_oldest(oldest);
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Names the frame for the refused log.
pub(super) fn refused_frame(spool: &Spool, lane: LaneIndex, item: &Item) -> Result<Vec<u8>, SpoolError> {
    Ok(item.frame(spool.epoch(), lane)?.map(|frame| frame.to_vec()).unwrap_or_default())
}
