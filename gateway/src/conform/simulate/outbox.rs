//! What the small device keeps until it is acknowledged: frames by urgency and position.

use super::Fault;
use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use wardline_proto::frame::{encode_body, lane_of};
use wardline_proto::v1::{Body, Clock, Frame, Lane, SyncState};

/// Frames kept at most; the oldest telemetry goes first.
const KEPT_MAX: usize = 20_000;
/// Publishes in flight.
const IN_FLIGHT_MAX: usize = 16;
const HOUR_US: i64 = 3_600_000_000;

/// Urgency, then position.
type Place = (u8, u64);

struct Kept {
    lane: Lane,
    body: Body,
    /// How often it was sent.
    sent: u32,
    /// Its packet id while it is in flight.
    packet_id: Option<u16>,
}

/// Frames that are not acknowledged.
pub(super) struct Outbox {
    fault: Fault,
    epoch: u64,
    next_seq: HashMap<i32, u64>,
    kept: BTreeMap<Place, Kept>,
    next_packet: u16,
}

impl Outbox {
    pub(super) fn new(fault: Fault, epoch: u64) -> Self {
        Self { fault, epoch, next_seq: HashMap::new(), kept: BTreeMap::new(), next_packet: 1 }
    }

    /// Keeps a body under the next position of its lane.
    pub(super) fn push(&mut self, body: Body) {
        let lane = lane_of(&body);
        let next = self.next_seq.entry(lane.into()).or_insert(1);
        let seq = *next;
        *next += 1;
        self.kept.insert((self.urgency(lane), seq), Kept { lane, body, sent: 0, packet_id: None });
        while self.kept.len() > KEPT_MAX {
            self.kept.pop_last();
        }
    }

    /// Starts a connection.
    pub(super) fn connected(&mut self, now_us: i64) {
        if self.fault == Fault::NewEpoch {
            self.epoch = u64::try_from(now_us).unwrap_or(self.epoch + 1);
        }
    }

    /// Ends a connection: what was in flight has to go again.
    pub(super) fn lost(&mut self) {
        match self.fault {
            Fault::NoSpool => self.kept.retain(|_, kept| kept.packet_id.is_none()),
            _ => self.kept.values_mut().for_each(|kept| kept.packet_id = None),
        }
    }

    /// Returns the next frame to send with its lane and packet id; none when there is none or no room for one.
    pub(super) fn next(&mut self, now_us: i64) -> Option<(Lane, u16, Bytes)> {
        if self.kept.values().filter(|kept| kept.packet_id.is_some()).count() >= IN_FLIGHT_MAX {
            return None;
        }
        let (fault, epoch) = (self.fault, self.epoch);
        let (place, kept) = self.kept.iter_mut().find(|(_, kept)| kept.packet_id.is_none())?;
        let packet_id = self.next_packet;
        self.next_packet = self.next_packet.checked_add(1).unwrap_or(1);
        kept.packet_id = Some(packet_id);
        if fault == Fault::ResendChanged && kept.sent > 0 {
            change(&mut kept.body);
        }
        kept.sent += 1;
        let clock_error = if fault == Fault::ClockOff { HOUR_US } else { 0 };
        let (encoding, body) = encode_body(&kept.body);
        let clock = Clock { device_offset_us: 0, uncertainty_us: 10_000, sync_state: SyncState::Ntp.into() };
        let frame = Frame {
            epoch,
            seq: place.1,
            sent_at_us: now_us + clock_error,
            clock: Some(clock),
            encoding: encoding.into(),
            lane: kept.lane.into(),
            body,
        };
        Some((kept.lane, packet_id, frame.encode_to_vec().into()))
    }

    /// Forgets what was acknowledged or refused.
    pub(super) fn settle(&mut self, packet_id: u16) {
        self.kept.retain(|_, kept| kept.packet_id != Some(packet_id));
    }

    /// Says whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn urgency(&self, lane: Lane) -> u8 {
        match lane {
            Lane::Alarm if self.fault == Fault::AlarmsLast => 9,
            Lane::Alarm => 0,
            Lane::Events | Lane::Unspecified => 1,
            Lane::Numerics => 2,
            Lane::Waveforms => 3,
        }
    }
}

/// Says something else under the same position.
fn change(body: &mut Body) {
    body.numerics.iter_mut().flat_map(|series| &mut series.values).for_each(|value| *value += 1.0);
    body.waveforms.iter_mut().flat_map(|block| block.sample_deltas.first_mut()).for_each(|delta| *delta += 1);
    body.alarms.iter_mut().for_each(|alarm| alarm.at_us += 1);
    body.events.iter_mut().for_each(|event| event.at_us += 1);
}
