//! The devices: some publish readings, some raise alarms, all reconnect by themselves.

use crate::payload::{Template, epoch_now};
use anyhow::ensure;
use hdrhistogram::Histogram;
use prost::Message;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Body, Clock, DeviceAlarm, Encoding, Frame, Lane, Priority};
use wardline_tests::mqtt_client::load::Client;
use wardline_tests::mqtt_client::{Connection, Session};

/// Each alarming device does something this often.
pub(crate) const ALARM_PERIOD: Duration = Duration::from_secs(2);
const PAYLOAD_BYTES: usize = 200;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(800);
const CONNECTED_WAIT: Duration = Duration::from_secs(60);
/// A device stays this far from the others with the same backoff.
const JITTER_STEPS: u32 = 31;

/// What all devices share.
pub(crate) struct Control {
    pub(crate) stop: AtomicBool,
    /// Microseconds between two publishes of one device.
    period_us: AtomicU32,
    /// Each rise costs every device its connection.
    losses: watch::Sender<usize>,
    surge_at_us: AtomicI64,
    measuring: AtomicBool,
    connected: AtomicUsize,
}

/// What one device or all of them did.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Time to acknowledgement before the surge.
    pub(super) steady_us: Histogram<u64>,
    /// The same in it.
    pub(super) surge_us: Histogram<u64>,
    /// Alarm steps that were acknowledged.
    pub(crate) alarms: u64,
    pub(super) connects: u64,
    /// Connects that were refused or failed.
    pub(super) failed: u64,
    /// From the loss of all sessions to the return of the last.
    pub(super) back_ms_max: u64,
}

/// One device.
pub(crate) struct Device {
    pub(crate) index: usize,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) control: Arc<Control>,
}

/// Returns the time now, unix microseconds.
pub(crate) fn now_us() -> i64 {
    i64::try_from(epoch_now()).unwrap_or(i64::MAX)
}

impl Control {
    pub(crate) fn new(per_second: u32, sessions: usize) -> Self {
        let period_us = 1_000_000 * sessions as u64 / u64::from(per_second.max(1));
        Self {
            stop: AtomicBool::new(false),
            period_us: AtomicU32::new(u32::try_from(period_us).unwrap_or(u32::MAX)),
            losses: watch::Sender::new(0),
            surge_at_us: AtomicI64::new(i64::MAX),
            measuring: AtomicBool::new(false),
            connected: AtomicUsize::new(0),
        }
    }

    /// Waits until every device has connected once.
    pub(crate) async fn connected(&self, devices: usize) -> anyhow::Result<()> {
        let until = Instant::now() + CONNECTED_WAIT;
        while self.connected.load(Ordering::Relaxed) < devices {
            ensure!(Instant::now() < until, "not every session is up in time");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Counts from here on.
    pub(crate) fn measure(&self) {
        self.measuring.store(true, Ordering::Relaxed);
    }

    /// Multiplies the load and cuts every connection.
    pub(super) fn surge(&self, factor: u32) {
        let period_us = self.period_us.load(Ordering::Relaxed);
        self.period_us.store(period_us / factor, Ordering::Relaxed);
        self.surge_at_us.store(now_us(), Ordering::Relaxed);
        self.losses.send_modify(|losses| *losses += 1);
    }

    pub(super) fn surge_at_us(&self) -> i64 {
        self.surge_at_us.load(Ordering::Relaxed)
    }

    fn period(&self) -> Duration {
        Duration::from_micros(self.period_us.load(Ordering::Relaxed).into())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Device {
    /// Publishes readings until told to stop.
    pub(super) async fn load(self) -> Tally {
        let mut tally = Tally::default();
        let Ok(mut template) = Template::new(PAYLOAD_BYTES, epoch_now() + self.index as u64) else {
            return tally;
        };
        let mut link = Link::new(&self.control);
        // Spread over the period, so that the load is even.
        tokio::time::sleep(self.control.period() * (self.index % 97) as u32 / 97).await;
        let mut due = Instant::now();
        while !self.control.stopped() {
            due = (due + self.control.period()).max(Instant::now() - self.control.period());
            link.rest_until(due, &self, &mut tally).await;
            let Some(connection) = link.open(&self, &mut tally).await else { continue };
            match connection.publish(&self.client.topic, 1, 1, |payload| template.next(payload)).await {
                Ok(latency_us) => tally.acknowledged(&self.control, &latency_us),
                Err(_lost) => link.lose(),
            }
        }
        tally
    }

    /// Raises and ends alarms in turn, each at its due time, until told to stop.
    pub(crate) async fn alarm(self, devices: usize) -> Tally {
        let mut tally = Tally::default();
        let mut link = Link::new(&self.control);
        let topic = self.client.topic.replace("/up/telemetry", "/up/alarm");
        let (epoch, mut seq) = (epoch_now() + self.index as u64, 0);
        link.open(&self, &mut tally).await;
        let mut due = Instant::now() + ALARM_PERIOD * (self.index % devices) as u32 / devices as u32;
        while !self.control.stopped() {
            due += ALARM_PERIOD;
            link.rest_until(due, &self, &mut tally).await;
            if !self.control.measuring.load(Ordering::Relaxed) {
                continue;
            }
            let at_us = now_us();
            seq += 1;
            let frame = step(epoch, seq, at_us);
            // What was not acknowledged is sent again: the frame has its number, and counts once.
            while !self.control.stopped() {
                let Some(connection) = link.open(&self, &mut tally).await else { continue };
                let sent =
                    connection.publish(&topic, 1, 1, |payload| payload.extend_from_slice(&frame)).await;
                match sent {
                    Ok(_latency) => {
                        tally.alarms += 1;
                        break;
                    }
                    Err(_lost) => link.lose(),
                }
            }
        }
        tally
    }
}

/// A connection that comes back.
struct Link {
    connection: Option<Connection>,
    losses: watch::Receiver<usize>,
    failures: u32,
}

impl Link {
    fn new(control: &Control) -> Self {
        Self { connection: None, losses: control.losses.subscribe(), failures: 0 }
    }

    /// Waits for `due`; when the connection is lost meanwhile, makes a new one at once.
    async fn rest_until(&mut self, due: Instant, device: &Device, tally: &mut Tally) {
        loop {
            let lost = tokio::select! {
                () = tokio::time::sleep_until(due.into()) => false,
                changed = self.losses.changed() => changed.is_ok(),
            };
            if !lost {
                return;
            }
            self.lose();
            while !device.control.stopped() && self.open(device, tally).await.is_none() {}
        }
    }

    /// Returns the open connection; makes one, or waits and returns none when that failed.
    async fn open(&mut self, device: &Device, tally: &mut Tally) -> Option<&mut Connection> {
        let lost_before = *self.losses.borrow() > 0;
        if self.connection.is_none() {
            let opened =
                Connection::connect(device.address, &device.client.tls, &device.client.id, Session::Clean)
                    .await;
            match opened {
                Ok(connection) => {
                    tally.connects += 1;
                    if lost_before && tally.back_ms_max == 0 {
                        let back_us = now_us() - device.control.surge_at_us();
                        tally.back_ms_max = u64::try_from(back_us / 1_000).unwrap_or(0);
                    } else if !lost_before {
                        device.control.connected.fetch_add(1, Ordering::Relaxed);
                    }
                    self.failures = 0;
                    self.connection = Some(connection);
                }
                Err(_refused) => {
                    tally.failed += 1;
                    self.failures += 1;
                    tokio::time::sleep(self.backoff(device.index)).await;
                }
            }
        }
        self.connection.as_mut()
    }

    fn lose(&mut self) {
        self.connection = None;
    }

    fn backoff(&self, index: usize) -> Duration {
        let step = index as u32 * 7 % JITTER_STEPS;
        let longest = (BACKOFF_FIRST * (1 << self.failures.min(4))).min(BACKOFF_MAX);
        longest / 2 + longest * step / (2 * JITTER_STEPS)
    }
}

impl Default for Tally {
    fn default() -> Self {
        let empty =
            || Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap_or_else(|_| unreachable!("constants"));
        Self { steady_us: empty(), surge_us: empty(), alarms: 0, connects: 0, failed: 0, back_ms_max: 0 }
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        // Equal bounds: nothing is out of range.
        let _ = self.steady_us.add(&other.steady_us);
        let _ = self.surge_us.add(&other.surge_us);
        self.alarms += other.alarms;
        self.connects += other.connects;
        self.failed += other.failed;
        self.back_ms_max = self.back_ms_max.max(other.back_ms_max);
    }

    fn acknowledged(&mut self, control: &Control, latencies_us: &[u32]) {
        if !control.measuring.load(Ordering::Relaxed) {
            return;
        }
        let surge = *control.losses.borrow() > 0;
        let histogram = if surge { &mut self.surge_us } else { &mut self.steady_us };
        for latency in latencies_us {
            histogram.saturating_record(u64::from(*latency).max(1));
        }
    }
}

/// Returns a frame that raises (odd `seq`) or ends (even) this device's condition.
fn step(epoch: u64, seq: u64, at_us: i64) -> Vec<u8> {
    let phase = if seq % 2 == 1 { AlarmPhase::Start } else { AlarmPhase::End };
    let alarm = DeviceAlarm {
        condition_id: "low-saturation".to_owned(),
        mdc_code: 196_670,
        source_mdc_code: 150_456,
        kind: AlarmKind::Physiological.into(),
        priority: Priority::High.into(),
        phase: phase.into(),
        at_us,
        ..DeviceAlarm::default()
    };
    let body = Body { alarms: vec![alarm], ..Body::default() };
    let frame = Frame {
        epoch,
        seq,
        sent_at_us: at_us,
        clock: Some(Clock::default()),
        encoding: Encoding::Identity.into(),
        lane: Lane::Alarm.into(),
        body: body.encode_to_vec().into(),
    };
    frame.encode_to_vec()
}
