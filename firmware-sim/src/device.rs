//! One device: a source that measures, an outbox that keeps, a link that sends.
//!
//! ```text
//! source --at its time--> outbox --as fast as the agent acknowledges--> link
//! ```
//! A record, and anything played faster than life, waits when the outbox is full. A live synthetic monitor cannot
//! wait: it gives up its oldest waveforms and counts them.

use crate::faults::Faults;
use crate::link::{self, LinkAddr, LinkEnd};
use crate::outbox::{Dropped, Outbox, OutboxLimits, Overflow};
use crate::replay::{Replay, ReplayError};
use crate::source::{Source, SourceOptions};
use crate::stats::{BodySize, DeviceStats};
use crate::synth::{self, Synth};
use crate::wfdb::Record;
use rand::Rng;
use rand::rngs::StdRng;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wardline_proto::link::LinkError;
use wardline_proto::v1::{Body, DeviceEvent, LinkHello};

const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// How far back a source without end starts when it is played faster than life.
const DAY_US: i64 = 86_400_000_000;

/// How fast a source plays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// So many times its own speed.
    Times(f64),
    /// As fast as the agent acknowledges.
    Max,
}

/// What a device is and does.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// Where its agent listens.
    pub link: LinkAddr,
    /// Name of the device; with the seed it decides the synthetic patient.
    pub device: String,
    /// What it measures.
    pub source: SourceOptions,
    /// How fast.
    pub speed: Speed,
    /// Device time of the first sample, unix microseconds. `None`: now; faster than life, as long before now as is
    /// needed in order to end now, or a day when there is no end.
    pub start_us: Option<i64>,
    /// Stop measuring after so much of the source's time; `None` at its end.
    pub duration: Option<Duration>,
    /// What it does wrong.
    pub faults: Faults,
    /// Bounds of what it keeps.
    pub outbox: OutboxLimits,
    /// How long to wait for the last acknowledgements once shutdown is asked for.
    pub drain: Duration,
    /// Counters, shared with whoever watches.
    pub stats: Arc<DeviceStats>,
}

impl DeviceOptions {
    /// Returns a synthetic monitor called `device` on `link`, at the speed of life.
    pub fn new(link: LinkAddr, device: &str) -> Self {
        Self {
            link,
            device: device.to_owned(),
            source: SourceOptions::Synthetic(Default::default()),
            speed: Speed::Times(1.0),
            start_us: None,
            duration: None,
            faults: Faults::default(),
            outbox: OutboxLimits::default(),
            drain: Duration::from_secs(5),
            stats: Arc::default(),
        }
    }
}

/// What a device did, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceReport {
    /// Device time of the first sample, unix microseconds.
    pub start_us: i64,
    /// Bodies taken into the outbox.
    pub bodies: u64,
    /// Bodies acknowledged by the agent.
    pub acked: u64,
    /// Bodies given up by a full live outbox.
    pub dropped: Dropped,
    /// Whether everything that was not given up is acknowledged.
    pub complete: bool,
}

/// Says why a device could not run.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The record cannot be played.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A body does not fit a link message.
    #[error("a body does not fit the link")]
    Body(#[from] LinkError),
}

/// What the tasks of a device share.
pub(crate) struct Shared {
    outbox: Mutex<Outbox>,
    pub(crate) to_send: Notify,
    room: Notify,
    pub(crate) stats: Arc<DeviceStats>,
    pub(crate) faults: Faults,
    /// Decides on faults and jitter; seeded by the device's name.
    chance: Mutex<StdRng>,
}

/// Runs a device until its source ends and all is acknowledged, or `shutdown` turns true (or its sender is gone).
pub async fn run_device(
    options: DeviceOptions,
    mut shutdown: watch::Receiver<bool>,
) -> Result<DeviceReport, DeviceError> {
    let mut source = open(&options)?;
    let start_us = options.start_us.unwrap_or_else(|| default_start_us(&source, &options));
    source.start_at(start_us.saturating_add(options.faults.clock_skew_us));
    let shared = Shared {
        outbox: Mutex::new(Outbox::new(options.outbox)),
        to_send: Notify::new(),
        room: Notify::new(),
        stats: Arc::clone(&options.stats),
        faults: options.faults,
        chance: Mutex::new(synth::generator(0, &options.device)),
    };
    let work = async {
        measure(&mut source, &options, &shared).await;
        shared.drained().await;
    };
    let stop = async {
        let _ = shutdown.wait_for(|stop| *stop).await;
    };
    // One future through both selects: the connection outlives the moment in which shutdown is asked for.
    let linked = keep_linked(&options, &shared);
    tokio::pin!(linked);
    let outcome = tokio::select! {
        error = &mut linked => Err(error),
        () = work => Ok(()),
        () = stop => {
            tokio::select! {
                error = &mut linked => Err(error),
                () = shared.drained() => Ok(()),
                () = tokio::time::sleep(options.drain) => Ok(()),
            }
        }
    };
    outcome?;
    let outbox = shared.outbox();
    Ok(DeviceReport {
        start_us,
        bodies: outbox.pushed(),
        acked: shared.stats.acked.get(),
        dropped: outbox.dropped(),
        complete: outbox.is_empty(),
    })
}

fn open(options: &DeviceOptions) -> Result<Source, DeviceError> {
    Ok(match &options.source {
        SourceOptions::Synthetic(synth) => {
            Source::Synthetic(Box::new(Synth::new(synth.clone(), &options.device)))
        }
        SourceOptions::Replay(path) => {
            let record = Record::open(path).map_err(ReplayError::from)?;
            let replay = Replay::new(Arc::new(record))?;
            if !replay.unknown().is_empty() {
                tracing::warn!(signals = ?replay.unknown(), "signals without a metric are left out");
            }
            Source::Replay(Box::new(replay))
        }
    })
}

fn default_start_us(source: &Source, options: &DeviceOptions) -> i64 {
    let limit = options.duration.map(|d| d.as_micros() as i64);
    let plays = source.duration_us().into_iter().chain(limit).min().unwrap_or(DAY_US);
    let takes = match options.speed {
        Speed::Times(times) => (plays as f64 / times) as i64,
        Speed::Max => 0,
    };
    wall_us() - (plays - takes).max(0)
}

/// Puts what the source measures into the outbox, each at its time.
async fn measure(source: &mut Source, options: &DeviceOptions, shared: &Shared) {
    let begun = Instant::now();
    let live = matches!(source, Source::Synthetic(_)) && options.speed != Speed::Max;
    let overflow = if live { Overflow::DropOldest } else { Overflow::Wait };
    let limit_us = options.duration.map_or(i64::MAX, |d| d.as_micros() as i64);
    let mut told = Dropped::default();
    for timed in source.take_while(|t| t.ready_us <= limit_us) {
        if let Speed::Times(times) = options.speed {
            let due = Duration::from_micros((timed.ready_us as f64 / times) as u64);
            tokio::time::sleep_until(begun + due).await;
        }
        shared.stats.measured(&timed.body);
        let size = BodySize::of(&timed.body);
        let mut pending = Some(timed.body);
        while let Some(body) = pending.take() {
            let room = shared.room.notified();
            pending = shared.outbox().push(body, overflow).err();
            shared.to_send.notify_one();
            match pending {
                Some(_) => room.await,
                None => shared.stats.taken(size),
            }
        }
        shared.tell_dropped(&mut told);
        // At full speed nothing else waits here, and the link needs its turns.
        tokio::task::coop::consume_budget().await;
    }
}

/// Connects again and again; returns only on an error that another try does not mend.
async fn keep_linked(options: &DeviceOptions, shared: &Shared) -> DeviceError {
    let boot_id = wall_us() as u64;
    let hello = LinkHello {
        model: "Wardline firmware-sim".to_owned(),
        serial: options.device.clone(),
        firmware: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id,
    };
    let mut wait = RECONNECT_FIRST;
    loop {
        let connects = shared.stats.connects.get();
        match link::serve(&options.link, hello.clone(), shared).await {
            LinkEnd::Body(error) => return error.into(),
            LinkEnd::Io(error) => tracing::debug!(link = %options.link, %error, "link lost"),
        }
        let was_connected = shared.stats.connects.get() > connects;
        wait = if was_connected { RECONNECT_FIRST } else { (wait * 2).min(RECONNECT_MAX) };
        tokio::time::sleep(wait.mul_f64(shared.jitter())).await;
    }
}

impl Shared {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connected(&self) {
        self.stats.connects.add(1);
        self.outbox().rewind();
    }

    pub(crate) fn disconnected(&self) {
        self.outbox().rewind();
    }

    pub(crate) fn rewind(&self) {
        self.outbox().rewind();
    }

    pub(crate) fn acked_seq(&self) -> u64 {
        self.outbox().acked_seq()
    }

    pub(crate) fn awaits_ack(&self) -> bool {
        self.outbox().awaits_ack()
    }

    pub(crate) fn acknowledge(&self, acked_seq: u64) {
        let acked = self.outbox().acknowledge(acked_seq);
        self.stats.acked.add(acked as u64);
        self.to_send.notify_one();
        self.room.notify_waiters();
    }

    /// Appends messages that are due until `out` holds `bytes`. A bit is flipped in some, when that fault is on.
    pub(crate) fn encode_next(&self, out: &mut Vec<u8>, bytes: usize) -> Result<(), LinkError> {
        let mut outbox = self.outbox();
        while out.len() < bytes {
            let Some(message) = outbox.next_to_send() else { break };
            let begin = out.len();
            wardline_proto::link::encode(message, out)?;
            if self.faults.corrupt > 0.0 {
                self.corrupt(&mut out[begin..]);
            }
        }
        self.stats.resent.set(outbox.resent());
        drop(outbox);
        self.room.notify_waiters();
        Ok(())
    }

    fn corrupt(&self, message: &mut [u8]) {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        if chance.random_bool(self.faults.corrupt) {
            let at = chance.random_range(0..message.len());
            message[at] ^= 1 << chance.random_range(0..8);
        }
    }

    fn jitter(&self) -> f64 {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(0.5..1.0)
    }

    /// Returns the device's clock, unix microseconds.
    pub(crate) fn device_now_us(&self) -> i64 {
        wall_us().saturating_add(self.faults.clock_skew_us)
    }

    /// Counts what was given up and, once there is room again, records it as an event: a hole that is known.
    fn tell_dropped(&self, told: &mut Dropped) {
        let mut outbox = self.outbox();
        let dropped = outbox.dropped();
        self.stats.dropped.set(dropped.waveforms + dropped.numerics);
        if dropped == *told || outbox.is_full() {
            return;
        }
        let (waveforms, numerics) = (dropped.waveforms - told.waveforms, dropped.numerics - told.numerics);
        let event = DeviceEvent {
            at_us: self.device_now_us(),
            name: "outbox_overflow".to_owned(),
            detail: format!("given up: {waveforms} bodies of waveforms, {numerics} of numerics"),
            ..DeviceEvent::default()
        };
        let body = Body { events: vec![event], ..Body::default() };
        if outbox.push(body, Overflow::Wait).is_ok() {
            *told = dropped;
        }
    }

    async fn drained(&self) {
        loop {
            let changed = self.room.notified();
            if self.outbox().is_empty() {
                return;
            }
            changed.await;
        }
    }
}

fn wall_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}
