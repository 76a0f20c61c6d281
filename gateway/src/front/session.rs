//! One device's session, without a socket: packets in, appended records and replies out.
//!
//! Replies to publishes leave in the order of the publishes [MQTT-4.6.0-2]: a refusal waits behind earlier
//! publishes that are not durable yet, so a device never sees it overtake an acknowledgement.

use super::codec::{Packet, Publish, Version};
use super::devices::Device;
use super::limits::{STALL_MAX, TOLD_BYTES_MAX};
use super::{Front, now_us, reply};
use bytes::{Bytes, BytesMut};
use prost::Message;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wardline_journal::{AppendError, Class, DurableState, DurableWatch, Offset, Record, Ticket};
use wardline_proto::frame;
use wardline_proto::limits::{PAYLOAD_BYTES_MAX, RECEIVE_MAXIMUM};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{self, JournalRecord, PayloadFormat, UpChannel};
use wardline_proto::{Identity, topic};

/// What waits for its turn to be answered.
enum Pending {
    Durable { ticket: Ticket, qos: u8, packet_id: u16 },
    Refused { refusal: Refusal, qos: u8, packet_id: u16 },
}

/// A publish that the journal has no room for, of a device to which the protocol cannot say so.
struct Stalled {
    record: Record,
    qos: u8,
    packet_id: u16,
    until: Instant,
}

/// When the bytes at hand came: one look at each clock for all packets in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// On the monotonic clock.
    pub(super) at: Instant,
    /// The wall clock, unix microseconds.
    pub(super) wall_us: i64,
}

impl Heard {
    /// Looks at both clocks.
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), wall_us: now_us() }
    }
}

/// What the connection has to do about a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on.
    Continue,
    /// The device said goodbye.
    Goodbye,
    /// Something of the way down.
    Down(Packet),
}

/// A session after its CONNECT.
pub(super) struct Session {
    front: Arc<Front>,
    device: Arc<Device>,
    actor: String,
    version: Version,
    /// The record of a publish, filled in anew for each.
    template: JournalRecord,
    /// The registry's version that the template is of.
    known: i64,
    pending: VecDeque<Pending>,
    /// While there is one, nothing more is read.
    stalled: Option<Stalled>,
    /// QoS 2 ids from PUBLISH to PUBREL. At most [`RECEIVE_MAXIMUM`].
    unreleased: HashSet<u16>,
    /// The topic of the last publish that was refused or ended the session, made safe to tell.
    tried: String,
}

impl Session {
    /// Makes the session of a device.
    pub(super) fn new(front: Arc<Front>, device: Arc<Device>, version: Version, serial: &[u8]) -> Self {
        let publish = v1::Publish {
            tenant: device.key.tenant.to_string(),
            device: device.key.device.to_string(),
            certificate_serial: serial.to_vec(),
            ..v1::Publish::default()
        };
        let template = JournalRecord { ingested_at_us: 0, kind: Some(Kind::Publish(publish)) };
        let actor = Identity::Device(device.key.clone()).uri(&front.trust_domain);
        let (pending, unreleased) = (VecDeque::new(), HashSet::new());
        let known = i64::MIN;
        Self {
            front,
            device,
            actor,
            version,
            template,
            known,
            pending,
            stalled: None,
            unreleased,
            tried: String::new(),
        }
    }

    /// Returns the protocol version.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Returns the offset that the next reply waits for, after [`Session::release`].
    pub(super) fn awaited(&self) -> Option<Offset> {
        match self.pending.front()? {
            Pending::Durable { ticket, .. } => Some(ticket.offset()),
            Pending::Refused { .. } => None,
        }
    }

    /// Says whether more publishes may be read. A 3.1.1 device knows no receive maximum: it is made to wait.
    pub(super) fn has_room(&self) -> bool {
        let answered = self.version == Version::V5 || self.pending.len() < usize::from(RECEIVE_MAXIMUM);
        answered && self.stalled.is_none()
    }

    /// Handles one packet. The error ends the session.
    pub(super) fn handle(
        &mut self,
        packet: Packet,
        heard: Heard,
        out: &mut BytesMut,
    ) -> Result<Next, Refusal> {
        match packet {
            Packet::Publish(publish) => self.publish(publish, heard, out)?,
            Packet::PubRel(id) => {
                self.unreleased.remove(&id);
                reply::pubcomp(out, id);
            }
            Packet::PingReq => reply::pingresp(out),
            Packet::Disconnect => return Ok(Next::Goodbye),
            down => return Ok(Next::Down(down)),
        }
        Ok(Next::Continue)
    }

    /// Writes the replies that are due. The error ends the session: what waits will never be durable.
    pub(super) fn release(&mut self, watch: &DurableWatch, out: &mut BytesMut) -> Result<(), Refusal> {
        while let Some(first) = self.pending.pop_front() {
            let (ticket, qos, packet_id) = match first {
                Pending::Refused { refusal, qos, packet_id } => {
                    reply::publish_refused(out, qos, packet_id, refusal);
                    continue;
                }
                Pending::Durable { ticket, qos, packet_id } => (ticket, qos, packet_id),
            };
            match ticket.redeem(watch) {
                Ok(proof) if qos == 2 => reply::pubrec(out, packet_id, &proof),
                Ok(proof) => reply::puback(out, packet_id, &proof),
                Err(ticket) => {
                    self.pending.push_front(Pending::Durable { ticket, qos, packet_id });
                    let failed = watch.current() == DurableState::Failed;
                    return if failed { Err(Refusal::JournalFailed) } else { Ok(()) };
                }
            }
            self.device.counters.acked.fetch_add(1, Ordering::Relaxed);
            self.front.metrics.acked.inc();
        }
        Ok(())
    }

    /// Counts and audits a refusal of this device.
    pub(super) fn refused(&self, refusal: Refusal, target: &str) -> Result<(), Refusal> {
        let target = if names_topic(refusal) && !self.tried.is_empty() { &self.tried } else { target };
        self.count_and_audit(refusal, target)
    }

    /// Counts and audits a subscription to a filter that is not one of the device's own.
    pub(super) fn refused_filter(&self, filter: &str) -> Result<(), Refusal> {
        let target = format!("subscribe {}", tellable(filter.as_bytes()));
        self.count_and_audit(Refusal::TopicNotAuthorized, &target)
    }

    fn count_and_audit(&self, refusal: Refusal, target: &str) -> Result<(), Refusal> {
        self.device.count_refusal(refusal);
        self.front.metrics.refused(refusal);
        self.front.auditor.refused(&self.actor, refusal, target).map_err(|_| Refusal::JournalFailed)
    }

    fn publish(&mut self, publish: Publish, heard: Heard, out: &mut BytesMut) -> Result<(), Refusal> {
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        if qos == 2 && self.unreleased.contains(&packet_id) {
            // Sent again: while the first waits, its PUBREC answers both.
            let waits =
                |p: &Pending| matches!(p, Pending::Durable { qos: 2, packet_id: id, .. } if *id == packet_id);
            if !self.pending.iter().any(waits) {
                reply::pubrec_again(out, packet_id);
            }
            return Ok(());
        }
        // A publish of QoS 2 that waits is among the unreleased already.
        let waits = self.pending.iter().filter(|p| !matches!(p, Pending::Durable { qos: 2, .. })).count();
        let in_flight = waits + self.unreleased.len();
        if self.version == Version::V5 && qos > 0 && in_flight >= usize::from(RECEIVE_MAXIMUM) {
            return Err(Refusal::MqttReceiveMaximum);
        }
        if qos == 2 && self.unreleased.len() >= usize::from(RECEIVE_MAXIMUM) {
            return Err(Refusal::MqttReceiveMaximum);
        }
        match self.take(publish, heard) {
            Ok(ticket) => {
                self.accept(ticket, qos, packet_id);
                Ok(())
            }
            Err((Refusal::JournalFull, Some(record))) if self.version == Version::V4 && qos > 0 => {
                let until = Instant::now() + STALL_MAX;
                self.stalled = Some(Stalled { record, qos, packet_id, until });
                Ok(())
            }
            Err((refusal, _record)) => self.refuse(refusal, qos, packet_id),
        }
    }

    /// Says whether a publish waits for room in the journal.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Tries the publish again that waits for room. The error ends the session: it has waited long enough.
    pub(super) fn retry(&mut self) -> Result<(), Refusal> {
        let Some(Stalled { record, qos, packet_id, until }) = self.stalled.take() else { return Ok(()) };
        match self.front.journal.append(record) {
            Ok(ticket) => self.accept(ticket, qos, packet_id),
            Err(AppendError::Full(record)) if Instant::now() < until => {
                self.stalled = Some(Stalled { record, qos, packet_id, until });
            }
            Err(error) => return Err(refusal_of(&error)),
        }
        Ok(())
    }

    fn accept(&mut self, ticket: Ticket, qos: u8, packet_id: u16) {
        self.device.counters.accepted.fetch_add(1, Ordering::Relaxed);
        self.front.metrics.accepted.inc();
        if qos == 2 {
            self.unreleased.insert(packet_id);
        }
        if qos > 0 {
            self.pending.push_back(Pending::Durable { ticket, qos, packet_id });
        }
    }

    /// Answers a publish that was not taken: by a reason code where the protocol has one, else by ending the session.
    fn refuse(&mut self, refusal: Refusal, qos: u8, packet_id: u16) -> Result<(), Refusal> {
        let ends = matches!(refusal, Refusal::JournalFailed | Refusal::PayloadTooLarge);
        if ends || (self.version == Version::V4 && !(qos == 0 && is_passing(refusal))) {
            return Err(refusal);
        }
        self.refused(refusal, "publish")?;
        if qos > 0 {
            self.pending.push_back(Pending::Refused { refusal, qos, packet_id });
        }
        Ok(())
    }

    /// Checks a publish and appends it. A refusal for want of room gives the record back.
    fn take(&mut self, publish: Publish, heard: Heard) -> Result<Ticket, (Refusal, Option<Record>)> {
        let record = self.check(publish, heard).map_err(|refusal| (refusal, None))?;
        self.front.journal.append(record).map_err(|error| {
            let refusal = refusal_of(&error);
            (refusal, if let AppendError::Full(record) = error { Some(record) } else { None })
        })
    }

    fn check(&mut self, mut publish: Publish, heard: Heard) -> Result<Record, Refusal> {
        let topic = std::mem::take(&mut publish.topic);
        self.check_on(&topic, publish, heard).inspect_err(|_| self.tried = tellable(&topic))
    }

    fn check_on(&mut self, topic: &[u8], publish: Publish, heard: Heard) -> Result<Record, Refusal> {
        let channel = topic::parse_up(&self.device.key, topic).ok_or(Refusal::TopicNotAuthorized)?;
        if publish.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Refusal::PayloadTooLarge);
        }
        let is_json = publish.says_json || publish.payload.first() == Some(&b'{');
        let options = &self.front.options.budget;
        if !self.device.spend(options, heard.at, publish.payload.len(), is_json) {
            return Err(Refusal::QuotaRate);
        }
        let (content, class) = if is_json {
            check_json(channel, &publish.payload)?;
            (PayloadFormat::Json, Class::Telemetry)
        } else {
            let (header, _frame) = frame::decode(publish.payload.clone())?;
            if !topic::carries(channel, header.lane) {
                return Err(Refusal::FrameHeader);
            }
            let is_alarm = channel == UpChannel::Alarm;
            (PayloadFormat::Frame, if is_alarm { Class::Alarm } else { Class::Telemetry })
        };
        self.record(publish.payload, heard, channel, content, class)
    }

    fn record(
        &mut self,
        payload: Bytes,
        heard: Heard,
        channel: UpChannel,
        content: PayloadFormat,
        class: Class,
    ) -> Result<Record, Refusal> {
        self.template.ingested_at_us = heard.wall_us;
        let Some(Kind::Publish(record)) = &mut self.template.kind else { return Err(Refusal::JournalFailed) };
        let known = self.front.directory.version();
        if known != self.known {
            (self.known, record.for_test) = (known, self.front.directory.is_for_test(&self.device.key));
        }
        record.payload = payload;
        record.channel = channel.into();
        record.content = content.into();
        let encoded = Bytes::from(self.template.encode_to_vec());
        if let Some(Kind::Publish(record)) = &mut self.template.kind {
            // Lets the read buffer go.
            record.payload = Bytes::new();
        }
        Ok(Record { partition: self.device.key.partition(), class, payload: encoded })
    }
}

/// Says whether a refusal is of the publish that was looked at last.
fn names_topic(refusal: Refusal) -> bool {
    use Refusal::{FrameHeader, PayloadFormat, PayloadTooLarge, QuotaRate, TopicNotAuthorized};
    matches!(refusal, TopicNotAuthorized | PayloadTooLarge | PayloadFormat | FrameHeader | QuotaRate)
}

/// Cuts a topic short and leaves only what may stand in a topic or filter of ours, so that it can be told in the audit trail.
fn tellable(topic: &[u8]) -> String {
    let tell = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'+' | b'#' => {
            char::from(*byte)
        }
        _ => '?',
    };
    topic.iter().take(TOLD_BYTES_MAX).map(tell).collect()
}

fn refusal_of(error: &AppendError) -> Refusal {
    match error {
        AppendError::Full(_) => Refusal::JournalFull,
        AppendError::TooLarge(_) => Refusal::PayloadTooLarge,
        AppendError::Failed | AppendError::Closed => Refusal::JournalFailed,
    }
}

/// Says whether the same publish may be taken later.
fn is_passing(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::QuotaRate | Refusal::JournalFull)
}

/// Looks at the edges only; the pipeline reads the rest.
fn check_json(channel: UpChannel, payload: &[u8]) -> Result<(), Refusal> {
    let trimmed = payload.trim_ascii();
    let is_object = trimmed.first() == Some(&b'{') && trimmed.last() == Some(&b'}');
    if channel == UpChannel::Telemetry && is_object { Ok(()) } else { Err(Refusal::PayloadFormat) }
}
