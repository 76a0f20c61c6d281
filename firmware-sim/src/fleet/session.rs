//! One device of a fleet: MQTT, QoS 1, over mTLS; a new connection after every loss, nothing lost between. A front that
//! sends it elsewhere is followed, so many times in a row; where that ends in nothing, it begins with the first again.

use super::certs::Credentials;
use super::frames::Frames;
use super::front::Front;
use super::ledger::Ledger;
use super::pace::Pace;
use super::report::{FleetStats, Latency};
use super::window::Window;
use super::wire::{Heard, Mqtt, Up, WireError};
use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wardline_proto::DeviceKey;
use wardline_proto::topic;
use wardline_proto::v1::{Lane, UpChannel};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const KEEP_ALIVE_S: u16 = 30;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How often a device that drains looks whether its time is up, and one that waits whether it is to stop.
const DRAIN_POLL: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 1024;
/// Fronts that a device is sent on to one after the other.
const HOPS_MAX: u8 = 5;
/// A session that wrote nothing for so long sends a PINGREQ.
const PING_AFTER: Duration = Duration::from_secs(KEEP_ALIVE_S as u64 / 2);

/// What all devices of a fleet share.
pub(super) struct Fleet {
    pub(super) front: Front,
    pub(super) mqtt: Mqtt,
    pub(super) begun: Instant,
    pub(super) drain: Duration,
    pub(super) stats: Arc<FleetStats>,
    pub(super) ledger: Option<Ledger>,
    /// How often all connections were cut so far.
    pub(super) cuts: watch::Receiver<u64>,
    pub(super) shutdown: watch::Receiver<bool>,
}

/// One device.
pub(super) struct Device {
    key: DeviceKey,
    tls: TlsConnector,
    pace: Pace,
    frames: Frames,
    window: Window<Instant>,
    telemetry: Up,
    alarm: Up,
    over_since: Option<Instant>,
    /// Where it was sent on to.
    elsewhere: Option<Front>,
    /// How often in a row.
    hops: u8,
}

/// What a device is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Making frames.
    Running,
    /// Waiting for the last acknowledgements.
    Draining,
    /// Finished, or out of time.
    Done,
}

/// Why a session ended before its device was done.
#[derive(Debug)]
enum SessionEnd {
    /// Refused or lost, by reason.
    Refused(String),
    /// Cut by the shape.
    Cut,
    /// To be gone on with elsewhere; at the first where nobody says.
    SentOn(Option<String>),
    /// The ledger cannot be written: the run is worth nothing.
    Ledger(io::Error),
}

impl From<io::Error> for SessionEnd {
    fn from(error: io::Error) -> Self {
        // A closed list of words: TLS alerts by name, all else by kind.
        let tls = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        Self::Refused(tls.map_or_else(|| error.kind().to_string(), |e| format!("tls: {e}")))
    }
}

impl From<WireError> for SessionEnd {
    fn from(error: WireError) -> Self {
        Self::Refused(format!("mqtt: {error}"))
    }
}

/// Runs one device until its schedule is over and all is acknowledged, or its drain time is up.
pub(super) async fn run(mut device: Device, fleet: Arc<Fleet>) -> io::Result<()> {
    let mut shutdown = fleet.shutdown.clone();
    tokio::select! {
        () = sleep_until(fleet.begun + device.pace.joins_at()) => {}
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    device.pace.next_due = device.pace.joins_at();
    let mut jitter = StdRng::seed_from_u64(device.pace.index as u64);
    let (mut sessions, mut backoff) = (0_u64, BACKOFF_FIRST);
    while device.phase(&fleet) != Phase::Done {
        let end = match device.connect(&fleet).await {
            Ok(stream) => {
                fleet.stats.connects.add(1);
                fleet.stats.reconnects.add(u64::from(sessions > 0));
                (sessions, backoff) = (sessions + 1, BACKOFF_FIRST);
                fleet.stats.connected.fetch_add(1, Ordering::Relaxed);
                let end = device.publish(stream, &fleet).await;
                fleet.stats.connected.fetch_sub(1, Ordering::Relaxed);
                end
            }
            Err(end) => Err(end),
        };
        match end {
            Ok(()) => break,
            Err(SessionEnd::Ledger(error)) => return Err(error),
            Err(SessionEnd::Cut) => {}
            Err(SessionEnd::SentOn(to)) => {
                if device.follow(to.as_deref(), &fleet) {
                    continue;
                }
            }
            Err(SessionEnd::Refused(reason)) => {
                device.elsewhere = None;
                fleet.stats.refuse(&reason);
            }
        }
        sleep(backoff.mul_f64(jitter.random_range(0.1..1.0))).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    Ok(())
}

impl Device {
    /// Makes a device. `None` only for a channel that has no topic.
    pub(super) fn new(
        credentials: Credentials,
        pace: Pace,
        frames: Frames,
        (mqtt, inflight_max): (Mqtt, u16),
    ) -> Option<Self> {
        let publish = |channel| Some(mqtt.up(topic::up(&credentials.key, channel)?));
        let (telemetry, alarm) = (publish(UpChannel::Telemetry)?, publish(UpChannel::Alarm)?);
        Some(Self {
            key: credentials.key,
            tls: TlsConnector::from(credentials.tls),
            pace,
            frames,
            window: Window::new(inflight_max),
            telemetry,
            alarm,
            over_since: None,
            elsewhere: None,
            hops: 0,
        })
    }

    fn phase(&mut self, fleet: &Fleet) -> Phase {
        if !*fleet.shutdown.borrow() && !self.pace.is_over(fleet.begun.elapsed()) {
            return Phase::Running;
        }
        let since = *self.over_since.get_or_insert_with(Instant::now);
        let done = self.window.is_empty() || since.elapsed() >= fleet.drain;
        if done { Phase::Done } else { Phase::Draining }
    }

    /// Connects TCP, TLS and MQTT.
    async fn connect(&self, fleet: &Fleet) -> Result<TlsStream<TcpStream>, SessionEnd> {
        let begun = Instant::now();
        let connected = async {
            let front = self.elsewhere.as_ref().unwrap_or(&fleet.front);
            let tcp = TcpStream::connect(&front.address).await?;
            tcp.set_nodelay(true)?;
            let mut stream = self.tls.connect(front.name.clone(), tcp).await?;
            let mut bytes = BytesMut::new();
            fleet.mqtt.connect(self.key.device.as_str(), &mut bytes)?;
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            bytes.clear();
            match read_packet(fleet.mqtt, &mut stream, &mut bytes).await? {
                Heard::Accepted => Ok(stream),
                Heard::Refused(reason) => Err(SessionEnd::Refused(reason)),
                Heard::SentOn(to) => Err(SessionEnd::SentOn(to)),
                Heard::Acknowledged(_) | Heard::Other => {
                    Err(SessionEnd::Refused("mqtt: no CONNACK".to_owned()))
                }
            }
        };
        let late = |_| SessionEnd::Refused("connect timed out".to_owned());
        let stream = timeout(CONNECT_TIMEOUT, connected).await.map_err(late)??;
        fleet.stats.record(Latency::Connect, begun.elapsed());
        Ok(stream)
    }

    /// Publishes on a session until the device is done or the session is lost.
    async fn publish(&mut self, mut stream: TlsStream<TcpStream>, fleet: &Fleet) -> Result<(), SessionEnd> {
        let (mut cuts, mut shutdown) = (fleet.cuts.clone(), fleet.shutdown.clone());
        let (mut input, mut out) = (BytesMut::with_capacity(READ_BYTES), BytesMut::new());
        let mut written_at = Instant::now();
        cuts.mark_unchanged();
        self.window.restart();
        loop {
            let phase = self.phase(fleet);
            match phase {
                Phase::Done => fleet.mqtt.leave(&mut out)?,
                _ if written_at.elapsed() >= PING_AFTER => fleet.mqtt.ping(&mut out)?,
                _ => {}
            }
            self.fill(phase, fleet, &mut out)?;
            if !out.is_empty() {
                let write = async {
                    stream.write_all(&out).await?;
                    stream.flush().await
                };
                timeout(WRITE_TIMEOUT, write).await.map_err(io::Error::from)??;
                out.clear();
                written_at = Instant::now();
            }
            if phase == Phase::Done {
                return Ok(());
            }
            let wake_at = self.wakes_at(phase, fleet).min(written_at + PING_AFTER);
            tokio::select! {
                read = stream.read_buf(&mut input) => match read? {
                    0 => return Err(SessionEnd::Refused("closed by the gateway".to_owned())),
                    _ => self.take_acks(&mut input, fleet)?,
                },
                () = sleep_until(wake_at) => {}
                _ = cuts.changed() => return Err(SessionEnd::Cut),
                _ = shutdown.wait_for(|stop| *stop), if phase == Phase::Running => {}
            }
        }
    }

    fn wakes_at(&self, phase: Phase, fleet: &Fleet) -> Instant {
        match phase {
            Phase::Running if self.window.has_room() => fleet.begun + self.pace.next_due,
            // An acknowledgement comes first; the end of the run is seen at the latest then.
            Phase::Running => Instant::now() + PING_AFTER,
            Phase::Draining | Phase::Done => Instant::now() + DRAIN_POLL,
        }
    }

    /// Encodes what is to be sent again, then what is due, as far as the window has room.
    fn fill(&mut self, phase: Phase, fleet: &Fleet, out: &mut BytesMut) -> Result<(), SessionEnd> {
        let now = Instant::now();
        if phase == Phase::Done {
            return Ok(());
        }
        while let Some((packet_id, held)) = self.window.next_again(now) {
            let (lane, payload) = (held.frame.header.lane, held.frame.payload.clone());
            self.encode(packet_id, lane, payload, out)?;
            fleet.stats.resent.add(1);
        }
        while phase == Phase::Running && self.window.has_room() {
            let Some((due, demand)) = self.pace.take(now - fleet.begun) else { break };
            let now_us = UNIX_EPOCH.elapsed().map_or(0, |d| d.as_micros() as i64);
            let frame = match demand.alarms && self.pace.left.is_multiple_of(2) {
                true => self.frames.alarm(now_us),
                false => self.frames.numerics(now_us),
            };
            let (lane, payload) = (frame.header.lane, frame.payload.clone());
            if let Some(packet_id) = self.window.insert(frame, fleet.begun + due, now) {
                self.encode(packet_id, lane, payload, out)?;
                fleet.stats.sent.add(1);
            }
        }
        Ok(())
    }

    fn encode(
        &mut self,
        packet_id: u16,
        lane: Lane,
        payload: Bytes,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        let publish = if lane == Lane::Alarm { &mut self.alarm } else { &mut self.telemetry };
        publish.write(packet_id, payload, out)
    }

    /// Takes every whole packet of `input`.
    fn take_acks(&mut self, input: &mut BytesMut, fleet: &Fleet) -> Result<(), SessionEnd> {
        let now = Instant::now();
        let mut acked = Vec::new();
        let mut ended = Ok(());
        while let Some(heard) = fleet.mqtt.next(input)? {
            ended = match heard {
                Heard::Acknowledged(id) => {
                    match self.window.acknowledge(id) {
                        Some(frame) => acked.push(frame),
                        None => fleet.stats.refuse("mqtt: PUBACK of nothing in flight"),
                    }
                    continue;
                }
                Heard::Accepted | Heard::Other => continue,
                Heard::Refused(reason) => Err(SessionEnd::Refused(reason)),
                Heard::SentOn(to) => Err(SessionEnd::SentOn(to)),
            };
            break;
        }
        if !acked.is_empty() {
            self.hops = 0;
        }
        if let Some(ledger) = &fleet.ledger {
            let headers: Vec<_> = acked.iter().map(|a| a.header).collect();
            ledger.acked(&self.key, &headers).map_err(SessionEnd::Ledger)?;
        }
        fleet.stats.acked.add(acked.len() as u64);
        for frame in acked {
            fleet.stats.record(Latency::Ack, now - frame.written);
            fleet.stats.record(Latency::Due, now - frame.due);
        }
        ended
    }

    /// Goes where a front sends it, at once; `false` after too many in a row, or when there is nowhere to go.
    fn follow(&mut self, to: Option<&str>, fleet: &Fleet) -> bool {
        self.elsewhere = to.and_then(Front::referred).filter(|_| self.hops < HOPS_MAX);
        self.hops = if self.elsewhere.is_some() { self.hops + 1 } else { 0 };
        match self.elsewhere {
            Some(_) => fleet.stats.sent_on.add(1),
            None => fleet.stats.refuse("sent on to nowhere"),
        }
        self.elsewhere.is_some()
    }
}

async fn read_packet(
    mqtt: Mqtt,
    stream: &mut TlsStream<TcpStream>,
    input: &mut BytesMut,
) -> Result<Heard, SessionEnd> {
    loop {
        if let Some(heard) = mqtt.next(input)? {
            return Ok(heard);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(SessionEnd::Refused("closed by the gateway".to_owned()));
        }
    }
}
