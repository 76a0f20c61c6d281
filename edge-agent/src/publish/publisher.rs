//! The publisher itself: connection after connection, and what each end of one means for the next.

use super::answer::gateway_wants_less;
use super::drive::Drive;
use super::feed::Feeds;
use super::fronts::{Again, Fronts, Redirect};
use super::repair::Repairs;
use super::resend::Resends;
use super::session::{Session, SessionEnd, Shared};
use super::window::Window;
use super::wire::{Dial, Wire, WireError};
use super::{Backoff, PublishOptions};
use crate::lanes::{LANES, LaneIndex};
use crate::notices::Notices;
use crate::onboard::{FrontAddr, Identity, Standing};
use crate::spool::{LaneWatches, Spool, SpoolError};
use crate::stats::Counters;
use crate::tls::{Credentials, TlsError};
use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::ConnAck;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use wardline_proto::topic;

/// A connection that carried an acknowledgement makes earlier failures forgotten; only one that also lasted so long
/// earns the fast first retry, or a gateway that answers and hangs up would be asked again in a tight loop.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// Sends what the spool holds until it is told to stop.
pub(crate) struct Publisher {
    options: PublishOptions,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    standing: Arc<Standing>,
    notices: Arc<Notices>,
    topics: [Bytes; LANES],
    notice_topic: String,
    command_topic: String,
    feeds: Feeds,
    repairs: Repairs,
    resends: Resends,
    backoff: Backoff,
    fronts: Fronts,
    front_lists: watch::Receiver<Vec<FrontAddr>>,
    staged: watch::Receiver<u64>,
}

/// What comes after an attempt.
enum Next {
    /// Call again at once.
    Call,
    /// Call again after a delay.
    Wait,
    /// The agent stops.
    Stop,
}

impl Publisher {
    pub(crate) fn new(
        options: PublishOptions,
        spool: Arc<Spool>,
        counters: Arc<Counters>,
        standing: Arc<Standing>,
        notices: Arc<Notices>,
    ) -> Result<Self, SpoolError> {
        let device = &options.device;
        let topics = LaneIndex::ALL.map(|lane| topic::up(device, lane.channel()).unwrap_or_default().into());
        let mut front_lists = standing.fronts();
        let list = front_lists.borrow_and_update().clone();
        Ok(Self {
            notice_topic: topic::down(device, "notice"),
            command_topic: topic::down(device, "command"),
            feeds: Feeds::open(Arc::clone(&spool), options.backoff)?,
            repairs: Repairs::new(options.clock, Arc::clone(&counters), Arc::clone(&notices)),
            resends: Resends::new(
                options.clock,
                Arc::clone(&spool),
                Arc::clone(&counters),
                Arc::clone(&notices),
            ),
            backoff: Backoff::new(options.backoff),
            fronts: Fronts::new(list, options.return_after),
            staged: standing.staged(),
            front_lists,
            options,
            spool,
            counters,
            standing,
            notices,
            topics,
        })
    }

    /// Runs until `stop` turns true. An error is a failed spool.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), SpoolError> {
        while !*stop.borrow() {
            self.feeds.refill().await?;
            self.counters.note_oldest(self.feeds.oldest_taken_at_us());
            if self.front_lists.has_changed().unwrap_or(false) {
                self.fronts.set_list(self.front_lists.borrow_and_update().clone());
            }
            self.staged.mark_unchanged();
            let next = self.attempt(&mut stop).await;
            self.counters.connected.store(false, Ordering::Relaxed);
            match next? {
                Next::Stop => return Ok(()),
                Next::Call => continue,
                Next::Wait => {}
            }
            let delay = self.backoff.next_delay();
            tracing::debug!(delay_ms = delay.as_millis() as u64, "waiting before the next connection");
            let _stopped = tokio::time::timeout(delay, stop.wait_for(|stop| *stop)).await;
        }
        Ok(())
    }

    /// Connects once and serves the connection. The certificates are read anew: they may have been renewed.
    async fn attempt(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Next, SpoolError> {
        let has_next = self.options.folder.has_next();
        let identity = if has_next { Identity::Next } else { Identity::Current };
        let credentials = match self.credentials(identity) {
            Ok(credentials) => credentials,
            Err(error) => return Ok(self.unusable(identity, &error)),
        };
        let Some(front) = self.fronts.current().cloned() else {
            tracing::error!("no front is known");
            return Ok(Next::Wait);
        };
        let dial = Dial {
            front: &front,
            config: Arc::clone(&credentials.config),
            client_id: &self.options.client_id,
            keep_alive: self.options.keep_alive,
            timeout: self.options.connect_timeout,
        };
        let dialled = tokio::select! {
            dialled = Wire::dial(dial) => dialled,
            _ = stop.wait_for(|stop| *stop) => return Ok(Next::Stop),
        };
        match dialled {
            Ok((wire, connack)) => {
                self.connected(identity, &credentials, &front);
                let end = self.serve(wire, &connack, stop).await;
                self.after(end)
            }
            Err(error) => Ok(self.not_connected(identity, &error)),
        }
    }

    fn credentials(&self, identity: Identity) -> Result<Credentials, TlsError> {
        let credentials = self.options.folder.credentials(identity)?;
        if credentials.device == self.options.device { Ok(credentials) } else { Err(TlsError::OtherDevice) }
    }

    fn unusable(&mut self, identity: Identity, error: &TlsError) -> Next {
        if identity == Identity::Next {
            self.disprove(&error.to_string());
            return Next::Call;
        }
        tracing::error!(%error, "the certificates cannot be used");
        Next::Wait
    }

    /// Gives up a new identity; the old one is still in force.
    fn disprove(&self, why: &str) {
        tracing::error!(why, "the renewed certificate does not connect; going on with the one in force");
        self.options.folder.discard_next();
        self.standing.disproven(&format!("the renewed certificate does not connect: {why}"));
    }

    fn connected(&mut self, identity: Identity, credentials: &Credentials, front: &FrontAddr) {
        self.counters.connected.store(true, Ordering::Relaxed);
        self.counters.connects.add(1);
        self.fronts.connected(Instant::now());
        self.standing.set_front(front.to_string());
        tracing::info!(%front, "connected to the gateway");
        if identity == Identity::Current {
            self.standing.in_force(&credentials.leaf);
            return;
        }
        match self.options.folder.promote() {
            Ok(()) => {
                self.standing.proven(&credentials.leaf);
                tracing::info!(serial = credentials.leaf.serial(), "the renewed certificate is in force");
            }
            // It stays where it is and is tried again with the next connection.
            Err(error) => {
                tracing::error!(%error, "the renewed certificate was not taken over");
                self.standing.failed(&error.to_string());
            }
        }
    }

    fn not_connected(&mut self, identity: Identity, error: &WireError) -> Next {
        if identity == Identity::Next && error.blames_identity() {
            self.disprove(&error.to_string());
            return Next::Call;
        }
        tracing::warn!(%error, "not connected");
        if gateway_wants_less(error) {
            self.backoff.slow_down();
        }
        match error.redirect() {
            Some(redirect) => self.redirected(redirect),
            None => self.next_front(),
        }
    }

    fn next_front(&mut self) -> Next {
        match self.fronts.failed() {
            Again::Now => Next::Call,
            Again::Later => {
                self.standing.need_list();
                Next::Wait
            }
        }
    }

    fn redirected(&mut self, redirect: &Redirect) -> Next {
        if redirect.is_for_good {
            self.standing.need_list();
        }
        match self.fronts.follow(redirect) {
            Ok(Again::Now) => {
                tracing::info!(
                    front = self.fronts.current().map(tracing::field::display),
                    "sent to another front"
                );
                Next::Call
            }
            Ok(Again::Later) => Next::Wait,
            Err(error) => {
                tracing::error!(%error, "redirects are no longer followed");
                self.notices.keep(error.to_string().as_bytes());
                self.backoff.slow_down();
                Next::Wait
            }
        }
    }

    fn after(&mut self, end: SessionEnd) -> Result<Next, SpoolError> {
        match end {
            SessionEnd::Stopped => return Ok(Next::Stop),
            SessionEnd::Spool(error) => return Err(error),
            SessionEnd::Renewed | SessionEnd::Left => return Ok(Next::Call),
            SessionEnd::Return => {
                self.fronts.go_back();
                return Ok(Next::Call);
            }
            SessionEnd::Lost(error) => {
                tracing::warn!(%error, "the connection to the gateway ended");
                if gateway_wants_less(&error) {
                    self.backoff.slow_down();
                }
                if let Some(redirect) = error.redirect() {
                    return Ok(self.redirected(redirect));
                }
            }
            SessionEnd::AckTimeout => tracing::warn!("an acknowledgement stayed away; connecting anew"),
            SessionEnd::Confused => {
                tracing::warn!("the gateway answered what was not asked; connecting anew");
            }
        }
        Ok(Next::Wait)
    }

    async fn serve(&mut self, wire: Wire, connack: &ConnAck, stop: &mut watch::Receiver<bool>) -> SessionEnd {
        let started = Instant::now();
        let properties = connack.properties.as_ref();
        let mut window = Window::new(self.options.in_flight_max);
        if let Some(maximum) = properties.and_then(|properties| properties.receive_max) {
            window.limit(maximum);
        }
        let server_keep_alive = properties.and_then(|properties| properties.server_keep_alive);
        let server_keep_alive =
            server_keep_alive.map(|seconds| Duration::from_secs(u64::from(seconds.max(1))));
        let (requests, requested) = mpsc::channel(window.capacity() + 1);
        let shared = Shared::new(window);
        let drive = Drive {
            wire,
            requests: requested,
            shared: &shared,
            counters: &self.counters,
            notices: &self.notices,
            notice_topic: &self.notice_topic,
            command_topic: &self.command_topic,
            keep_alive: server_keep_alive.unwrap_or(self.options.keep_alive).min(self.options.keep_alive),
        };
        let mut acked = false;
        let mut session = Session {
            requests,
            shared: &shared,
            spool: &self.spool,
            feeds: &mut self.feeds,
            repairs: &mut self.repairs,
            resends: &mut self.resends,
            watches: LaneWatches::of(&self.spool),
            topics: &self.topics,
            counters: &self.counters,
            ack_timeout: self.options.ack_timeout,
            drain_timeout: self.options.drain_timeout,
            staged: self.staged.clone(),
            return_due: self.fronts.return_due(),
            is_renewed: false,
        };
        let mut end = run_halves(&mut session, drive, &shared, stop, &mut acked).await;
        for (flight, answer) in shared.take_answers() {
            if flight.is_again {
                self.resends.settle(flight, answer, Instant::now());
            } else if let Err(error) = self.repairs.settle(&self.spool, &mut self.feeds, flight, answer).await
            {
                end = SessionEnd::Spool(error);
            }
        }
        let (again, first) = shared.take_unanswered().into_iter().partition(|flight| flight.is_again);
        self.feeds.give_back(first);
        self.resends.give_back(again);
        let is_stable = started.elapsed() >= STABLE_AFTER;
        if is_stable {
            self.fronts.settled();
        }
        if acked {
            self.backoff.reset();
            if !is_stable {
                self.backoff.slow_down();
            }
        }
        end
    }
}

/// Runs both halves until one ends. The feeding half reads logs on other threads, so it is not dropped midway: when
/// the connection ends first, it is told and comes to rest by itself.
async fn run_halves(
    session: &mut Session<'_>,
    drive: Drive<'_>,
    shared: &Shared,
    stop: &mut watch::Receiver<bool>,
    acked: &mut bool,
) -> SessionEnd {
    let feed = session.feed(stop, acked);
    tokio::pin!(feed);
    let drive = drive.run();
    tokio::pin!(drive);
    tokio::select! {
        biased;
        end = &mut drive => {
            shared.end();
            match (feed.await, end) {
                (Err(SessionEnd::Spool(error)), _) => SessionEnd::Spool(error),
                (Ok(reason), SessionEnd::Left) => reason,
                // Whatever the feeding half says now, the connection's own end is the reason.
                (_, end) => end,
            }
        }
        end = &mut feed => end.unwrap_or_else(|end| end),
    }
}
