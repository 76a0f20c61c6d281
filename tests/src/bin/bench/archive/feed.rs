//! What the gateway would have journaled of a ward: seeded, at no clock's pace.
//!
//! Each monitor starts within the first second, so devices are out of step as real ones are. The agent sends a body 1
//! to 5 ms after it is complete, the front takes it 2 to 30 ms later; once a day a monitor is cut off for ten minutes
//! and delivers afterwards.

use super::packer::Packer;
use anyhow::Context;
use firmware_sim::Episode;
use firmware_sim::replay::Replay;
use firmware_sim::source::Timed;
use firmware_sim::synth::{Synth, SynthOptions};
use firmware_sim::wfdb::Record as Recording;
use prost::Message;
use std::collections::VecDeque;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;
use wardline_journal::{Class, Record};
use wardline_proto::frame::{encode_body, lane_of};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{
    Body, Clock, Frame, JournalRecord, Lane, PayloadFormat, Publish, SyncState, UpChannel,
};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Whose archive it is.
pub(crate) const TENANT: &str = "st-mary";
/// 2026-10-04T00:00:00Z: every day of the feed is over.
pub(crate) const START_US: i64 = 1_791_072_000_000_000;
pub(crate) const SECOND_US: i64 = 1_000_000;
pub(crate) const DAY_S: i64 = 86_400;
/// When in its day a monitor is cut off, and for how long, seconds; later for each next one.
const OUTAGE_AT_S: i64 = 11 * 3_600;
const OUTAGE_STEP_S: i64 = 700;
const OUTAGE_S: i64 = 600;
/// From the end of a body to its frame, and from there to the front, microseconds.
const AGENT_US: (u64, u64) = (1_000, 5_000);
const NETWORK_US: (u64, u64) = (2_000, 30_000);
/// How often the device tells its clock, seconds, and how far that reading scatters.
const CLOCK_EVERY_S: i64 = 10;
const CLOCK_US: (u64, u64) = (0, 400);
const SERIAL: [u8; 16] = [7; 16];

/// A repeatable stream of numbers (splitmix64).
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, (least, most): (u64, u64)) -> i64 {
        (least + self.roll() % (most - least)) as i64
    }
}

/// One device and the agent beside it.
struct Monitor {
    key: DeviceKey,
    source: Peekable<Box<dyn Iterator<Item = Timed>>>,
    /// Device time of the source's start.
    start_us: i64,
    epoch: u64,
    seqs: [u64; 5],
    dice: Dice,
    outage_s: i64,
    waiting: VecDeque<(i64, Body)>,
    offset_us: i64,
    /// Waveforms are kept for so many seconds of each day.
    waves_s: i64,
    packer: Packer,
}

/// The devices of a ward.
pub(crate) struct Feed {
    monitors: Vec<Monitor>,
}

/// Returns the name of a synthetic patient's monitor.
pub(crate) fn device(patient: usize) -> String {
    format!("mon-{patient:03}")
}

impl Feed {
    /// Makes so many synthetic patients, whose waveforms are sent in the first `waves_s` seconds of each day.
    pub(crate) fn synthetic(
        patients: usize,
        waves_s: i64,
        seed: u64,
        episodes: &[Episode],
    ) -> anyhow::Result<Self> {
        let options = SynthOptions { seed, episodes: episodes.to_vec(), ..SynthOptions::default() };
        let monitor = |patient| {
            let name = device(patient);
            let mut synth = Synth::new(options.clone(), &name);
            let mut dice = Dice(seed ^ (patient as u64) << 32);
            let start_us = START_US + dice.between((0, SECOND_US as u64));
            synth.start_at(start_us);
            let outage_s = OUTAGE_AT_S + patient as i64 * OUTAGE_STEP_S % (DAY_S - OUTAGE_AT_S - OUTAGE_S);
            Monitor::new(&name, Box::new(synth), start_us, dice, outage_s, waves_s)
        };
        let mut monitors = (0..patients).map(monitor).collect::<anyhow::Result<Vec<_>>>()?;
        monitors.sort_by_key(|monitor| monitor.start_us);
        Ok(Self { monitors })
    }

    /// Puts so many seconds of readings into a frame.
    #[must_use]
    pub(crate) fn packed(mut self, seconds: i64) -> Self {
        self.monitors.iter_mut().for_each(|monitor| monitor.packer = Packer::new(seconds));
        self
    }

    /// Plays a recording. Returns also how long it is, seconds.
    pub(crate) fn recording(header: &Path) -> anyhow::Result<(Self, i64)> {
        let name = header.file_stem().and_then(|stem| stem.to_str()).context("a recording has a name")?;
        let mut replay = Replay::new(Arc::new(Recording::open(header)?))?;
        let seconds = replay.duration_us() / SECOND_US + 1;
        replay.start_at(START_US);
        let monitor = Monitor::new(name, Box::new(replay), START_US, Dice(1), i64::MAX / 2, i64::MAX)?;
        Ok((Self { monitors: vec![monitor] }, seconds))
    }

    /// Makes the records of the seconds before `until_s` that were not made before, and gives each to `take`.
    pub(crate) fn until(
        &mut self,
        from_s: i64,
        until_s: i64,
        mut take: impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for second in from_s..until_s {
            for monitor in &mut self.monitors {
                monitor.second(second, &mut take)?;
            }
        }
        Ok(())
    }
}

impl Monitor {
    fn new(
        name: &str,
        source: Box<dyn Iterator<Item = Timed>>,
        start_us: i64,
        dice: Dice,
        outage_s: i64,
        waves_s: i64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            key: DeviceKey { tenant: TenantId::new(TENANT)?, device: DeviceId::new(name)? },
            source: source.peekable(),
            start_us,
            epoch: START_US as u64,
            seqs: [0; 5],
            dice,
            outage_s,
            waiting: VecDeque::new(),
            offset_us: 0,
            waves_s,
            packer: Packer::new(1),
        })
    }

    fn second(
        &mut self,
        second: i64,
        take: &mut impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let of_day = second % DAY_S;
        if second % CLOCK_EVERY_S == 0 {
            self.offset_us = self.dice.between(CLOCK_US) - CLOCK_US.1 as i64 / 2;
        }
        while let Some(timed) = self.source.next_if(|timed| timed.ready_us <= (second + 1) * SECOND_US) {
            if timed.body.waveforms.is_empty() || of_day < self.waves_s {
                self.waiting.extend(self.packer.take(self.start_us + timed.ready_us, timed.body));
            }
        }
        self.waiting.extend(self.packer.end_of(second));
        if (self.outage_s..self.outage_s + OUTAGE_S).contains(&of_day) {
            return Ok(());
        }
        let mut now_us = 0;
        while let Some((ready_us, body)) = self.waiting.pop_front() {
            let due_us = ready_us.max(self.start_us + second * SECOND_US);
            now_us = due_us.max(now_us) + self.dice.between(AGENT_US);
            take(self.record(now_us, &body)?)?;
        }
        Ok(())
    }

    fn record(&mut self, sent_at_us: i64, body: &Body) -> anyhow::Result<Record> {
        let lane = lane_of(body);
        let seq = &mut self.seqs[lane as usize];
        *seq += 1;
        let (encoding, bytes) = encode_body(body);
        let clock = Clock {
            device_offset_us: self.offset_us,
            uncertainty_us: 500,
            sync_state: SyncState::Ntp.into(),
        };
        let frame = Frame {
            epoch: self.epoch,
            seq: *seq,
            sent_at_us,
            clock: Some(clock),
            encoding: encoding.into(),
            lane: lane.into(),
            body: bytes,
        };
        let channel = match lane {
            Lane::Alarm => UpChannel::Alarm,
            Lane::Events => UpChannel::Event,
            _ => UpChannel::Telemetry,
        };
        let publish = Publish {
            tenant: self.key.tenant.to_string(),
            device: self.key.device.to_string(),
            channel: channel.into(),
            payload: frame.encode_to_vec().into(),
            content: PayloadFormat::Frame.into(),
            certificate_serial: SERIAL.to_vec(),
            for_test: false,
        };
        let ingested_at_us = sent_at_us + self.dice.between(NETWORK_US);
        let payload = JournalRecord { ingested_at_us, kind: Some(Kind::Publish(publish)) }.encode_to_vec();
        let class = if lane == Lane::Alarm { Class::Alarm } else { Class::Telemetry };
        Ok(Record { partition: self.key.partition(), class, payload: payload.into() })
    }
}
