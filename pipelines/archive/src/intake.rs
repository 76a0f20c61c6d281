//! Journal records become arrivals: who sent it, where it stands in its stream, and what it says or why it is not
//! good. Pure, and total: any bytes make an arrival, so a poisoned record never blocks the ones behind it.

use crate::desk::Slots;
use crate::held::HeldRecord;
use crate::names::{NameNumber, Names};
use crate::options::ArchiveOptions;
use crate::profiles::{Breach, InForce};
use crate::tenant::tenant_of_actor;
use crate::validate::{TimeFrame, check};
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use wardline_journal::Entry;
use wardline_proto::frame::{Opener, decode, lane_of};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{
    AuditEvent, Body, Clock, Encoding, JournalRecord, Lane, PayloadFormat, Publish, UpChannel,
};
use wardline_proto::{DeviceKey, json};

/// Bounds on clocks, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockBounds {
    clock_us: i64,
    future_us: i64,
}

impl ClockBounds {
    pub(crate) fn of(options: &ArchiveOptions) -> Self {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        Self { clock_us: micros(options.clock_bound), future_us: micros(options.future_bound) }
    }
}

/// A journal record, read.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) offset: u64,
    pub(crate) partition: u16,
    pub(crate) ingest_us: i64,
    pub(crate) content: Content,
}

impl Arrival {
    /// Returns partition, offset and ingest time.
    pub(crate) fn place(&self) -> (u16, u64, i64) {
        (self.partition, self.offset, self.ingest_us)
    }

    /// Says whether it is known where it counts, or it counts nowhere.
    pub(crate) fn is_placed(&self) -> bool {
        match &self.content {
            Content::Publish(arrived) => arrived.slots.is_some(),
            Content::Audit(_) | Content::Unreadable(_) | Content::Held(_) => true,
        }
    }

    /// Returns what it takes in memory while it waits to be taken, about.
    pub(crate) fn open_bytes(&self) -> usize {
        match &self.content {
            Content::Publish(arrived) => arrived.body_bytes,
            Content::Audit(_) | Content::Unreadable(_) => 0,
            Content::Held(held) => held.record.payload.len(),
        }
    }
}

/// What a journal record holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// A device's publish.
    Publish(Box<Arrived>),
    /// An audited act.
    Audit(AuditEvent),
    /// Not a record that this version knows; its bytes.
    Unreadable(Bytes),
    /// Of a tenant that is held back: not judged, and kept as it is.
    Held(Box<Held>),
}

/// A record of a tenant that is held back.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) tenant: String,
    pub(crate) record: HeldRecord,
    /// The audited act, when it is one: the chain of its node goes on with it, whosever it is.
    pub(crate) audit: Option<AuditEvent>,
}

/// Where a message stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) lane: Lane,
}

/// A device's publish, read.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) key: DeviceKey,
    pub(crate) name: NameNumber,
    pub(crate) channel: UpChannel,
    pub(crate) format: PayloadFormat,
    /// Exactly what the device sent.
    pub(crate) payload: Bytes,
    pub(crate) certificate_serial: Bytes,
    /// None: the journal offset is its only name.
    pub(crate) position: Option<Position>,
    /// The part of the payload that says whether two messages are the same.
    pub(crate) tagged: Bytes,
    pub(crate) sent_at_us: Option<i64>,
    pub(crate) clock: Option<Clock>,
    pub(crate) time: TimeFrame,
    pub(crate) body: Result<Body, Refusal>,
    /// What the body takes when it is not compressed, about.
    pub(crate) body_bytes: usize,
    /// The profile that it was judged by.
    pub(crate) profile: Option<Arc<InForce>>,
    /// How it breaks that profile.
    pub(crate) breach: Option<Breach>,
    /// Some of what it held was erased.
    pub(crate) is_touched: bool,
    /// All that it held was erased.
    pub(crate) erased: bool,
    /// Where it counts in memory; set ahead of its taking.
    pub(crate) slots: Option<Slots>,
}

/// Publishes that were taken, whose memory is used again.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is used again")]
pub(crate) struct Used(Vec<Box<Arrived>>);

/// Publishes that wait to be used again.
const USED_MAX: usize = 1024;

impl Used {
    /// Keeps a publish that was taken, without what it holds of the journal's memory and without what it said.
    pub(crate) fn keep(&mut self, mut arrived: Box<Arrived>) {
        if self.0.len() < USED_MAX {
            arrived.payload = Bytes::new();
            arrived.tagged = Bytes::new();
            arrived.certificate_serial = Bytes::new();
            arrived.body = Err(Refusal::BodyUndecodable);
            arrived.profile = None;
            self.0.push(arrived);
        }
    }
}

/// Reads journal entries, in the memory of what was read before.
#[derive(Debug)]
pub(crate) struct Intake {
    bounds: ClockBounds,
    names: Names,
    opener: Opener,
    used: Used,
}

impl Intake {
    pub(crate) fn new(bounds: ClockBounds) -> Self {
        Self { bounds, names: Names::default(), opener: Opener::default(), used: Used::default() }
    }

    /// Takes what is not used any more.
    pub(crate) fn reuse(&mut self, used: &mut Used) {
        used.0.drain(..).for_each(|arrived| self.used.keep(arrived));
    }

    /// Reads one journal entry, or takes it as it is when its tenant is held back.
    pub(crate) fn read_or_hold(&mut self, entry: Entry, held: &BTreeSet<String>) -> Arrival {
        if held.is_empty() {
            return self.read(entry);
        }
        let record = JournalRecord::decode(entry.payload.clone()).unwrap_or_default();
        let ingest_us = record.ingested_at_us;
        let (tenant, audit) = match record.kind {
            Some(Kind::Publish(publish)) => (publish.tenant, None),
            Some(Kind::Audit(event)) => (tenant_of_actor(&event.actor).to_owned(), Some(event)),
            None => return self.read(entry),
        };
        if !held.contains(&tenant) {
            return self.read(entry);
        }
        let (partition, offset) = (entry.partition.get(), entry.offset.get());
        let record = HeldRecord { offset, time_us: entry.time_us, payload: entry.payload };
        let content = Content::Held(Box::new(Held { tenant, record, audit }));
        Arrival { offset, partition, ingest_us, content }
    }

    /// Reads one journal entry.
    pub(crate) fn read(&mut self, entry: Entry) -> Arrival {
        let place = (entry.partition.get(), entry.offset.get());
        self.read_record(place, entry.time_us, entry.payload)
    }

    /// Reads the bytes of a journal record that stood at a partition and offset.
    pub(crate) fn read_record(
        &mut self,
        (partition, offset): (u16, u64),
        time_us: i64,
        payload: Bytes,
    ) -> Arrival {
        let record = JournalRecord::decode(payload.clone()).ok();
        let ingest_us = record.as_ref().map_or(time_us, |r| r.ingested_at_us);
        let content = match record.and_then(|r| r.kind) {
            Some(Kind::Audit(event)) => Content::Audit(event),
            Some(Kind::Publish(publish)) => {
                self.read_publish(publish, ingest_us).map_or(Content::Unreadable(payload), Content::Publish)
            }
            None => Content::Unreadable(payload),
        };
        Arrival { offset, partition, ingest_us, content }
    }

    /// Reads a publish; none when its tenant or device is no name.
    pub(crate) fn read_publish(&mut self, publish: Publish, ingest_us: i64) -> Option<Box<Arrived>> {
        let sent = Sent {
            name: self.names.of(publish.tenant.as_bytes(), publish.device.as_bytes())?,
            channel: publish.channel(),
            content: publish.content(),
            payload: publish.payload,
            certificate_serial: publish.certificate_serial.into(),
        };
        Some(self.arrive(sent, ingest_us))
    }

    fn arrive(&mut self, sent: Sent, ingest_us: i64) -> Box<Arrived> {
        let format = match sent.content {
            PayloadFormat::Unspecified if sent.payload.starts_with(b"{") => PayloadFormat::Json,
            PayloadFormat::Unspecified => PayloadFormat::Frame,
            known => known,
        };
        let opened = match format {
            PayloadFormat::Json => open_json(&sent.payload, ingest_us),
            PayloadFormat::Frame | PayloadFormat::Unspecified => open_frame(&sent.payload, &mut self.opener),
        };
        let time = TimeFrame {
            ingested_at_us: ingest_us,
            sent_at_us: opened.sent_at_us,
            device_offset_us: opened.clock.map(|c| c.device_offset_us),
            clock_bound_us: self.bounds.clock_us,
            future_bound_us: self.bounds.future_us,
        };
        let (key, name) = sent.name;
        let arrived = Arrived {
            key,
            name,
            channel: sent.channel,
            format,
            certificate_serial: sent.certificate_serial,
            payload: sent.payload,
            position: opened.position,
            tagged: opened.tagged,
            sent_at_us: opened.sent_at_us,
            clock: opened.clock,
            body: opened.body.and_then(|body| check(&body, &time).map(|()| body)),
            body_bytes: opened.body_bytes,
            time,
            profile: None,
            breach: None,
            is_touched: false,
            erased: false,
            slots: None,
        };
        match self.used.0.pop() {
            Some(mut place) => {
                *place = arrived;
                place
            }
            None => Box::new(arrived),
        }
    }
}

/// A publish, and who sent it.
struct Sent {
    name: (DeviceKey, NameNumber),
    channel: UpChannel,
    content: PayloadFormat,
    payload: Bytes,
    certificate_serial: Bytes,
}

/// What a payload says of itself.
struct Opened {
    position: Option<Position>,
    tagged: Bytes,
    sent_at_us: Option<i64>,
    clock: Option<Clock>,
    body: Result<Body, Refusal>,
    body_bytes: usize,
}

fn open_frame(payload: &Bytes, opener: &mut Opener) -> Opened {
    let (header, frame) = match decode(payload.clone()) {
        Ok(decoded) => decoded,
        Err(refusal) => return Opened::unread(payload, refusal),
    };
    let in_lane = |body: Body| {
        let alone = lane_of(&body) == header.lane && lanes(&body) <= 1;
        if alone { Ok(body) } else { Err(Refusal::BodyInconsistent) }
    };
    let body = opener.open(&frame).and_then(in_lane);
    let body_bytes = match (&body, frame.encoding()) {
        (Ok(body), Encoding::Zstd) => body.encoded_len(),
        _ => frame.body.len(),
    };
    Opened {
        position: Some(Position { epoch: header.epoch, seq: header.seq, lane: header.lane }),
        body,
        body_bytes,
        tagged: frame.body,
        sent_at_us: (frame.sent_at_us != 0).then_some(frame.sent_at_us),
        clock: frame.clock,
    }
}

fn open_json(payload: &Bytes, ingest_us: i64) -> Opened {
    match json::decode(payload, ingest_us) {
        Ok(publish) => Opened {
            position: publish.position.map(|(epoch, seq)| Position {
                epoch,
                seq,
                lane: lane_of(&publish.body),
            }),
            tagged: payload.clone(),
            sent_at_us: publish.sent_at_us,
            clock: None,
            body_bytes: payload.len(),
            body: Ok(publish.body),
        },
        Err(refusal) => Opened::unread(payload, refusal),
    }
}

impl Opened {
    fn unread(payload: &Bytes, refusal: Refusal) -> Self {
        Self {
            position: None,
            tagged: payload.clone(),
            sent_at_us: None,
            clock: None,
            body: Err(refusal),
            body_bytes: 0,
        }
    }
}

fn lanes(body: &Body) -> usize {
    [body.numerics.is_empty(), body.waveforms.is_empty(), body.alarms.is_empty(), body.events.is_empty()]
        .into_iter()
        .filter(|empty| !empty)
        .count()
}
