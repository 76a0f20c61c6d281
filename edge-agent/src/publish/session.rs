//! One connection to the gateway: hands frames over, matches answers to them.
//!
//! Two halves run side by side: [`drive`](super::drive::drive) reads and writes packets and never waits for the
//! spool; [`Session::feed`] decides what goes next and settles what was answered. They meet in [`Shared`]. Both live
//! as long as the connection: the spool is the only queue.

use super::answer::Answer;
use super::drive::Request;
use super::feed::{Feeds, Item};
use super::repair::Repairs;
use super::resend::{RESENDS_MAX, Resends};
use super::window::{Flight, Window};
use super::wire::WireError;
use crate::lanes::{LANES, LaneIndex};
use crate::spool::{LaneWatches, Spool, SpoolError};
use crate::stats::Counters;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::PubAck;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use wardline_proto::v1::Resend;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The agent stops.
    Stopped,
    /// We took leave; whoever asked for it says why.
    Left,
    /// There is a new identity to connect with.
    Renewed,
    /// It is time to try the first front again.
    Return,
    /// The connection failed or was ended by the gateway.
    Lost(WireError),
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
}

struct State {
    window: Window,
    has_ended: bool,
    /// Answered and not yet settled; no more than a window of them.
    answers: Vec<(Flight, Answer)>,
    /// Asked for and not yet looked at, at most [`RESENDS_MAX`].
    asked: Vec<Resend>,
}

impl Shared {
    pub(super) fn new(window: Window) -> Self {
        let state = State { window, has_ended: false, answers: Vec::new(), asked: Vec::new() };
        Self { state: Mutex::new(state), moved: Notify::new() }
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

    /// Takes an answer; an error ends the connection: nothing that follows could be trusted.
    pub(super) fn answered(&self, puback: &PubAck) -> Result<(), SessionEnd> {
        let mut state = self.state();
        let flight = state.window.answered(puback.pkid).ok_or(SessionEnd::Confused)?;
        state.answers.push((flight, Answer::of(puback.reason)));
        drop(state);
        self.moved.notify_one();
        Ok(())
    }

    /// Passes a request on to the feeding half; false when too many wait.
    pub(super) fn ask(&self, asked: Resend) -> bool {
        let mut state = self.state();
        let has_room = state.asked.len() < RESENDS_MAX;
        if has_room {
            state.asked.push(asked);
        }
        drop(state);
        self.moved.notify_one();
        has_room
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

/// The half that reads the spool.
pub(super) struct Session<'a> {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) shared: &'a Shared,
    pub(super) spool: &'a Arc<Spool>,
    pub(super) feeds: &'a mut Feeds,
    pub(super) repairs: &'a mut Repairs,
    pub(super) resends: &'a mut Resends,
    pub(super) watches: LaneWatches,
    pub(super) topics: &'a [Bytes; LANES],
    pub(super) counters: &'a Counters,
    pub(super) ack_timeout: Duration,
    pub(super) drain_timeout: Duration,
    /// Counts identities that a renewal brought.
    pub(super) staged: watch::Receiver<u64>,
    /// When to try the first front again.
    pub(super) return_due: Option<Instant>,
    pub(super) is_renewed: bool,
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
            let asked = std::mem::take(&mut self.shared.state().asked);
            asked.into_iter().for_each(|asked| self.resends.take(asked));
            self.resends.finish();
            self.feeds.refill().await?;
            self.note_lag();
            if self.shared.has_ended() {
                return Ok(SessionEnd::Stopped);
            }
            if let Some(reason) = self.reason_to_leave(stop) {
                return self.drain(reason).await;
            }
            if !self.hand_over_one().await? && !self.send_again_one().await? {
                self.wait(stop).await?;
            }
        }
    }

    fn reason_to_leave(&self, stop: &watch::Receiver<bool>) -> Option<SessionEnd> {
        if *stop.borrow() {
            Some(SessionEnd::Stopped)
        } else if self.is_renewed || self.staged.has_changed().unwrap_or(false) {
            Some(SessionEnd::Renewed)
        } else if self.return_due.is_some_and(|due| due <= Instant::now()) {
            Some(SessionEnd::Return)
        } else {
            None
        }
    }

    /// Settles what was answered. Returns whether anything was acknowledged.
    async fn settle_answers(&mut self) -> Result<bool, SpoolError> {
        let mut any_acked = false;
        for (flight, answer) in self.shared.take_answers() {
            any_acked |= answer == Answer::Acked;
            if flight.is_again {
                self.resends.settle(flight, answer, Instant::now());
            } else {
                self.repairs.settle(self.spool, self.feeds, flight, answer).await?;
            }
        }
        Ok(any_acked)
    }

    /// Hands the most urgent frame over; false when none may go now.
    async fn hand_over_one(&mut self) -> Result<bool, SessionEnd> {
        let next = self.feeds.next(&self.shared.state().window, Instant::now());
        let Some((lane, item)) = next else { return Ok(false) };
        match item.frame(self.spool.epoch(), lane)? {
            None => self.repairs.report_gap(self.spool, lane, item),
            Some(frame) => {
                let packet_id = self.shared.state().window.hand_over(lane, item, Instant::now());
                let topic = self.topics[lane.get()].clone();
                let request = Request::Publish { packet_id, lane, topic, payload: frame };
                // The channel is as large as the window, so this does not wait.
                self.requests.send(request).await.map_err(|_| SessionEnd::Confused)?;
            }
        }
        Ok(true)
    }

    /// Hands a frame over that the gateway asked for; false when none may go now. Called when nothing else may: what
    /// was never sent goes first.
    async fn send_again_one(&mut self) -> Result<bool, SessionEnd> {
        let now = Instant::now();
        // The gateway has asked for less.
        if self.feeds.held_until(now).is_some() || !self.shared.state().window.has_room_again() {
            return Ok(false);
        }
        let has_read = self.resends.fill().await?;
        let Some((lane, item)) = self.resends.next(now) else { return Ok(has_read) };
        let Some(frame) = item.frame(self.spool.epoch(), lane)? else { return Ok(true) };
        let packet_id = self.shared.state().window.hand_over_again(lane, item, now);
        let topic = self.topics[lane.get()].clone();
        let request = Request::Publish { packet_id, lane, topic, payload: frame };
        self.requests.send(request).await.map_err(|_| SessionEnd::Confused)?;
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
        let wake_at = [
            ack_due,
            self.feeds.held_until(now),
            self.repairs.retry_at(now),
            self.resends.wake_at(now),
            self.return_due,
        ];
        let wake_at = wake_at.into_iter().flatten().min();
        tokio::select! {
            () = self.shared.moved.notified() => {}
            changed = self.watches.changed() => changed?,
            _ = stop.changed() => {}
            // `changed` marks it as seen: `is_renewed` remembers it.
            changed = self.staged.changed() => self.is_renewed |= changed.is_ok(),
            () = sleep_until(wake_at) => {}
        }
        Ok(())
    }

    /// Waits for the answers to what is on its way, then takes leave.
    async fn drain(&mut self, reason: SessionEnd) -> Result<SessionEnd, SessionEnd> {
        let shared = self.shared;
        // What is unanswered in time stays in the spool and is sent again.
        let answered = shared.until(|state| state.window.is_empty());
        let _in_time = tokio::time::timeout(self.drain_timeout, answered).await;
        self.settle_answers().await?;
        if self.requests.send(Request::Leave).await.is_ok() {
            let _in_time = tokio::time::timeout(self.drain_timeout, shared.until(|_| false)).await;
        }
        Ok(reason)
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
