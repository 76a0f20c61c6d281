//! The publisher: from the spool to the gateway over mutual TLS, deleted only on PUBACK.
//!
//! One connection after the other, each with a new MQTT client: what was unanswered on the last one is sent again
//! on the next, in order, alarms first. The gateway stores a repeated frame once.
//!
//! | answer | what happens |
//! |---|---|
//! | PUBACK success | the frame is settled and leaves the spool |
//! | PUBACK 0x99 payload | the frame goes to the refused log, an event tells of it, the lane goes on |
//! | PUBACK 0x87, 0x97, others | the frame stays, its lane waits with growing delays, other lanes go on |
//! | no PUBACK in time, DISCONNECT, lost | a new connection after a jittered delay, everything unanswered again |
//!
//! **Does not** subscribe, and keeps no queue of its own.

mod answer;
pub(crate) mod backoff;
pub(crate) mod feed;
mod progress;
mod repair;
mod session;
pub(crate) mod window;

pub use backoff::BackoffOptions;

use crate::clock::ClockOptions;
use crate::lanes::{LANES, LaneIndex};
use crate::spool::{LaneWatches, Spool, SpoolError};
use crate::stats::Counters;
use crate::tls::{self, TlsError};
use answer::gateway_wants_less;
use backoff::Backoff;
use feed::Feeds;
use repair::Repairs;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::v5::{AsyncClient, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use session::{Session, SessionEnd, Shared, drive};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wardline_proto::{DeviceKey, topic};
use window::Window;

/// A connection that carried an acknowledgement makes earlier failures forgotten; only one that also lasted so long
/// earns the fast first retry, or a gateway that answers and hangs up would be asked again in a tight loop.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// Largest packet that the gateway may send down.
const INCOMING_PACKET_BYTES_MAX: u32 = 16 * 1024;
/// Messages down that may be unanswered.
const INCOMING_RECEIVE_MAXIMUM: u16 = 8;

/// How to reach the gateway and how patient to be.
#[derive(Debug, Clone)]
pub(crate) struct PublishOptions {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) certs_dir: PathBuf,
    pub(crate) client_id: String,
    pub(crate) device: DeviceKey,
    pub(crate) in_flight_max: u16,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) backoff: BackoffOptions,
    pub(crate) clock: ClockOptions,
}

/// Sends what the spool holds until it is told to stop.
pub(crate) struct Publisher {
    options: PublishOptions,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    topics: [String; LANES],
    feeds: Feeds,
    repairs: Repairs,
    backoff: Backoff,
}

impl Publisher {
    pub(crate) fn new(
        options: PublishOptions,
        spool: Arc<Spool>,
        counters: Arc<Counters>,
    ) -> Result<Self, SpoolError> {
        let topics =
            LaneIndex::ALL.map(|lane| topic::up(&options.device, lane.channel()).unwrap_or_default());
        Ok(Self {
            feeds: Feeds::open(Arc::clone(&spool), options.backoff)?,
            repairs: Repairs::new(options.clock, Arc::clone(&counters)),
            backoff: Backoff::new(options.backoff),
            options,
            spool,
            counters,
            topics,
        })
    }

    /// Runs until `stop` turns true. An error is a failed spool.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), SpoolError> {
        while !*stop.borrow() {
            self.feeds.refill().await?;
            self.counters.note_oldest(self.feeds.oldest_taken_at_us());
            match self.connect() {
                Ok((client, eventloop, window)) => {
                    let end = self.serve(client, eventloop, window, &mut stop).await;
                    self.counters.connected.store(false, Ordering::Relaxed);
                    match end {
                        SessionEnd::Stopped => return Ok(()),
                        SessionEnd::Spool(error) => return Err(error),
                        end => self.note_end(&end),
                    }
                }
                Err(error) => tracing::error!(%error, "the certificates cannot be used"),
            }
            let delay = self.backoff.next_delay();
            tracing::debug!(delay_ms = delay.as_millis() as u64, "waiting before the next connection");
            let _stopped = tokio::time::timeout(delay, stop.wait_for(|stop| *stop)).await;
        }
        Ok(())
    }

    /// Makes a client for one connection. The certificates are read anew: they may have been renewed.
    fn connect(&self) -> Result<(AsyncClient, EventLoop, Window), TlsError> {
        let options = &self.options;
        let credentials = tls::load(&options.certs_dir)?;
        if credentials.device != options.device {
            return Err(TlsError::OtherDevice);
        }
        let window = Window::new(options.in_flight_max);
        let mut mqtt = MqttOptions::new(&options.client_id, &options.host, options.port);
        let mut properties = ConnectProperties::new();
        properties.max_packet_size = Some(INCOMING_PACKET_BYTES_MAX);
        properties.receive_maximum = Some(INCOMING_RECEIVE_MAXIMUM);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(options.connect_timeout.as_secs().max(1));
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(credentials.config)))
            .set_clean_start(true)
            .set_keep_alive(options.keep_alive)
            .set_connect_properties(properties)
            .set_network_options(network)
            .set_connection_timeout(options.connect_timeout.as_secs().max(1));
        mqtt.set_outgoing_inflight_upper_limit(window.ring());
        let (client, eventloop) = AsyncClient::new(mqtt, usize::from(window.ring()) + 1);
        Ok((client, eventloop, window))
    }

    async fn serve(
        &mut self,
        client: AsyncClient,
        eventloop: EventLoop,
        window: Window,
        stop: &mut watch::Receiver<bool>,
    ) -> SessionEnd {
        let started = Instant::now();
        let shared = Shared::new(window, Arc::clone(&self.counters));
        let mut acked = false;
        let mut session = Session {
            client,
            shared: &shared,
            spool: &self.spool,
            feeds: &mut self.feeds,
            repairs: &mut self.repairs,
            watches: LaneWatches::of(&self.spool),
            topics: &self.topics,
            counters: &self.counters,
            ack_timeout: self.options.ack_timeout,
            drain_timeout: self.options.drain_timeout,
        };
        let mut end = run_halves(&mut session, eventloop, &shared, stop, &mut acked).await;
        for (flight, answer) in shared.take_answers() {
            if let Err(error) = self.repairs.settle(&self.spool, &mut self.feeds, flight, answer).await {
                end = SessionEnd::Spool(error);
            }
        }
        self.feeds.give_back(shared.take_unanswered());
        if acked {
            self.backoff.reset();
            if started.elapsed() < STABLE_AFTER {
                self.backoff.slow_down();
            }
        }
        end
    }

    fn note_end(&mut self, end: &SessionEnd) {
        match end {
            SessionEnd::Lost(error) => {
                if gateway_wants_less(error) {
                    self.backoff.slow_down();
                }
                tracing::warn!(%error, "the connection to the gateway ended");
            }
            SessionEnd::AckTimeout => tracing::warn!("an acknowledgement stayed away; connecting anew"),
            SessionEnd::Confused => {
                tracing::warn!("the gateway answered what was not asked; connecting anew")
            }
            SessionEnd::Stopped | SessionEnd::Spool(_) => {}
        }
    }
}

/// Runs both halves until one ends. The feeding half reads logs on other threads, so it is not dropped midway: when
/// the connection ends first, it is told and comes to rest by itself.
async fn run_halves(
    session: &mut Session<'_>,
    eventloop: EventLoop,
    shared: &Shared,
    stop: &mut watch::Receiver<bool>,
    acked: &mut bool,
) -> SessionEnd {
    let feed = session.feed(stop, acked);
    tokio::pin!(feed);
    let drive = drive(eventloop, shared);
    tokio::pin!(drive);
    tokio::select! {
        biased;
        end = &mut drive => {
            shared.end();
            // Whatever the feeding half says now, the connection's own end is the reason, unless the spool failed.
            match feed.await {
                Err(SessionEnd::Spool(error)) => SessionEnd::Spool(error),
                _ => end,
            }
        }
        end = &mut feed => end.unwrap_or_else(|end| end),
    }
}
